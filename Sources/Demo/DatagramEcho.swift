import Engine

/// The datagram side of the demonstration service: whatever comes goes back to where it came from, trains as trains; of datagrams
/// that ask for it (`DemoDatagram`) some are lost.
public struct DatagramEcho {
    private let shard: Shard
    private let owner: Owner
    private var slot = SlotIndex.none
    private var generator = DemoDatagram.Generator()

    /// The echo of one shard, not open yet. Its socket carries `owner`.
    public init(shard: Shard, owner: Owner) {
        self.shard = shard
        self.owner = owner
    }

    /// Opens the socket; returns 0, or the errno.
    public mutating func open(at local: SocketAddress) -> Int32 {
        var error: Int32 = 0
        slot = shard.openDatagrams(at: local, owner: owner, context: 0, error: &error)
        if slot == .none { return error }
        shard.resumeReceive(slot)
        return 0
    }

    /// Closes the socket, if it is open.
    public mutating func close() {
        guard slot != .none else { return }
        shard.close(slot)
        slot = .none
    }

    /// Takes what the socket received.
    public mutating func handle(_ event: Event) {
        guard event.kind == .datagrams else { return }
        guard event.slot == slot, event.result == 0 else { return shard.release(event.buffer) }
        let source = shard.datagramSource(event)
        let payload = shard.bytes(event.buffer) + Int(event.start)
        let segment = max(1, Int(event.detail))
        var offset = 0
        repeat {
            let count = min(segment, event.count - offset)
            let bytes = UnsafeRawBufferPointer(start: payload + offset, count: count)
            if !DemoDatagram.isLost(bytes, &generator) { shard.sendDatagram(slot, to: source, payload + offset, count: count) }
            offset += count
        } while offset < event.count
        shard.releaseAfterSends(event.buffer)
    }
}
