import Engine
import Glibc
import Ring
import Simulator
import Testing
import Wire

@testable import HTTP

/// A peer that does nothing of its own: the test moves its hands.
final class StillPeer: RemotePeer {
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? { nil }
}

/// One HTTP server on one shard of a kernel without faults, with a handler that answers what it was asked.
final class ServerBench {
    /// A request as the handler saw it.
    struct Seen: Equatable {
        var method: String
        var path: String
        var body: [UInt8]
    }

    static let owner = Owner(3)
    let kernel: SimulatedKernel
    let shard: Shard
    let listener: Int32
    let http: HTTPServer
    var clients: [SimulatedSocket] = []
    var seen: [Seen] = []
    var violations: [HTTPViolation] = []
    var lateCount = 0
    var overloadedCount = 0
    var receivedBytes = 0
    var openedCount = 0
    /// Upgrades are answered like requests unless a test wants to take the connection.
    var takesUpgrades = false
    /// Refused requests are taken like upgrades.
    var takesRefused = false
    var taken: [(slot: SlotIndex, bytes: [UInt8], count: Int)] = []
    /// Requests to this path are put off, until the test answers them.
    var postponedPath = "/later"
    var postponed: [(request: PostponedRequest, text: String)] = []
    /// Answers are written straight into the buffers that are sent.
    var answersDirectly = false
    /// Makes the answer; `METHOD path body` unless a test says otherwise.
    var answer: (RequestView) -> Response = { request in
        Response(status: 200, body: Array("\(request.method.name) \(request.path) ".utf8) + Array(request.body))
    }

    /// A turn in which nothing happens takes a second of simulated time: tests that are not about time have plenty of it.
    static var patient: ServerLimits {
        var limits = ServerLimits()
        limits.headMilliseconds = 10_000_000
        limits.bodyMilliseconds = 10_000_000
        limits.idleMilliseconds = 10_000_000
        limits.drainMilliseconds = 10_000_000
        limits.answerMilliseconds = 10_000_000
        return limits
    }

    init(limits: ServerLimits = ServerBench.patient, incoming: Int = 1 << 21, outgoing: Int = 1 << 20, small: Int = 512,
         bulk: Int = 8, slots: Int = 64) throws {
        kernel = SimulatedKernel(seed: 7, faults: FaultPlan(), trace: Trace())
        kernel.incomingBytes = incoming
        kernel.outgoingBytes = outgoing
        var sizes = ShardSizes()
        sizes.slots = slots
        sizes.smallBuffers = small
        sizes.bulkBuffers = bulk
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 128, completions: 1024), sizes: sizes)
        listener = kernel.openListener()
        http = HTTPServer(shard: shard, owner: Self.owner, limits: limits)
        shard.listen(listener, owner: Self.owner, tag: 5)
    }

    func turn() {
        var event = Event()
        shard.turn()
        while shard.next(&event) {
            guard event.owner == Self.owner else { continue }
            if event.kind == .received { receivedBytes += event.count }
            if event.kind == .accepted { openedCount += 1 }
            var action = http.handle(event)
            while let index = deal(with: action) { action = http.next(index) }
        }
    }

    /// As the loop of a shard does it; the connection to go on with, or nil.
    private func deal(with action: HTTPServer.Action) -> UInt32? {
        switch action {
        case .none: return nil
        case .request(let index):
            respond(index)
            return index
        case .upgrade(let index):
            guard takesUpgrades else {
                respond(index)
                return index
            }
            take(index)
            return nil
        case .violation(let index, let violation):
            violations.append(violation)
            if takesRefused {
                take(index)
                return nil
            }
            refuse(index, violation.problem)
            return nil
        case .late(let index):
            lateCount += 1
            refuse(index, Problem(408, "request_timeout", "Late"))
            return nil
        case .overloaded(let index):
            overloadedCount += 1
            refuse(index, Problem(503, "unavailable", "Full"))
            return nil
        }
    }

    private func respond(_ index: UInt32) {
        let request = http.request(index)
        #expect(request.listener == 5)
        seen.append(Seen(method: "\(request.method.name)", path: request.path, body: Array(request.body)))
        if request.path == postponedPath {
            let text = "\(request.method.name) \(request.path) "
            postponed.append((http.postpone(index), text))
        } else if answersDirectly {
            http.respond(index, HTTPServer.DirectResponse(status: 200, fieldBytes: 0, body: request.body)) { _ in }
        } else {
            http.respond(index, answer(request))
        }
    }

    /// Answers the oldest postponed request and goes on with its connection. False when the client is gone.
    func answerPostponed() -> Bool {
        let (request, text) = postponed.removeFirst()
        let body = Array(text.utf8)
        let isThere = answersDirectly
            ? body.withUnsafeBytes { http.respond(to: request, HTTPServer.DirectResponse(status: 200, fieldBytes: 0, body: $0)) { _ in } }
            : http.respond(to: request, Response(status: 200, body: body))
        guard isThere else { return false }
        var action = http.next(request.index)
        while let index = deal(with: action) { action = http.next(index) }
        return true
    }

    private func refuse(_ index: UInt32, _ problem: Problem) {
        var response = problem.response
        response.closes = true
        let (request, headIsComplete) = http.refused(index)
        response.fields.append((name: "X-Request-Id", value: request.first(.xRequestID) ?? "none"))
        response.fields.append((name: "X-Path", value: headIsComplete ? request.path : "none"))
        http.respond(index, response)
    }

    private func take(_ index: UInt32) {
        let result = http.detach(index)
        var bytes: [UInt8] = []
        if result.leftover != .none {
            bytes = Array(UnsafeRawBufferPointer(start: shard.bytes(result.leftover) + result.start, count: result.count))
            shard.release(result.leftover)
        }
        taken.append((result.slot, bytes, result.count))
        shard.close(result.slot)
    }

    // MARK: - Driving

    /// Turns until the condition holds; false after 3,000 turns.
    @discardableResult
    func turn(until condition: () -> Bool) -> Bool {
        for _ in 0..<3000 {
            if condition() { return true }
            turn()
        }
        return condition()
    }

    func turns(_ count: Int) { for _ in 0..<count { turn() } }

    /// Lets so much time pass.
    func wait(milliseconds: UInt64) {
        let end = shard.now + milliseconds
        kernel.plan(afterNanoseconds: milliseconds * 1_000_000) {}
        turn(until: { shard.now >= end })
        turn()
    }

    /// A client whose connection is accepted.
    func client(sourceLocation: SourceLocation = #_sourceLocation) throws -> SimulatedSocket {
        let before = openedCount
        let socket = try #require(
            kernel.connectClient(to: listener, port: 2000, backlogMaximum: 64, peer: StillPeer()), sourceLocation: sourceLocation)
        clients.append(socket)
        turn(until: { openedCount > before })
        return socket
    }

    /// Writes, and turns until all of it was received.
    func write(_ socket: SimulatedSocket, _ bytes: [UInt8]) {
        let wanted = receivedBytes + bytes.count
        let written = bytes.withUnsafeBytes { $0.isEmpty ? 0 : kernel.remoteWrite(socket, $0.baseAddress!, bytes.count) }
        #expect(written == bytes.count)
        for _ in 0..<200 where receivedBytes < wanted { turn() }
        turns(2)
    }

    func write(_ socket: SimulatedSocket, _ text: String) { write(socket, Array(text.utf8)) }

    /// All that the client can read now.
    func read(_ socket: SimulatedSocket) -> [UInt8] {
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65536)
        while case .bytes(let count) = part.withUnsafeMutableBytes({ kernel.remoteRead(socket, $0.baseAddress!, 65536) }) {
            all += part[..<count]
        }
        return all
    }

    /// Whether the server has ended its side and everything was read.
    func isEnded(_ socket: SimulatedSocket) -> Bool {
        var byte: UInt8 = 0
        let state = kernel.remoteRead(socket, &byte, 1)
        return state == .end || state == .lost
    }

    /// Ends everything and checks that nothing is left.
    func finish(sourceLocation: SourceLocation = #_sourceLocation) {
        for socket in clients where !socket.isReleased {
            _ = read(socket)
            kernel.remoteClose(socket)
        }
        shard.closeListeners()
        turn(until: { shard.slotsUsed == 0 && shard.listenersClosed && kernel.isSettled })
        #expect(http.connectionCount == 0, sourceLocation: sourceLocation)
        #expect(http.state.pointee.inputBytes == 0, sourceLocation: sourceLocation)
        #expect(shard.slotsUsed == 0, sourceLocation: sourceLocation)
        #expect(shard.buffersHeld == 0, sourceLocation: sourceLocation)
        #expect(kernel.openDescriptors == 0, sourceLocation: sourceLocation)
        #expect(kernel.violations == [], sourceLocation: sourceLocation)
        http.destroy()
        shard.destroy()
        kernel.tearDown()
    }
}

/// An answer as a client reads it.
struct Answer: Equatable {
    var status: Int
    var fields: [String]
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
    func has(_ field: String) -> Bool { fields.contains(field) }

    /// Takes a stream of answers apart; `heads` says which of them, by number, have no body although they have a length.
    static func parse(_ bytes: [UInt8], heads: Set<Int> = []) -> [Answer] {
        var answers: [Answer] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let end = rest.indices.first(where: { rest[$0...].starts(with: [13, 10, 13, 10]) }) else {
                Issue.record("an answer without end of head: \(String(decoding: rest.prefix(200), as: UTF8.self))")
                return answers
            }
            let lines = String(decoding: rest[..<end], as: UTF8.self).split(separator: "\r\n").map(String.init)
            rest = rest[(end + 4)...]
            let status = Int(lines[0].split(separator: " ")[1]) ?? 0
            let length = lines.first { $0.hasPrefix("Content-Length: ") }.flatMap { Int($0.dropFirst(16)) } ?? 0
            let count = heads.contains(answers.count) ? 0 : min(length, rest.count)
            answers.append(Answer(status: status, fields: Array(lines.dropFirst()), body: Array(rest.prefix(count))))
            rest = rest.dropFirst(count)
        }
        return answers
    }
}
