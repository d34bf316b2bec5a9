import Engine
import Policy
import Wire

/// Endings.
extension UDPRelay {
    /// Ends a WebSocket as reading its bytes demands.
    func finish(_ index: UInt32, _ stop: RelayStop) {
        switch stop {
        case .none, .ended: return
        case .end(let ending): end(index, ending)
        case .closedByClient: shut(index, .closedByClient)
        case .violation(.messageTooBig):
            if session(index).pointee.phase == .ready { drop(.droppedOversized) }
            end(index, .messageTooBig)
        case .violation(let code):
            givePlaceBack(index)
            sendClose(index, code, "")
            shut(index, .protocolErrors)
        }
    }

    /// Says why, with an error message where there is one, and ends the WebSocket.
    func end(_ index: UInt32, _ ending: RelayEnding, graceMilliseconds: UInt64? = nil) {
        let counters = state.pointee.counters
        if ending.isAuthenticationFailure { counters.add(.authFailure) }
        if ending == .tooManySessions { counters.add(.tooManySessions) }
        if ending == .sessionClosed { counters.add(.sessionHardClosed) }
        givePlaceBack(index)
        if let error = ending.error { _ = sendText(index) { $0.relayError(error, ending.reason) } }
        sendClose(index, ending.closeCode, ending.reason)
        shut(index, ending.cause, graceMilliseconds: graceMilliseconds)
    }

    /// Ends a WebSocket whose Close is queued, or whose client is gone. Everything it has is given back but its client's stream, which
    /// ends politely, and its place in the table with that.
    func shut(_ index: UInt32, _ cause: RelayCounters.Counter, graceMilliseconds: UInt64? = nil) {
        let session = session(index)
        let shard = state.pointee.shard
        precondition(session.pointee.phase != .ending, "a WebSocket ends once")
        givePlaceBack(index)
        state.pointee.counters.add(cause)
        reportEnd(index, cause)
        while let closed = session.pointee.bindings.closeOne() { bindingClosed(index, closed) }
        if session.pointee.partial != .none { shard.release(session.pointee.partial) }
        session.pointee.partial = .none
        session.pointee.control?.deallocate()
        session.pointee.control = nil
        unpark(index)
        state.pointee.counters.subtract(.socketsActive)
        if session.pointee.phase == .ready { state.pointee.counters.subtract(.sessionsActive) }
        session.pointee.phase = .ending
        shard.linger(
            session.pointee.client, drainMilliseconds: graceMilliseconds ?? RelayBounds.undeliveredMilliseconds,
            totalMilliseconds: graceMilliseconds ?? RelayBounds.endMilliseconds, reporting: true)
    }

    /// Lets another session have the place, and the `sid`.
    func givePlaceBack(_ index: UInt32) {
        let detail = session(index).pointee.detail.takeUnretainedValue()
        guard let place = detail.place else { return }
        detail.place = nil
        session(index).pointee.rules.pointee.shared.sessions.close(place)
    }

    /// The client's stream is closed.
    func free(_ index: UInt32) {
        let session = session(index)
        precondition(session.pointee.phase == .ending)
        RelayRules.release(session.pointee.rules)
        session.pointee.detail.release()
        state.pointee.sessions.put(index)
    }
}

extension RelayEnding {
    /// What it is counted as.
    var cause: RelayCounters.Counter {
        switch self {
        case .authenticationTimeout, .invalidCredentials, .authenticationRequired, .wrongType, .unequalCredentials, .missingCredentials:
            .authenticationFailed
        case .tooManySessions, .sessionAlreadyActive: .sessionRefused
        case .expectedBinary: .textMessages
        case .internalError: .outOfBuffers
        case .messageTooBig: .messagesTooBig
        case .idle: .idleTimedOut
        case .pingFailed: .pingFailed
        case .sessionClosed: .hardClosed
        case .shutdown: .drained
        }
    }
}
