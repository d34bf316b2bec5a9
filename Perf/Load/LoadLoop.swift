// The load's event loop: one thread, level-triggered epoll, every connection in one array.

import Glibc

/// Sends never wait and never raise SIGPIPE.
let sendFlags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)

/// Opens connections and drives messages over them.
final class LoadLoop {
    /// Upgrades under way at a time while connections are opened.
    private static let openingLimit = 128
    /// Longest wait for connections to open before a run is given up.
    private static let openingSeconds: UInt64 = 60
    private static let inputBytes = 262_144
    /// Writes to one connection before the others get their turn.
    private static let writesPerTurn = 4

    let options: Options
    let pattern: MessagePattern
    let clients: UnsafeMutablePointer<Client>
    private let multiplexing: Multiplexing?
    /// Bytes of one message that comes back, header included.
    let answerBytes: Int
    /// The most that one write carries: on UDP whole frames of one train.
    private let writeBytes: Int
    private var bursts: Bursts?
    private let requests: [[UInt8]]
    private let poller = Poller()
    private let lanes: UnsafeMutablePointer<Lane>
    private let lanesPerClient: Int
    private let lanePlaces: Int
    private let stamps: UnsafeMutablePointer<UInt64>
    private let input = UnsafeMutablePointer<UInt8>.allocate(capacity: LoadLoop.inputBytes)

    private(set) var openCount = 0
    private(set) var closedCount = 0
    /// Connections whose answer was not what was sent.
    private(set) var mismatches = 0
    private(set) var firstFailure: String?
    private var startedCount = 0
    var tally = Tally()
    var histogram = Histogram()
    /// Latency since the last progress line.
    var recent = Histogram()

    /// Whether messages flow; before that, connections only open.
    private var isRunning = false
    /// Open loop: when it began, time between two messages, and how many are due so far.
    private var scheduleStart: UInt64 = 0
    private var intervalNanoseconds = 0.0
    private var dueCount = 0

    init(options: Options, cookies: [String]) {
        self.options = options
        // A request for a burst is four bytes; everything else is as long as what comes back.
        let request = DatagramPrefix.burstRequest(count: options.burstDatagrams, bytes: options.messageBytes)
        let sentBytes = options.mode == .burst ? request.count : options.messageBytes
        let header = options.remote.map { DatagramPrefix.bytes(for: options.endpoint, to: $0, payloadBytes: sentBytes) } ?? []
        pattern = MessagePattern(
            payloadBytes: options.mode == .burst ? 0 : sentBytes, depth: options.mode == .upload ? 4096 : options.depth,
            isWebSocket: options.endpoint.isWebSocket, streams: options.streams, isPing: options.sendsPings,
            prefix: options.mode == .burst ? header + request : header, heads: LoadLoop.heads(options))
        answerBytes = header.count + options.messageBytes
        writeBytes = options.endpoint.isDatagram ? min(64, 65507 / pattern.frameBytes) * pattern.frameBytes : Int.max
        if options.mode == .burst { bursts = Bursts(count: options.burstDatagrams, clients: options.connections) }
        multiplexing = Multiplexing(options, frameBytes: pattern.frameBytes)
        clients = .allocate(capacity: options.connections)
        clients.initialize(repeating: Client(), count: options.connections)
        lanesPerClient = max(1, options.streams)
        lanePlaces = options.depth / lanesPerClient
        lanes = .allocate(capacity: options.connections * lanesPerClient)
        lanes.initialize(repeating: Lane(), count: options.connections * lanesPerClient)
        stamps = .allocate(capacity: options.connections * options.depth)
        stamps.initialize(repeating: 0, count: options.connections * options.depth)
        let subprotocol = options.topics > 0 ? Publishing.subprotocol : options.streams > 0 ? "aero-tcp-mux-v1" : nil
        requests = options.endpoint.upgradeRequests(options, cookies: cookies, subprotocol: subprotocol)
    }

    var aliveCount: Int { openCount - closedCount }

    /// Datagrams of bursts that did not arrive so far.
    var datagramsLost: Int { bursts?.lost ?? 0 }

    // MARK: Opening

    /// Opens connections until `count` are open. Throws when one fails.
    func open(upTo count: Int) throws {
        let deadline = nowNanoseconds() + LoadLoop.openingSeconds * 1_000_000_000
        while openCount < count {
            while startedCount < count && startedCount - openCount < LoadLoop.openingLimit { try start(startedCount) }
            turn(timeoutNanoseconds: 100_000_000)
            if let firstFailure { throw LoadError(firstFailure) }
            guard nowNanoseconds() < deadline else { throw LoadError("only \(openCount) of \(count) connections opened in time") }
        }
    }

    private func start(_ index: Int) throws {
        let descriptor = options.endpoint.startConnecting(blocking: false)
        guard descriptor >= 0 else { throw LoadError("connection \(index): \(String(cString: strerror(errno)))") }
        clients[index].channel = Channel(descriptor)
        clients[index].phase = .connecting
        clients[index].isWriteWatched = true
        poller.add(descriptor, [.readable, .writable], data: UInt64(index))
        startedCount += 1
    }

    private func connected(_ index: Int) {
        var reason: Int32 = 0
        var length = socklen_t(4)
        getsockopt(clients[index].channel.descriptor, SOL_SOCKET, SO_ERROR, &reason, &length)
        guard reason == 0 else { return fail(index, "connect: \(String(cString: strerror(reason)))") }
        watchWrites(index, false)
        guard options.endpoint.isSecure else { return secured(index) }
        clients[index].phase = .securing
        guard clients[index].channel.secure() else { return fail(index, "no memory for TLS") }
        handshake(index)
    }

    private func handshake(_ index: Int) {
        switch clients[index].channel.handshake() {
        case 1: secured(index)
        case 0: return
        default: fail(index, "the TLS handshake failed")
        }
    }

    private func secured(_ index: Int) {
        if options.endpoint.isTURN, let remote = options.remote {
            if let refusal = TURN.open(clients[index].channel.descriptor, peer: remote) { return fail(index, refusal) }
            if options.endpoint.isDatagram { clients[index].channel.carryTrains(frameBytes: pattern.frameBytes) }
        }
        guard options.endpoint.isWebSocket else { return opened(index) }
        clients[index].phase = .upgrading
        let request = requests[index / options.connectionsPerSession % requests.count]
        let sent = request.withUnsafeBytes { clients[index].channel.transmit($0.baseAddress!, $0.count) }
        if sent != request.count { fail(index, "the upgrade request did not leave") }
    }

    private func opened(_ index: Int) {
        if options.topics > 0, clients[index].phase != .joining {
            if !join(index) { fail(index, "CONNECT did not leave") }
            return
        }
        clients[index].phase = .open
        clients[index].head = []
        openCount += 1
        if let opening = multiplexing?.opening, !opening.isEmpty {
            let sent = opening.withUnsafeBytes { clients[index].channel.transmit($0.baseAddress!, $0.count) }
            if sent != opening.count { return fail(index, "the streams could not be opened") }
        }
        if isRunning { begin(index) }
    }

    /// Ends the allocations of a run over TURN.
    func release() {
        guard options.endpoint.isTURN else { return }
        // A flood has filled the server's queue, where the request would be lost.
        usleep(50_000)
        let request = TURN.release(transaction: (0..<12).map { _ in UInt8.random(in: 0...255) })
        for index in 0..<options.connections where clients[index].phase == .open {
            // The socket sends in trains of the messages' size, which this is not.
            if options.endpoint.isDatagram { clients[index].channel.carryTrains(frameBytes: 0) }
            _ = request.withUnsafeBytes { clients[index].channel.transmit($0.baseAddress!, $0.count) }
        }
    }

    /// Gives a connection up; the first reason is kept.
    private func fail(_ index: Int, _ reason: String) {
        if firstFailure == nil { firstFailure = "connection \(index): \(reason)" }
        if clients[index].phase == .open { closedCount += 1 }
        clients[index].phase = .closed
        clients[index].channel.end()
    }

    // MARK: Running

    /// Lets messages flow on every open connection.
    func run() {
        isRunning = true
        if options.rate > 0 {
            scheduleStart = nowNanoseconds()
            intervalNanoseconds = 1e9 / options.rate
            return
        }
        for index in 0..<options.connections where clients[index].phase == .open { begin(index) }
    }

    private func begin(_ index: Int) {
        switch options.mode {
        case .echo where options.rate == 0:
            let now = nowNanoseconds()
            for lane in 0..<lanesPerClient { release(index, lane, lanePlaces, now: now) }
            writePending(index)
        case .upload: watchWrites(index, true)
        case .burst: ask(index)
        default: break
        }
    }

    private func ask(_ index: Int) {
        bursts?.ask(index, now: nowNanoseconds())
        clients[index].pendingBytes += pattern.frameBytes
        writePending(index)
    }

    /// Asks again where a burst has fallen silent.
    private func askAgain() {
        let now = nowNanoseconds()
        for index in 0..<options.connections where clients[index].phase == .open && bursts?.givesUp(index, now: now) == true { ask(index) }
    }

    /// Sends one message on a connection and counts its answer, outside a run.
    func sendOne(_ index: Int) {
        release(index, 0, 1, now: nowNanoseconds())
        writePending(index)
    }

    /// Waits for events, at most the given time, and serves them.
    func turn(timeoutNanoseconds: Int64) {
        var timeout = timeoutNanoseconds
        if isRunning && options.rate > 0 { timeout = min(timeout, releaseDue()) }
        if isRunning && bursts != nil {
            timeout = min(timeout, Int64(Bursts.silenceNanoseconds / 4))
            askAgain()
        }
        for position in 0..<poller.wait(nanoseconds: timeout) {
            let (happened, data) = poller.event(position)
            let index = Int(data)
            switch clients[index].phase {
            case .connecting: connected(index)
            case .securing: handshake(index)
            case .upgrading, .joining, .open:
                if happened.contains(.writable) { writable(index) }
                if !happened.isDisjoint(with: [.readable, .error, .hangup]) { readable(index) }
            case .unused, .closed: break
            }
        }
    }

    /// Releases every message that is due by now; returns the nanoseconds until the next one.
    private func releaseDue() -> Int64 {
        let now = nowNanoseconds()
        while true {
            let due = scheduleStart + UInt64(Double(dueCount) * intervalNanoseconds)
            guard due <= now else { return Int64(due - now) }
            let index = dueCount % options.connections
            dueCount += 1
            clients[index].owed += 1
            releaseOwed(index)
        }
    }

    /// A message that found its connection full keeps the time at which it should have left: the wait counts. Streams of
    /// one WebSocket take turns.
    private func releaseOwed(_ index: Int) {
        while clients[index].owed > 0 && clients[index].phase == .open {
            let lane = clients[index].released % lanesPerClient
            guard lanes[index * lanesPerClient + lane].inFlight < lanePlaces else { break }
            let position = index + clients[index].released * options.connections
            clients[index].owed -= 1
            release(index, lane, 1, now: scheduleStart + UInt64(Double(position) * intervalNanoseconds))
        }
        writePending(index)
    }

    /// Notes messages as sent at `now` and gives them to `writePending`.
    private func release(_ index: Int, _ number: Int, _ count: Int, now: UInt64) {
        let lane = lanes + (index * lanesPerClient + number)
        let ring = stamps + (index * lanesPerClient + number) * lanePlaces
        for _ in 0..<count {
            ring[(lane.pointee.stampHead + lane.pointee.inFlight) % lanePlaces] = now
            lane.pointee.inFlight += 1
        }
        clients[index].released += count
        clients[index].pendingBytes += count * pattern.frameBytes
        if let multiplexing {
            for _ in 0..<count { multiplexing.outputs[index].append(pattern.bytes + number * pattern.frameBytes, pattern.frameBytes) }
        }
    }

    private func watchWrites(_ index: Int, _ wanted: Bool) {
        guard clients[index].isWriteWatched != wanted else { return }
        clients[index].isWriteWatched = wanted
        poller.change(clients[index].channel.descriptor, wanted ? [.readable, .writable] : .readable, data: UInt64(index))
    }

    private func writable(_ index: Int) {
        guard clients[index].phase == .open else { return }
        if options.mode == .upload && isRunning {
            for _ in 0..<LoadLoop.writesPerTurn where clients[index].phase == .open {
                guard writeOnce(index, limit: Int.max) else { return }
            }
        } else {
            writePending(index)
        }
    }

    private func writePending(_ index: Int) {
        while clients[index].pendingBytes > 0 {
            guard writeOnce(index, limit: clients[index].pendingBytes) else {
                if clients[index].phase == .open { watchWrites(index, true) }
                return
            }
        }
        watchWrites(index, false)
    }

    /// One send; false when the socket is full or broken.
    private func writeOnce(_ index: Int, limit: Int) -> Bool {
        // An upload sends to its streams in turn, as the pattern does; echoes follow their answers.
        let outputs = limit == Int.max ? nil : multiplexing?.outputs
        let offset = clients[index].patternOffset
        let count = outputs.map { $0[index].count } ?? min(pattern.byteCount - offset, limit, writeBytes)
        let sent = clients[index].channel.transmit(outputs.map { $0[index].first } ?? pattern.bytes + offset, count)
        if sent < 0 {
            if errno != EAGAIN && errno != EINTR { fail(index, "send: \(String(cString: strerror(errno)))") }
            return false
        }
        if let outputs {
            outputs[index].drop(sent)
        } else {
            clients[index].patternOffset = offset + sent == pattern.byteCount ? 0 : offset + sent
        }
        if limit != Int.max { clients[index].pendingBytes -= sent }
        tally.bytesOut += sent
        return sent == count
    }

    // MARK: Receiving

    private func readable(_ index: Int) {
        repeat { readOnce(index) } while clients[index].phase == .open && clients[index].channel.hasPending
    }

    private func readOnce(_ index: Int) {
        let count = clients[index].channel.receive(input, LoadLoop.inputBytes)
        if count < 0 {
            if errno != EAGAIN && errno != EINTR { fail(index, "receive: \(String(cString: strerror(errno)))") }
            return
        }
        guard count > 0 else { return fail(index, "closed by the server") }
        switch clients[index].phase {
        case .upgrading: upgrade(index, count: count)
        case .joining:
            switch welcomed(index, UnsafeBufferPointer(start: input, count: count)) {
            case nil: fail(index, "the broker did not accept")
            case true?: opened(index)
            case false?: break
            }
        default: take(index, input, count: count)
        }
    }

    private func upgrade(_ index: Int, count: Int) {
        let before = clients[index].head.count
        clients[index].head.append(contentsOf: UnsafeBufferPointer(start: input, count: count))
        switch clients[index].head.withUnsafeBufferPointer({ UpgradeAnswer($0) }) {
        case .incomplete: return
        case .refused(let line): fail(index, "upgrade refused: \(line)")
        case .accepted(let headBytes):
            let start = headBytes - before
            opened(index)
            if start < count { take(index, input + start, count: count - start) }
        }
    }

    private func take(_ index: Int, _ bytes: UnsafePointer<UInt8>, count: Int) {
        guard options.endpoint.isWebSocket else {
            settle(index, 0, payload(index, 0, bytes, count: count))
            return resume(index)
        }
        var offset = 0
        while offset < count {
            if clients[index].frames.remainingBytes == 0 {
                let (used, complete) = clients[index].frames.takeHeader(bytes + offset, count: count - offset)
                offset += used
                guard complete else { break }
                if clients[index].frames.opcode == 8 { return fail(index, "the server sent Close") }
            }
            let run = min(clients[index].frames.remainingBytes, count - offset)
            // Text on the way of datagrams is the relay's own, as its `ready` message.
            if clients[index].frames.opcode < 8 && !(clients[index].frames.opcode == 1 && options.remote != nil) {
                if let multiplexing {
                    guard streamPayload(index, multiplexing, bytes + offset, count: run) else { return }
                } else {
                    settle(index, 0, payload(index, 0, bytes + offset, count: run))
                }
            }
            clients[index].frames.remainingBytes -= run
            offset += run
        }
        resume(index)
    }

    /// Takes frames of many streams apart; false when the connection failed.
    private func streamPayload(_ index: Int, _ multiplexing: Multiplexing, _ bytes: UnsafePointer<UInt8>, count: Int) -> Bool {
        let reader = multiplexing.inputs + index
        var offset = 0
        while offset < count {
            if reader.pointee.remainingBytes == 0 {
                let (used, complete) = reader.pointee.takeHeader(bytes + offset, count: count - offset)
                offset += used
                guard complete else { break }
                let expected = multiplexing.isPing ? MultiplexedInput.pong : MultiplexedInput.data
                guard reader.pointee.type == expected, (1...multiplexing.streams).contains(reader.pointee.stream) else {
                    fail(index, "stream \(reader.pointee.stream) got a frame of type \(reader.pointee.type)")
                    return false
                }
            }
            let run = min(reader.pointee.remainingBytes, count - offset)
            let lane = reader.pointee.stream - 1
            settle(index, lane, payload(index, lane, bytes + offset, count: run))
            reader.pointee.remainingBytes -= run
            offset += run
        }
        return true
    }

    /// Counts payload, whatever frames it came in; returns how many messages it completed.
    private func payload(_ index: Int, _ lane: Int, _ bytes: UnsafePointer<UInt8>, count: Int) -> Int {
        let lane = lanes + (index * lanesPerClient + lane)
        tally.bytesIn += count
        if options.mode == .echo || options.mode == .idle {
            if !pattern.matches(bytes, count: count, position: lane.pointee.position) { mismatches += 1 }
        }
        let before = lane.pointee.position
        lane.pointee.position = (before + count) % (answerBytes * pattern.turns)
        return (before + count) / answerBytes - before / answerBytes
    }

    /// Records completed messages of a lane and has it send as many again.
    private func settle(_ index: Int, _ number: Int, _ completed: Int) {
        guard completed > 0 else { return }
        tally.messages += completed
        if bursts?.arrived(index, completed, now: nowNanoseconds()) == true, isRunning { return ask(index) }
        guard options.mode == .echo || options.mode == .idle else { return }
        let now = nowNanoseconds()
        let lane = lanes + (index * lanesPerClient + number)
        let ring = stamps + (index * lanesPerClient + number) * lanePlaces
        for _ in 0..<min(completed, lane.pointee.inFlight) {
            let latency = now &- min(now, ring[lane.pointee.stampHead])
            histogram.record(latency)
            recent.record(latency)
            lane.pointee.stampHead = (lane.pointee.stampHead + 1) % lanePlaces
            lane.pointee.inFlight -= 1
        }
        if isRunning && options.rate == 0 { release(index, number, completed, now: now) }
    }

    /// Everything that arrived is read: what it allows to be sent leaves together.
    private func resume(_ index: Int) {
        guard isRunning, clients[index].phase == .open, options.mode == .echo || options.mode == .idle else { return }
        if options.rate > 0 { releaseOwed(index) } else if clients[index].pendingBytes > 0 { writePending(index) }
    }
}
