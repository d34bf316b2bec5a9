import Engine
import HTTP
import Policy
import Wire

/// Endings: see "Endings" under "TCP over WebSocket" in the session gateway's specification.
extension TCPBridge {
    /// How long bytes already accepted from a client may take to reach the target after the client is gone.
    static let acceptedBytesMilliseconds: UInt64 = 2000
    /// How long a client may take none of what is queued for it after the target ended.
    static let undeliveredMilliseconds: UInt64 = 30_000
    /// How long a client may take for all of it.
    static let endMilliseconds: UInt64 = 60_000

    func finish(_ index: UInt32, _ ending: Ending) {
        guard bridge(index).pointee.phase != .free, bridge(index).pointee.phase != .ending else { return }
        switch ending {
        case .none: return
        case .closedByClient:
            end(index, .closedByClient, nil, drainMilliseconds: Self.undeliveredMilliseconds)
        case .overflow:
            end(index, .bufferOverflows, .internalError, drainMilliseconds: Self.undeliveredMilliseconds)
        case .close(let code):
            let cause: BridgeCounters.Counter =
                switch code {
                case .unsupportedData: .textMessages
                case .messageTooBig: .messagesTooBig
                default: .protocolErrors
                }
            end(index, cause, code, drainMilliseconds: Self.undeliveredMilliseconds)
        }
    }

    /// Ends both streams politely, and counts and reports the cause. `code` nil: the Close frame is already queued, or the
    /// client gone. The bridge keeps its place in the quotas until the client's stream is closed: a client that does not
    /// read its end opens no more.
    ///
    /// - Parameter graceMilliseconds: when draining, what both sides have instead of the ordinary times.
    func end(_ index: UInt32, _ cause: BridgeCounters.Counter, _ code: CloseCode?, drainMilliseconds: UInt64,
             graceMilliseconds: UInt64? = nil) {
        let bridge = bridge(index)
        let shard = state.pointee.shard
        let client = bridge.pointee.client
        let target = bridge.pointee.target
        state.pointee.counters.add(cause)
        reportEnd(index, cause)
        if let code { sendClose(index, code) }
        dropOpening(bridge)
        dropPayload(bridge)
        state.pointee.counters.subtract(.active)
        bridge.pointee.phase = .ending
        if target != .none {
            let accepted = graceMilliseconds ?? Self.acceptedBytesMilliseconds
            shard.linger(target, drainMilliseconds: accepted, totalMilliseconds: graceMilliseconds ?? 2 * accepted)
        }
        shard.linger(client, drainMilliseconds: graceMilliseconds ?? drainMilliseconds,
                     totalMilliseconds: graceMilliseconds ?? Self.endMilliseconds, reporting: true)
    }

    /// The target closed its side: everything it sent is delivered, then Close 1000.
    func targetEnded(_ index: UInt32) {
        end(index, .targetEnded, .normal, drainMilliseconds: Self.undeliveredMilliseconds)
    }

    /// The target broke, or could not be reached.
    func targetFailed(_ index: UInt32) {
        if bridge(index).pointee.phase == .connecting {
            if dialNext(index) { return }
            return end(index, .connectFailed, .internalError, drainMilliseconds: Self.undeliveredMilliseconds)
        }
        end(index, .targetFailed, .internalError, drainMilliseconds: Self.undeliveredMilliseconds)
    }

    /// The client's TCP connection ended without a Close frame.
    func clientEnded(_ index: UInt32) {
        if bridge(index).pointee.phase == .resolving { return abandon(index, .clientEnded) }
        end(index, .clientEnded, nil, drainMilliseconds: Self.acceptedBytesMilliseconds)
    }

    func clientFailed(_ index: UInt32) {
        if bridge(index).pointee.phase == .resolving { return abandon(index, .clientFailed) }
        end(index, .clientFailed, nil, drainMilliseconds: Self.acceptedBytesMilliseconds)
    }

    /// The client left before it got an answer. A look-up under way will find nobody.
    private func abandon(_ index: UInt32, _ cause: BridgeCounters.Counter) {
        state.pointee.counters.add(cause)
        reportEnd(index, cause)
        let client = bridge(index).pointee.client
        free(index)
        state.pointee.shard.close(client)
    }

    func refuse(_ index: UInt32, _ refusal: Refusal) {
        let counters = state.pointee.counters
        if refusal.countsAsHostPolicy { counters.add(.blockedByHostPolicy) }
        if refusal.countsAsIPPolicy { counters.add(.blockedByAddressPolicy) }
        if refusal == .tooManyConnections { counters.add(.tooManyConnections) }
        if refusal == .lookupFailed { counters.add(.lookupFailed) }
        refuse(index, status: refusal.status, message: refusal.message)
    }

    func timePassed(_ index: UInt32) {
        let bridge = bridge(index)
        let shard = state.pointee.shard
        if bridge.pointee.phase == .resolving {
            guard let opening = bridge.pointee.opening?.takeUnretainedValue(), let claim = opening.claim else {
                return refuse(index, .lookupFailed)
            }
            return placesLate(index, opening, claim)
        }
        if bridge.pointee.phase == .connecting {
            return end(index, .connectTimedOut, .internalError, drainMilliseconds: Self.undeliveredMilliseconds)
        }
        let quiet = shard.now &- bridge.pointee.lastActivity
        let idleMilliseconds = rules(bridge).pointee.idleMilliseconds
        if quiet >= idleMilliseconds {
            return end(index, .idleTimedOut, .internalError, drainMilliseconds: Self.acceptedBytesMilliseconds)
        }
        shard.setTimer(bridge.pointee.client, afterMilliseconds: idleMilliseconds &- quiet)
    }

    /// Gives the bridge's place and quotas back.
    func free(_ index: UInt32) {
        let bridge = bridge(index)
        precondition(bridge.pointee.phase == .ending || bridge.pointee.phase == .resolving)
        dropOpening(bridge)
        dropPayload(bridge)
        bridge.pointee.record?.release()
        if let place = bridge.pointee.sessionPlace {
            let address = bridge.pointee.addressPlace?.takeRetainedValue()
            state.pointee.shared.limits.places.release(Places(session: place.takeRetainedValue(), address: address))
        }
        state.pointee.rules.release(bridge.pointee.rules)
        bridge.pointee.phase = .free
        bridge.pointee.nextFree = state.pointee.freeHead
        state.pointee.freeHead = index
        state.pointee.used -= 1
    }

    /// Forgets what only opening needed, bytes that came too early included.
    func dropOpening(_ bridge: UnsafeMutablePointer<Bridge>) {
        guard let opening = bridge.pointee.opening else { return }
        bridge.pointee.opening = nil
        let value = opening.takeRetainedValue()
        for early in value.early { state.pointee.shard.release(early.buffer) }
        if let place = value.lookupPlace { state.pointee.shared.limits.lookups.release(place) }
        if let claim = value.claim { state.pointee.shared.limits.places.cancel(claim) }
    }
}
