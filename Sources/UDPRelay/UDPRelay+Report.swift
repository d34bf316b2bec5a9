import Engine
import HTTP

/// What is told of `/udp`: beginnings and ends to the log, those that live to the admin interface.
extension UDPRelay {
    /// Sets what hears of every refusal, beginning and end. Called on the shard's thread, never for a message.
    public func onReport(_ report: @escaping (ConnectionReport) -> Void) { state.pointee.report = report }

    func record(_ index: UInt32) -> ConnectionRecord { session(index).pointee.detail.takeUnretainedValue().record }

    func reportEnd(_ index: UInt32, _ cause: RelayCounters.Counter) {
        guard let report = state.pointee.report else { return }
        let client = session(index).pointee.client
        let counts = state.pointee.shard.byteCounts(client)
        let sent = counts.sent &+ UInt64(state.pointee.shard.queuedBytes(client))
        let detail = session(index).pointee.detail.takeUnretainedValue()
        guard !detail.sessionID.isEmpty else {
            return report(.ended(detail.record, cause: cause.cause ?? "", bytesFromClient: counts.received, bytesToClient: sent))
        }
        report(
            .sessionEnded(detail.record, sessionID: detail.sessionID, cause: cause.cause ?? "", bytesFromClient: counts.received,
                          bytesToClient: sent))
    }

    /// Tells, once a minute at most, that all sockets are in use.
    @inline(never)
    func reportSocketsUsedUp() {
        let now = state.pointee.shard.now
        guard now >= state.pointee.nextSocketReport else { return }
        state.pointee.nextSocketReport = now + RelayBounds.socketReportMilliseconds
        state.pointee.report?(
            .exhausted(what: "the relay's sockets of this shard are used up: further guest ports take those of the session that has most",
                       limit: state.pointee.sockets.capacity, key: "limits.udp_sockets_per_shard"))
    }

    /// Places of WebSockets that were ever taken.
    public var places: Int { state.pointee.sessions.touched }

    /// Calls `body` with every WebSocket in these places that lives and has not begun to end. Its bytes are those on the wire.
    public func forEachConnection(in range: Range<Int>, _ body: (LiveConnection) -> Void) {
        let shard = state.pointee.shard
        for index in range.clamped(to: 0..<places).lazy.map({ UInt32($0) }) where isLive(index) {
            let session = session(index)
            let counts = shard.byteCounts(session.pointee.client)
            body(
                LiveConnection(
                    identifier: ConnectionIdentifier(session.pointee.client, on: shard), feature: "udp",
                    phase: session.pointee.phase == .ready ? "open" : "connecting", record: record(index),
                    peer: shard.peerAddress(session.pointee.client), bytesFromClient: counts.received, bytesToClient: counts.sent,
                    quietMilliseconds: shard.now &- session.pointee.lastFrame))
        }
    }

    /// Closes one WebSocket with 1001; false when it is not, or no longer, one of this shard's.
    public func close(_ identifier: ConnectionIdentifier) -> Bool {
        let shard = state.pointee.shard
        for index in 0..<UInt32(places) where isLive(index) {
            let client = session(index).pointee.client
            guard client.raw == identifier.slot, ConnectionIdentifier(client, on: shard) == identifier else { continue }
            sendClose(index, .goingAway, "closed by the administrator")
            shut(index, .closedByAdministrator)
            return true
        }
        return false
    }
}
