import Engine
import HTTP

/// What is told of bridges: beginnings and ends to the log, those that live to the admin interface.
extension TCPBridge {
    /// Sets what hears of every refusal, beginning and end. Called on the shard's thread, never for a message.
    public func onReport(_ report: @escaping (ConnectionReport) -> Void) { state.pointee.report = report }

    @inline(never)
    func report(_ index: UInt32, _ make: (ConnectionRecord) -> ConnectionReport) {
        guard let report = state.pointee.report, let record = bridge(index).pointee.record?.takeUnretainedValue() else { return }
        report(make(record))
    }

    @inline(never)
    func reportEnd(_ index: UInt32, _ cause: BridgeCounters.Counter) {
        let (fromClient, toClient) = payloadBytes(bridge(index))
        report(index) { .ended($0, cause: cause.cause ?? "", bytesFromClient: fromClient, bytesToClient: toClient) }
    }

    /// Payload from the client, what is queued for the target included, and to it.
    private func payloadBytes(_ bridge: UnsafeMutablePointer<Bridge>) -> (fromClient: UInt64, toClient: UInt64) {
        let target = bridge.pointee.target
        // While a bridge ends its target's stream may be gone already, and its slot somebody else's.
        guard target != .none, bridge.pointee.phase != .ending else { return (0, 0) }
        let shard = state.pointee.shard
        let counts = shard.byteCounts(target)
        return (counts.sent &+ UInt64(shard.queuedBytes(target)), counts.received)
    }

    /// Places of bridges that were ever taken.
    public var places: Int { state.pointee.touched }

    /// Calls `body` with every bridge in these places that lives and has not begun to end.
    public func forEachConnection(in range: Range<Int>, _ body: (LiveConnection) -> Void) {
        let shard = state.pointee.shard
        for index in range.clamped(to: 0..<state.pointee.touched).lazy.map({ UInt32($0) }) {
            let bridge = bridge(index)
            guard bridge.pointee.phase != .free, bridge.pointee.phase != .ending,
                let record = bridge.pointee.record?.takeUnretainedValue()
            else { continue }
            let (fromClient, toClient) = payloadBytes(bridge)
            body(
                LiveConnection(
                    identifier: ConnectionIdentifier(bridge.pointee.client, on: shard), feature: "tcp", phase: "\(bridge.pointee.phase)",
                    record: record, peer: shard.peerAddress(bridge.pointee.client), bytesFromClient: fromClient,
                    bytesToClient: toClient, quietMilliseconds: shard.now &- bridge.pointee.lastActivity))
        }
    }

    /// Closes one connection with 1001; false when it is not, or no longer, one of this shard's bridges.
    public func close(_ identifier: ConnectionIdentifier) -> Bool {
        let shard = state.pointee.shard
        for index in 0..<UInt32(state.pointee.touched) {
            let bridge = bridge(index)
            guard bridge.pointee.phase != .free, bridge.pointee.phase != .ending, bridge.pointee.client.raw == identifier.slot,
                ConnectionIdentifier(bridge.pointee.client, on: shard) == identifier
            else { continue }
            if bridge.pointee.phase == .resolving {
                refuse(index, status: 503, message: "Closed by the administrator")
            } else {
                end(index, .closedByAdministrator, .goingAway, drainMilliseconds: Self.undeliveredMilliseconds)
            }
            return true
        }
        return false
    }
}
