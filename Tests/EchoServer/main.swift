import CSocket
import Engine
import Glibc
import HTTP
import Policy
import Ring
import Wire

// A WebSocket echo built from the same engine and HTTP targets as the gateway: the fixture the conformance suite talks to.
// Datagrams to the same port are sent back from where they lie.
// Usage: sluice-echo PORT

/// One connection: its frames are unmasked, judged and sent back frame by frame, so that nothing is reassembled.
struct EchoConnection {
    var slot = SlotIndex.none
    var reader = FrameReader(expectsMask: true)
    var text = UTF8Validator()
    var message: [UInt8] = []
    var control: [UInt8] = []
}

final class EchoServer {
    static let httpOwner = Owner(1)
    static let echoOwner = Owner(2)
    static let datagramOwner = Owner(3)
    static let maximumMessageBytes: UInt64 = 64 << 20

    let shard: Shard
    let http: HTTPServer
    var connections: [UInt32: EchoConnection] = [:]
    var nextContext: UInt32 = 0

    init(shard: Shard) {
        self.shard = shard
        http = HTTPServer(shard: shard, owner: Self.httpOwner)
    }

    func run() -> Never {
        var event = Event()
        while true {
            shard.turn()
            while shard.next(&event) {
                if event.owner == Self.datagramOwner {
                    sendBack(event)
                } else if event.owner == Self.httpOwner {
                    serve(event)
                } else if event.owner == Self.echoOwner {
                    echo(event)
                }
            }
        }
    }

    /// Every datagram goes back to its sender; those of a train in a train.
    private func sendBack(_ event: Event) {
        guard event.kind == .datagrams else { return }
        let source = shard.datagramSource(event)
        let base = shard.bytes(event.buffer) + Int(event.start)
        var at = 0
        repeat {
            let count = min(Int(event.detail), event.count - at)
            shard.sendDatagram(event.slot, to: source, base + at, count: count)
            at += count
        } while at < event.count
        shard.releaseAfterSends(event.buffer)
    }

    private func serve(_ event: Event) {
        var action = http.handle(event)
        while true {
            switch action {
            case .none: return
            case .upgrade(let index):
                upgrade(index)
                return
            case .request(let index):
                http.respond(index, Response(status: 200, body: Array("sluice-echo\n".utf8)))
                action = http.next(index)
            case .violation(let index, let violation):
                var response = violation.problem.response
                response.closes = true
                http.respond(index, response)
                return
            case .late(let index), .overloaded(let index):
                http.respond(index, Response(status: 503, closes: true))
                return
            }
        }
    }

    private func upgrade(_ index: UInt32) {
        let key = http.request(index).first(.secWebSocketKey) ?? ""
        let taken = http.detach(index)
        nextContext &+= 1
        shard.transfer(taken.slot, to: Self.echoOwner, context: nextContext)
        guard UpgradeAnswer.accept(taken.slot, key: key, on: shard) else { return shard.close(taken.slot) }
        connections[nextContext] = EchoConnection(slot: taken.slot)
        if taken.leftover != .none { read(nextContext, taken.leftover, taken.start, taken.start + taken.count) }
    }

    private func echo(_ event: Event) {
        switch event.kind {
        case .received: read(event.context, event.buffer, 0, event.count)
        case .ended: end(event.context, nil)
        case .failed:
            connections[event.context] = nil
            shard.close(event.slot)
        case .drained: shard.resumeReceive(event.slot)
        default: break
        }
    }

    private func read(_ context: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        defer { shard.release(buffer) }
        let base = shard.bytes(buffer)
        var cursor = start
        while connections[context] != nil {
            let item = connections[context]!.reader.next(base, &cursor, end, maximumMessageBytes: Self.maximumMessageBytes)
            switch item {
            case .needMore:
                if let slot = connections[context]?.slot, shard.isCongested(slot) {
                    shard.pauseReceive(slot)
                    shard.notifyWhenDrained(slot)
                }
                return
            case .violation(let code): self.end(context, code)
            case .data(let run): data(context, base, run)
            case .control(let run): control(context, base, run)
            }
        }
    }

    private func data(_ context: UInt32, _ base: UnsafeMutableRawPointer, _ run: DataRun) {
        ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
        let bytes = UnsafeRawBufferPointer(start: base + run.start, count: run.count)
        if run.opcode == .text {
            // RFC 6455 section 8.1: fail at the first byte that cannot be UTF-8, not at the end of the message.
            let span = Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self))
            guard connections[context]!.text.validate(span) else { return end(context, .invalidPayload) }
        }
        connections[context]!.message.append(contentsOf: bytes)
        guard run.endsMessage else { return }
        let message = connections[context]!.message
        connections[context]!.message = []
        if run.opcode == .text {
            guard connections[context]!.text.isComplete else { return end(context, .invalidPayload) }
            connections[context]!.text = UTF8Validator()
        }
        send(connections[context]!.slot, run.opcode, message)
    }

    private func control(_ context: UInt32, _ base: UnsafeMutableRawPointer, _ run: ControlRun) {
        ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
        connections[context]!.control.append(contentsOf: UnsafeRawBufferPointer(start: base + run.start, count: run.count))
        guard run.endsFrame else { return }
        let payload = connections[context]!.control
        connections[context]!.control = []
        switch run.opcode {
        case .ping: send(connections[context]!.slot, .pong, payload)
        case .close:
            if let violation = CloseCode.violation(inPayload: payload.span) { return end(context, violation) }
            send(connections[context]!.slot, .close, payload)
            end(context, nil)
        default: break
        }
    }

    private func end(_ context: UInt32, _ code: CloseCode?) {
        guard let connection = connections.removeValue(forKey: context) else { return }
        if let code { send(connection.slot, .close, [UInt8(code.rawValue >> 8), UInt8(code.rawValue & 255)]) }
        shard.linger(connection.slot, drainMilliseconds: 5000)
    }

    private func send(_ slot: SlotIndex, _ opcode: Opcode, _ payload: [UInt8]) {
        var offset = 0
        repeat {
            guard let buffer = shard.acquire(payload.count > 4096 ? .bulk : .small) else { return shard.close(slot) }
            let count = min(shard.capacity(buffer), payload.count - offset)
            payload.withUnsafeBytes { source in
                if count > 0 { shard.bytes(buffer).copyMemory(from: source.baseAddress! + offset, byteCount: count) }
            }
            let header = offset == 0 ? FrameHeader.encode(opcode, payloadBytes: payload.count, endingAt: shard.bytes(buffer)) : 0
            shard.send(slot, buffer, start: -header, count: header + count)
            offset += count
        } while offset < payload.count
    }
}

let port = CommandLine.arguments.count > 1 ? UInt16(CommandLine.arguments[1]) : nil
guard let port, var address = SocketAddress("127.0.0.1", port: port) else {
    print("usage: sluice-echo PORT")
    exit(2)
}
let descriptor = socket_listen(&address.storage, address.byteCount, 1024, false)
guard descriptor >= 0 else {
    print("sluice-echo: cannot listen on 127.0.0.1:\(port): \(String(cString: strerror(-descriptor)))")
    exit(1)
}
signal(SIGPIPE, SIG_IGN)
do {
    var lost: [String] = []
    let ring = try Ring(entries: 1024, completions: 8192, lost: &lost)
    let shard = try Shard(index: 0, ring: ring)
    let server = EchoServer(shard: shard)
    shard.listen(descriptor, owner: EchoServer.httpOwner, tag: 0)
    address.port = UInt16(socket_local_port(descriptor))
    var error: Int32 = 0
    let datagrams = shard.openDatagrams(at: address, owner: EchoServer.datagramOwner, context: 0, error: &error)
    guard datagrams != .none else {
        print("sluice-echo: no datagram socket on port \(address.port): \(String(cString: strerror(error)))")
        exit(1)
    }
    shard.resumeReceive(datagrams)
    print("listening on 127.0.0.1:\(socket_local_port(descriptor))")
    fflush(nil)
    server.run()
} catch {
    print("sluice-echo: \(error)")
    exit(1)
}
