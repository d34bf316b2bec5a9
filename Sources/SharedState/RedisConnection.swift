import Engine
import Glibc
import Policy

/// One connection to the store, on one shard's ring: requests in a pipeline, answers in order, each within its time.
///
/// Theory of operation
///
/// ```
///  open ─► look-up ─► connect ─► AUTH, SELECT ─► ready ─► requests ═► answers, in order
///                └───────┴────────────┴────────────┴─► lost(reason): closed, every request forgotten
/// ```
/// - hiredis makes the bytes of commands and reads replies; bytes travel in the engine's buffers.
/// - Commands of one turn leave together, with `flush`.
/// - Answers carry no name: the oldest request owns the next answer. So a request that is late ends the connection, and what it
///   may still do in the store is the caller's to undo.
/// - A script is called by its digest. A store that does not know it is sent the script itself.
final class RedisConnection<Purpose> {
    /// What the owner of the connection is told.
    enum Report {
        case ready
        case lost(String)
        case answered(Purpose, RedisReply, microseconds: UInt64)
        /// A request was not answered in time; `lost` follows.
        case late
        /// Published on a channel of the subscription.
        case heard(channel: String, payload: String)
    }

    private struct Request {
        enum Kind {
            case greeting
            case asked(Purpose)
        }
        let kind: Kind
        var script: RedisScript?
        var arguments: [String] = []
        let sentNanoseconds: UInt64
        let deadlineMilliseconds: UInt64
    }

    let location: RedisLocation
    private let tls: TLSClientContext?
    private let shard: Shard
    private let owner: Owner
    /// Tells the events of this connection from those of a former one.
    let context: UInt32
    private let report: (Report) -> Void
    private var reader = RedisReplyReader()
    private var slot = SlotIndex.none
    private var lookup: UInt32?
    private var candidates: [SocketAddress] = []
    private var requests: [Request] = []
    private var firstRequest = 0
    private var outgoing: [UInt8] = []
    private(set) var isReady = false
    /// Whether this is a subscription, on which messages come beside answers.
    var hearsMessages = false
    private var isOver = false
    private let greetingDeadline: UInt64

    /// `tls`: with a `rediss` location, whom to believe; the certificate must be for the location's host.
    init(_ location: RedisLocation, tls: TLSClientContext? = nil, shard: Shard, owner: Owner, context: UInt32,
         report: @escaping (Report) -> Void) {
        self.location = location
        self.tls = tls
        self.shard = shard
        self.owner = owner
        self.context = context
        self.report = report
        greetingDeadline = shard.now + StoreLimits.greetingMilliseconds
    }

    /// Requests whose answers are outstanding.
    var underWay: Int { requests.count - firstRequest }

    /// Begins. Every outcome comes through `report`, from `handle` or from here.
    func open() {
        if let address = SocketAddress(location.host, port: location.port) {
            candidates = [address]
            return dialNext("no address")
        }
        lookup = shard.lookUp(location.host, owner: owner, context: context)
        if lookup == nil { lose("too many look-ups under way") }
    }

    private func dialNext(_ reason: String) {
        while !candidates.isEmpty {
            var error: Int32 = 0
            let address = candidates.removeFirst()
            if location.isSecure {
                guard let tls else { return lose("there is no TLS") }
                slot = shard.connect(to: address, owner: owner, context: context, error: &error, tls: tls, serverName: location.host)
            } else {
                slot = shard.connect(to: address, owner: owner, context: context, error: &error)
            }
            if slot != .none { return }
        }
        lose(reason)
    }

    /// An event of the stream or of the look-up.
    func handle(_ event: Event) {
        if event.kind == .resolved {
            guard event.detail == lookup else {
                _ = shard.takeAddresses(event.detail)
                return
            }
            lookup = nil
            candidates = shard.takeAddresses(event.detail).map { address in
                var address = address
                address.port = location.port
                return address
            }
            return dialNext("the name of the host could not be looked up")
        }
        guard !isOver, event.context == context, event.slot == slot else {
            if event.kind == .received { shard.release(event.buffer) }
            return
        }
        switch event.kind {
        case .connected: greet()
        case .received: received(event)
        case .ended: lose("the store closed the connection")
        case .failed:
            let reason = event.result == EKEYREJECTED ? "its certificate is not accepted" : String(cString: strerror(event.result))
            if isReady || firstRequest < requests.count { return lose(reason) }
            shard.close(slot)
            slot = .none
            dialNext(reason)
        default: break
        }
    }

    private func greet() {
        shard.resumeReceive(slot)
        if !location.password.isEmpty {
            let credentials = location.user.isEmpty ? [location.password] : [location.user, location.password]
            append(.greeting, command: ["AUTH"] + credentials)
        }
        append(.greeting, command: ["SELECT", "\(location.database)"])
    }

    private func received(_ event: Event) {
        let isSound = reader.feed(UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count))
        shard.release(event.buffer)
        guard isSound else { return lose("an answer is too long") }
        while !isOver {
            switch reader.next() {
            case .incomplete: return
            case .broken: return lose("an answer is not in the protocol of the store")
            case .reply(let reply):
                if hearsMessages, let message = StoreAnswer.message(reply) {
                    report(.heard(channel: message.channel, payload: message.payload))
                    continue
                }
                guard firstRequest < requests.count else { return lose("an answer came unasked") }
                let request = requests[firstRequest]
                firstRequest += 1
                // A pipeline that is never empty must not keep what was answered.
                if firstRequest == requests.count || firstRequest >= StoreLimits.pipelineMaximum {
                    requests.removeFirst(firstRequest)
                    firstRequest = 0
                }
                answered(request, reply)
            }
        }
    }

    private func answered(_ request: Request, _ reply: RedisReply) {
        switch request.kind {
        case .greeting:
            // The words may name the user; the kind of error says enough.
            if case .error(let text) = reply { return lose("refused: \(text.prefix { $0 != " " })") }
            guard firstRequest == requests.count else { return }
            isReady = true
            report(.ready)
        case .asked(let purpose):
            if let script = request.script, case .error(let text) = reply, text.hasPrefix("NOSCRIPT") {
                return append(.asked(purpose), command: ["EVAL", script.text, "0"] + request.arguments)
            }
            report(.answered(purpose, reply, microseconds: (Self.nanoseconds - request.sentNanoseconds) / 1000))
        }
    }

    /// Calls a script.
    func call(_ script: RedisScript, _ arguments: [String], for purpose: Purpose) {
        append(.asked(purpose), command: ["EVALSHA", script.digest, "0"] + arguments, script: script, arguments: arguments)
    }

    /// Sends a command.
    func command(_ arguments: [String], for purpose: Purpose) { append(.asked(purpose), command: arguments) }

    private func append(_ kind: Request.Kind, command: [String], script: RedisScript? = nil, arguments: [String] = []) {
        guard !isOver else { return }
        requests.append(
            Request(kind: kind, script: script, arguments: arguments, sentNanoseconds: Self.nanoseconds,
                    deadlineMilliseconds: shard.now + StoreLimits.requestMilliseconds))
        outgoing += RedisCommand.bytes(command)
    }

    /// Sends the commands given since the last call: many share a buffer.
    func flush() {
        guard !isOver, !outgoing.isEmpty else { return }
        var start = 0
        while start < outgoing.count {
            guard let buffer = shard.acquire(.small) else { return lose("no buffer is free") }
            let count = min(outgoing.count - start, shard.capacity(buffer))
            outgoing.withUnsafeBytes { shard.bytes(buffer).copyMemory(from: $0.baseAddress! + start, byteCount: count) }
            shard.send(slot, buffer, start: 0, count: count)
            start += count
        }
        outgoing.removeAll(keepingCapacity: true)
    }

    /// Ends the connection when it is late with an answer or with getting ready.
    func passTime() {
        guard !isOver else { return }
        if !isReady {
            if shard.now >= greetingDeadline {
                report(.late)
                lose("no answer within \(StoreLimits.greetingMilliseconds) ms")
            }
        } else if firstRequest < requests.count, shard.now >= requests[firstRequest].deadlineMilliseconds {
            report(.late)
            lose("no answer within \(StoreLimits.requestMilliseconds) ms")
        }
    }

    /// Closes without a word to the owner; what is queued is still sent.
    func finish() {
        flush()
        guard !isOver else { return }
        isOver = true
        isReady = false
        if slot != .none { shard.linger(slot, drainMilliseconds: StoreLimits.requestMilliseconds) }
    }

    func lose(_ reason: String) {
        guard !isOver else { return }
        isOver = true
        isReady = false
        if slot != .none { shard.close(slot) }
        report(.lost(reason))
    }

    static var nanoseconds: UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}
