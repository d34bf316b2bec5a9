import Engine
import HTTP
import Wire

/// A WebSocket that answers an MQTT CONNECT with CONNACK and sends all other packets back: what a broker does with a client that
/// subscribed to what it publishes, and nothing else. The first message must be the CONNECT alone.
final class Broker {
    private struct Client {
        var reader = FrameReader(expectsMask: true)
        var isConnected = false
    }

    private let shard: Shard
    private let owner: Owner
    private let sinks: Bool
    private var clients: [UInt32: Client] = [:]
    private var next: UInt32 = 0

    /// `sinks`: nothing but CONNECT is answered.
    init(shard: Shard, owner: Owner, sinks: Bool) {
        self.shard = shard
        self.owner = owner
        self.sinks = sinks
    }

    func open(_ slot: SlotIndex, key: String, subprotocol: String?) {
        next &+= 1
        clients[next] = Client()
        shard.transfer(slot, to: owner, context: next)
        _ = UpgradeAnswer.accept(slot, key: key, subprotocol: subprotocol, on: shard)
    }

    func handle(_ event: Event) {
        switch event.kind {
        case .received: read(event)
        case .ended, .failed:
            clients[event.context] = nil
            shard.close(event.slot)
        default: break
        }
    }

    private func read(_ event: Event) {
        guard var client = clients[event.context] else { return shard.release(event.buffer) }
        let base = shard.bytes(event.buffer)
        var cursor = 0
        reading: while true {
            switch client.reader.next(base, &cursor, event.count, maximumMessageBytes: .max) {
            case .needMore: break reading
            case .data(let run):
                ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
                if client.isConnected {
                    if !sinks { answer(event.slot, UnsafeRawBufferPointer(start: base + run.start, count: run.count)) }
                } else if run.endsMessage {
                    client.isConnected = true
                    [UInt8]([0x20, 2, 0, 0]).withUnsafeBytes { answer(event.slot, $0) }
                }
            case .control(let run):
                guard run.opcode == .close else { continue }
                clients[event.context] = nil
                shard.release(event.buffer)
                return shard.linger(event.slot, drainMilliseconds: 100, totalMilliseconds: 1000)
            case .violation: break reading
            }
        }
        clients[event.context] = client
        shard.release(event.buffer)
    }

    private func answer(_ slot: SlotIndex, _ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        withUnsafeTemporaryAllocation(byteCount: FrameHeader.maximumServerBytes, alignment: 8) { area in
            let end = area.baseAddress! + area.count
            let header = FrameHeader.encode(.binary, payloadBytes: bytes.count, endingAt: end)
            _ = shard.append(slot, end - header, header)
        }
        _ = shard.append(slot, source, bytes.count)
    }
}
