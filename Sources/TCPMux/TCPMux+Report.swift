import Engine
import HTTP
import Wire

/// What is told of multiplexed WebSockets: beginnings and ends to the log, those that live to the admin interface.
extension TCPMux {
    /// Sets what hears of every refusal, beginning and end. Called on the shard's thread, never for a message.
    public func onReport(_ report: @escaping (ConnectionReport) -> Void) { state.pointee.report = report }

    func reportOpened(_ index: UInt32) {
        state.pointee.report?(.opened(socket(index).pointee.record.takeUnretainedValue()))
    }

    func reportEnd(_ index: UInt32, _ cause: MuxCounters.Counter) {
        let socket = socket(index)
        let counts = state.pointee.shard.byteCounts(socket.pointee.client)
        state.pointee.report?(
            .ended(
                socket.pointee.record.takeUnretainedValue(), cause: cause.cause ?? "", bytesFromClient: counts.received,
                bytesToClient: counts.sent &+ UInt64(state.pointee.shard.queuedBytes(socket.pointee.client))))
    }

    /// Places of WebSockets that were ever taken.
    public var places: Int { Int(state.pointee.sockets.touched) }

    /// Calls `body` with every WebSocket in these places that lives and has not begun to end. Its bytes are those on the wire,
    /// frames included.
    public func forEachConnection(in range: Range<Int>, _ body: (LiveConnection) -> Void) {
        let shard = state.pointee.shard
        for index in range.clamped(to: 0..<places).lazy.map({ UInt32($0) }) where socket(index).pointee.phase == .open {
            let socket = socket(index)
            let counts = shard.byteCounts(socket.pointee.client)
            body(
                LiveConnection(
                    identifier: ConnectionIdentifier(socket.pointee.client, on: shard), feature: "tcp-mux", phase: "open",
                    record: socket.pointee.record.takeUnretainedValue(), peer: shard.peerAddress(socket.pointee.client),
                    bytesFromClient: counts.received, bytesToClient: counts.sent,
                    quietMilliseconds: shard.now &- socket.pointee.lastActivity))
        }
    }

    /// Closes the WebSockets of sessions that were revoked with 1008, and all their streams. One pass, at a revocation.
    public func closeRevoked() {
        let revocations = state.pointee.shared.limits.revocations
        for index in 0..<UInt32(state.pointee.sockets.touched) where socket(index).pointee.phase == .open {
            let session = socket(index).pointee.identity.takeUnretainedValue().session
            if revocations.contains(sessionID: session) { end(index, .revoked, .policyViolation) }
        }
    }

    /// Closes one WebSocket with 1001; false when it is not, or no longer, one of this shard's.
    public func close(_ identifier: ConnectionIdentifier) -> Bool {
        let shard = state.pointee.shard
        for index in 0..<UInt32(state.pointee.sockets.touched) where socket(index).pointee.phase == .open {
            let client = socket(index).pointee.client
            guard client.raw == identifier.slot, ConnectionIdentifier(client, on: shard) == identifier else { continue }
            end(index, .closedByAdministrator, .goingAway)
            return true
        }
        return false
    }
}
