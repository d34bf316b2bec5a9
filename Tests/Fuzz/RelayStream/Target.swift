import Engine
import HTTP
import Policy
import Ring
import Simulator
import UDPRelay
import Wire

/// A whole `/udp` WebSocket on the simulated kernel: any bytes of the client in any pieces, remotes that answer, time that passes. The
/// server says what the protocol allows and nothing behind its Close; what leaves was allowed to; and in the end everything is given back.
///
/// Input: two bytes of settings, then steps. A step's first byte is what happens (three bits) and how (five).
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRelayStream(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    var input = StepReader(Array(UnsafeBufferPointer(start: start, count: count)))
    let world = World(input.byte(), input.byte())
    while !input.isEmpty { world.step(&input) }
    world.finish()
    return 0
}

private struct StepReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isEmpty: Bool { at == bytes.count }

    mutating func byte() -> UInt8 {
        if isEmpty { return 0 }
        at += 1
        return bytes[at - 1]
    }

    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(bytes.count, at + count)
        defer { at = end }
        return Array(bytes[at..<end])
    }
}

private final class Peer: RemotePeer {
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? { nil }
}

private final class World {
    static let streamOwner = Owner(1)
    static let socketOwner = Owner(2)
    static let listenOwner = Owner(3)
    static let deniedPort: UInt16 = 49
    static let strangerPort: UInt16 = 50

    private let kernel: SimulatedKernel
    private let shard: Shard
    private let relay: UDPRelay
    private let shared: RelayShared
    private let settings: RelaySettings
    private let client: SimulatedSocket
    /// From where the last datagrams left, and for which ports.
    private var lately: [(socket: SimulatedSocket, port: UInt16)] = []
    private var left: UInt64 = 0
    private var heard: [UInt8] = []
    private var isDeaf = false
    private var isGone = false

    init(_ first: UInt8, _ second: UInt8) {
        var random = SimulatedRandom(seed: UInt64(second))
        var faults = FaultPlan()
        if first & 0x80 != 0 {
            faults = FaultPlan(&random)
            faults.drawDatagrams(&random)
        }
        kernel = SimulatedKernel(seed: random.next(), faults: faults, trace: Trace())
        var settings = RelaySettings()
        settings.prefersV2 = first & 2 != 0
        settings.maximumPayloadBytes = first & 4 != 0 ? 1200 : 60
        settings.maximumControlMessageBytes = 200
        settings.sendQueueBytes = first & 8 != 0 ? 300 : 1 << 20
        settings.bindings.maximumBindings = first & 16 != 0 ? 2 : 128
        settings.bindings.idleMilliseconds = 400
        (settings.authenticationMilliseconds, settings.pingMilliseconds, settings.idleMilliseconds) = (500, 900, 2000)
        if first & 32 != 0 {
            (settings.limits.framesPerSecond, settings.limits.bytesPerSecond) = (20, 500)
            (settings.limits.framesPerSecondPerDestination, settings.limits.uniqueDestinations) = (5, 3)
            (settings.limits.destinationBuckets, settings.limits.bytesPerSecondToClient) = (2, 400)
            settings.limits.hardCloseViolations = 12
        }
        if first & 64 != 0 { settings.bindings.filterMode = .any }
        self.settings = settings
        var destinations = RelayDestinationSettings(preset: "dev")!
        destinations.deniedPorts = [Self.deniedPort...Self.deniedPort]
        let access: RelayAccess = first & 1 != 0 ? .apiKey(Array("k".utf8)) : .open
        shared = RelayShared(settings: settings, access: access, destinations: RelayDestinations(destinations))
        var sizes = ShardSizes()
        (sizes.slots, sizes.smallBuffers, sizes.bulkBuffers, sizes.packetBuffers, sizes.trainBuffers) = (200, 70, 2, 16, 4)
        shard = try! Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: sizes)
        relay = UDPRelay(
            shard: shard, clientOwner: Self.streamOwner, socketOwner: Self.socketOwner, capacity: 4, socketCapacity: 200, shared: shared)
        let listener = kernel.openListener()
        shard.listen(listener, owner: Self.listenOwner, tag: 1)
        client = kernel.connectClient(to: listener, port: 2000, backlogMaximum: 4, peer: Peer())!
        kernel.datagramLeft = { [unowned self] in datagramLeft($0, $1, $2) }
        turns(6)
    }

    // MARK: - Steps

    func step(_ input: inout StepReader) {
        let step = input.byte()
        let how = Int(step >> 3)
        switch step & 7 {
        case 0: write(input.take(1 + how * 8))
        case 1: frame(how & 16 != 0 ? 0 : 2, isFinal: how & 8 == 0, isMasked: how & 4 != 0, &input)
        case 2: frame([1, 8, 9, 10][how & 3], isFinal: how & 4 == 0, isMasked: how & 8 != 0, &input)
        case 3: answer(how, Int(input.byte()))
        case 4: wait(milliseconds: how * 50)
        case 5:
            isDeaf = how & 1 != 0
            hear()
        case 6: turns(1 + how & 3)
        default: mishap(how)
        }
        turns(1)
        hear()
    }

    private func write(_ bytes: [UInt8]) {
        guard !isGone else { return }
        _ = bytes.withUnsafeBytes { $0.isEmpty ? 0 : kernel.remoteWrite(client, $0.baseAddress!, $0.count) }
    }

    private func frame(_ opcode: UInt8, isFinal: Bool, isMasked: Bool, _ input: inout StepReader) {
        let payload = input.take(Int(input.byte()))
        let key: [UInt8] = isMasked ? [0x37, 0xFA, 0x21, 0x3D] : [0, 0, 0, 0]
        let length: [UInt8] = payload.count < 126 ? [0x80 | UInt8(payload.count)] : [0xFE, 0, UInt8(payload.count)]
        write([opcode | (isFinal ? 0x80 : 0)] + length + key + payload.indices.map { payload[$0] ^ key[$0 & 3] })
    }

    /// Datagrams come back to the sockets that sent last, perhaps a train, perhaps too long, perhaps from somebody else.
    private func answer(_ how: Int, _ byte: Int) {
        let payload = [UInt8](repeating: UInt8(byte), count: how & 16 != 0 ? byte * 6 : byte & 63)
        for entry in lately.suffix(1 + how & 3) where !entry.socket.isReleased {
            let port = how & 4 != 0 ? Self.strangerPort : entry.port
            kernel.deliver([[UInt8]](repeating: payload, count: how & 8 != 0 ? 1 : 1 + byte & 31), from: port, to: entry.socket)
        }
    }

    private func mishap(_ how: Int) {
        switch how & 3 {
        case 0: if let last = lately.last, !last.socket.isReleased { kernel.raiseDatagramError(111, on: last.socket) }
        case 1: relay.drain(graceMilliseconds: UInt64(how) * 10)
        case 2 where !isGone:
            isGone = true
            kernel.remoteFinish(client)
        case 3 where !isGone:
            isGone = true
            kernel.remoteReset(client)
        default: break
        }
    }

    // MARK: - The shard's loop

    /// Turns that do not wait, so that hardly any time passes; or that wait for what happens next, 50 ms at most.
    private func turns(_ count: Int, waiting: Bool = false) {
        var event = Event()
        for _ in 0..<count {
            if waiting { kernel.plan(afterNanoseconds: 50_000_000) {} } else { shard.turnSoon() }
            shard.turn()
            while shard.next(&event) {
                if event.owner == Self.streamOwner || event.owner == Self.socketOwner { relay.handle(event) }
                if event.owner == Self.listenOwner, event.kind == .accepted { open(event.slot) }
            }
            relay.endTurn()
        }
    }

    private func wait(milliseconds: Int) {
        let end = kernel.nanoseconds + UInt64(milliseconds) * 1_000_000
        var turnsLeft = 400
        while turnsLeft > 0, kernel.nanoseconds < end {
            turns(1, waiting: true)
            turnsLeft -= 1
        }
    }

    private func open(_ slot: SlotIndex) {
        let verdict = shared.access.judge(authorization: [], apiKeys: [], query: [UInt8]().span, 0..<0, nowSeconds: 0)
        relay.open(
            RelayRequest(
                client: slot, verdict: verdict, webSocketKey: "dGhlIHNhbXBsZSBub25jZQ==", leftover: (buffer: .none, start: 0, count: 0),
                record: ConnectionRecord(requestID: "", traceID: "", path: "/udp", client: "", target: "", sessionID: "")))
    }

    private func datagramLeft(_ socket: SimulatedSocket, _ port: UInt16, _ payload: [UInt8]) {
        left += 1
        precondition(port != 0 && port != Self.deniedPort && payload.count <= settings.maximumPayloadBytes)
        lately = lately.suffix(7) + [(socket, port)]
    }

    private func hear() {
        guard !isDeaf else { return }
        withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { chunk in
            while case .bytes(let count) = kernel.remoteRead(client, chunk.baseAddress!, chunk.count) { heard += chunk[..<count] }
        }
    }

    // MARK: - The end

    func finish() {
        isDeaf = false
        hear()
        judgeWhatWasHeard()
        kernel.remoteReset(client)
        shard.closeListeners()
        var turnsLeft = 20_000
        while turnsLeft > 0, shard.slotsUsed > 0 || !shard.listenersClosed || !kernel.isSettled {
            turns(1, waiting: true)
            turnsLeft -= 1
        }
        turns(3)
        precondition(kernel.violations.isEmpty, kernel.violations.first ?? "")
        precondition(shard.slotsUsed == 0 && shard.buffersHeld == 0 && kernel.openDescriptors == 0, "something is kept")
        precondition(relay.count == 0 && relay.socketCount == 0 && shared.sessionCount == 0, "a session is kept")
        let counters = relay.counters
        let reasons: [RelayCounters.Event] = [
            .droppedMalformed, .droppedOversized, .droppedDenied, .droppedRateLimited, .droppedQuota, .droppedBackpressure,
        ]
        precondition(counters.read(.dropped) == reasons.reduce(0) { $0 + counters.read($1) }, "drops and their reasons")
        precondition(left <= counters.read(.datagramsIn), "more datagrams left than came")
        for gauge: RelayCounters.Counter in [.socketsActive, .sessionsActive, .bindingsActive, .datagramSocketsActive] {
            precondition(counters.read(gauge) == 0, "\(gauge)")
        }
        relay.destroy()
        shard.destroy()
        kernel.tearDown()
    }

    /// The answer to the upgrade, then whole frames without a mask, the first of them a text; nothing behind a Close.
    private func judgeWhatWasHeard() {
        let head = Array("HTTP/1.1 101".utf8)
        precondition(heard.prefix(head.count).elementsEqual(head.prefix(heard.count)))
        guard let end = heard.firstRange(of: [13, 10, 13, 10]) else { return }
        var at = end.upperBound
        var isReady = false
        var isClosed = false
        while heard.count - at >= 2 {
            var (length, begin) = (Int(heard[at + 1]), at + 2)
            if length == 126 {
                guard heard.count - at >= 4 else { return }
                (length, begin) = (Int(heard[at + 2]) << 8 | Int(heard[at + 3]), at + 4)
            }
            precondition(!isClosed && heard[at + 1] < 127, "a frame behind Close, or one that is masked or too long")
            guard heard.count >= begin + length else { return }
            let payload = Array(heard[begin..<begin + length])
            switch heard[at] {
            case 0x81:
                let message = JSONReader.read(payload.span)
                precondition(["ready", "error"].contains(message?["type"]?.string ?? "") && payload.last == 10)
                isReady = isReady || message?["type"]?.string == "ready"
            case 0x82:
                guard isReady, case .frame(let header) = RelayFrame.decode(payload.span, maximumPayloadBytes: settings.maximumPayloadBytes)
                else { preconditionFailure("a message that is no frame") }
                let isFour = header.remote.address.family == .v4
                precondition(header.remote.address == (isFour ? IPAddress(v4: 0x7F00_0001) : IPAddress(v6High: 0, low: 1)))
            case 0x88:
                precondition(length != 1 && length <= 125)
                isClosed = true
            case 0x89, 0x8A: precondition(length <= 125)
            default: preconditionFailure("opcode \(heard[at])")
            }
            at = begin + length
        }
    }
}
