// Theory of operation
//
//      client ── packets ──► head judged ─┬─ goes on, and its body behind it ───────────────────► broker
//                                         └─ refused: body dropped, answer of ours ─┐
//      client ◄── answers, between two packets of the broker ◄──────────────────────┘
//             ◄── CONNACK read, SUBACK repaired, the rest as it is ◄───────────────────────────── broker
//
// One session behind its CONNECT, without a socket: pieces of both streams go in as they come, cut anywhere; what goes on stays in
// the piece (`MQTTRun`), refused packets are taken out of it. A head that was cut between two pieces goes on with the piece that
// completes it: in front of it where there is room, else the caller sends it first (`MQTTStop.insert`).
//
// Refusals (specification, section 18.5):
//
//      PUBLISH QoS 0            dropped              QoS 1   PUBACK              QoS 2   PUBREC; PUBREL of such an id is answered here
//      SUBSCRIBE, some filters  the rest goes on, and its SUBACK gets the codes of those back at their places
//      SUBSCRIBE, all           SUBACK                   `deny: disconnect`     the session ends instead
//
// Answers stand only behind CONNACK and between two packets of the broker: until then they wait in `answers`, which never holds more
// than what the client sent. A caller that reads on without giving them away lets it grow; it should stop at a bound of its own.
//
// Bounds: a kept head (`MQTTLimits`), 8 KiB for refused packet ids, one byte for each topic alias the broker admits, 8 bytes
// for each subscription, 32 unanswered SUBSCRIBEs, half a kilobyte of topics that are known where no index finds their rules, 16 that
// were told. All exist from first use on.

import Wire

/// What a route demands of a session behind its CONNECT.
public struct MQTTInspection: Sendable {
    /// The version of its CONNECT.
    public var version: MQTTVersion
    /// What its client may do.
    public var rights: TopicRights
    /// What becomes of it when it does something else.
    public var denial: TopicSettings.Denial
    /// Longest packet of the client.
    public var maximumPacketBytes: Int
    /// Most subscriptions of the session.
    public var maximumSubscriptions: Int

    /// What is demanded.
    public init(
        version: MQTTVersion, rights: TopicRights, denial: TopicSettings.Denial = .drop,
        maximumPacketBytes: Int = MQTTLimits.defaultPacketBytes, maximumSubscriptions: Int = ProxyLimits().subscriptions
    ) {
        self.version = version
        self.rights = rights
        self.denial = denial
        self.maximumPacketBytes = maximumPacketBytes
        self.maximumSubscriptions = maximumSubscriptions
    }
}

/// What somebody was not allowed to do.
public enum MQTTAction: UInt8, Sendable, Hashable, CaseIterable {
    case publish, subscribe, will

    /// As metrics and logs tell it.
    public var label: StaticString {
        switch self {
        case .publish: "publish"
        case .subscribe: "subscribe"
        case .will: "will"
        }
    }
}

/// A refusal that is worth a line of the log: the first of a session for its topic or filter.
public struct MQTTDenial: Sendable, Equatable {
    public let action: MQTTAction
    /// Topic or filter, cut to `maximumTopicBytes`.
    public let topic: String
    /// Longest text.
    public static let maximumTopicBytes = 256

    /// A refusal.
    public init(action: MQTTAction, topic: String) {
        self.action = action
        self.topic = topic
    }
}

/// Why walking over a piece stopped.
@safe public enum MQTTStop {
    /// At its end.
    case end
    /// These bytes are to be sent first, in front of everything that goes on from now on. Nothing of the piece went on so far. Valid
    /// until the next call.
    case insert(UnsafeRawBufferPointer)
    /// Between two packets of the broker, where what waits in `answers` is longer than the room in the piece: what went on so far is to
    /// be sent, then the answers.
    case answers
    /// Between two packets, as was asked.
    case boundary
    /// The sender broke the protocol. What went on so far is to be sent.
    case fault(MQTTFault)
    /// The client did what it may not, and that ends its session.
    case denied
}

/// One inspected session. A value, to be kept in one place; `release()` when done.
@safe public struct MQTTInspector {
    var clientScanner: MQTTScanner
    var brokerScanner: MQTTScanner
    let version: MQTTVersion
    let table: TopicTable
    /// Keeps the table's memory.
    let rights: TopicRights
    let disconnectsOnDenial: Bool
    let maximumSubscriptions: Int
    /// The packet under way goes on.
    var clientPasses = true
    var brokerPasses = true
    var hasConnack = false
    var isRefused = false
    /// Some SUBACK is to be looked at.
    var awaitsSuback = false
    var aliases = TopicAliases()
    var seen = SeenTopics()
    var repairs = MQTTSubscribeRepairs()
    var subscriptions = SubscriptionCount()
    /// One bit for each packet id whose PUBREL is to be answered here; nil before the first.
    var releases: UnsafeMutablePointer<UInt64>?
    /// Digests of the topics that were told.
    var told: [Int] = []
    /// Packets of ours for the client that wait.
    public internal(set) var answers: [UInt8] = []
    /// Whether any do.
    public internal(set) var hasAnswers = false
    /// Refusals since `clear`: by the action, and those to be told.
    public internal(set) var deniedPublishes: UInt64 = 0
    public internal(set) var deniedSubscriptions: UInt64 = 0
    public internal(set) var denials: [MQTTDenial] = []
    /// Whether there are any.
    public internal(set) var hasDenials = false
    /// Packets by type.
    public private(set) var tally = MQTTTally()

    /// Most topics that are told of one session: what a client may not do is known after a few.
    static let toldMaximum = 16
    /// Words of `releases`: one bit for each packet id.
    static let releaseWords = 65_536 / 64

    /// An inspector behind the CONNECT.
    public init(_ inspection: MQTTInspection) {
        version = inspection.version
        rights = inspection.rights
        table = inspection.rights.table
        disconnectsOnDenial = inspection.denial == .disconnect
        maximumSubscriptions = inspection.maximumSubscriptions
        clientScanner = MQTTScanner(.fromClient, version, maximumPacketBytes: inspection.maximumPacketBytes)
        // What a broker sends was admitted when it was published.
        brokerScanner = MQTTScanner(
            .fromServer, version, maximumPacketBytes: MQTTLimits.fixedHeaderBytes + MQTTLimits.maximumRemainingBytes)
        unsafe releases = nil
    }

    /// Gives back what was kept.
    public mutating func release() {
        clientScanner.release()
        brokerScanner.release()
        aliases.release()
        seen.release()
        if let words = unsafe releases { unsafe words.deallocate() }
        unsafe releases = nil
    }

    /// Whether a packet of ours may stand towards the client now, behind all that it was sent.
    @inline(__always)
    public var mayAnswer: Bool { hasConnack && !isRefused && isBetweenPackets }

    /// Whether what the client was sent ends between two packets: a head that is cut was not sent.
    @inline(__always)
    public var isBetweenPackets: Bool { brokerScanner.bodyBytesMissing == 0 }

    /// Whether a client of this version is told by a packet that its session ends. Only behind CONNACK.
    public var saysDisconnect: Bool { version == .v5 && hasConnack && !isRefused }

    /// The DISCONNECT of a session that `saysDisconnect`.
    public static func disconnect(_ reason: MQTTDisconnectReason) -> [UInt8] {
        written { MQTTReply.disconnect(reason, to: &$0) }
    }

    /// The answers were sent.
    public mutating func clearAnswers() {
        answers.removeAll(keepingCapacity: answers.capacity <= Self.answersKept)
        hasAnswers = false
    }

    /// Memory for answers that stays.
    static let answersKept = 1024

    /// Refusals were counted and told.
    public mutating func clearDenials() {
        denials.removeAll()
        deniedPublishes = 0
        deniedSubscriptions = 0
        hasDenials = false
    }

    /// Packets of a type since they were last taken.
    @inline(__always)
    public mutating func takePackets(_ type: MQTTType) -> UInt64 { tally.take(type) }

    /// Walks over a piece of the client's stream.
    public mutating func client(
        _ base: UnsafeMutableRawPointer, _ cursor: inout Int, _ end: Int, _ run: inout MQTTRun
    ) -> MQTTStop {
        while true {
            // Nearly all packets.
            if let publish = unsafe clientScanner.wholePublish(base, cursor, end), unsafe mayPass(publish, base + cursor) {
                tally.count(.publish)
                unsafe run.pass(base, cursor, publish.packetBytes)
                cursor &+= publish.packetBytes
                continue
            }
            switch unsafe clientScanner.next(base, &cursor, end) {
            case .needMore: return .end
            case .failed(let fault): return .fault(fault)
            case .body(let start, let count, _): if clientPasses { unsafe run.pass(base, start, count) }
            case .packet(let head):
                tally.count(head.type)
                switch judge(head) {
                case .passes:
                    clientPasses = true
                    if let start = head.start {
                        unsafe run.pass(base, start, head.count)
                    } else if unsafe !run.insert(base, UnsafeRawBufferPointer(head.bytes), before: cursor) {
                        return unsafe .insert(UnsafeRawBufferPointer(head.bytes))
                    }
                case .replaced(let count):
                    // It only became shorter, and lies where it lay.
                    let bytes = unsafe UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(head.bytes)[..<count])
                    if let start = head.start {
                        unsafe run.pass(base, start, count)
                    } else if unsafe !run.insert(base, bytes, before: cursor) {
                        return unsafe .insert(bytes)
                    }
                case .dropped: clientPasses = false
                case .fault(let fault): return .fault(fault)
                case .ends: return .denied
                }
            }
        }
    }

    /// Whether a PUBLISH goes on; one that does not is looked at once more, with what it takes to refuse it.
    @inline(__always)
    private mutating func mayPass(_ publish: MQTTWholePublish, _ packet: UnsafeMutableRawPointer) -> Bool {
        let text = unsafe (packet + publish.topic).assumingMemoryBound(to: UInt8.self)
        let topic = unsafe UnsafeBufferPointer(start: text, count: publish.topicBytes)
        let rights = unsafe seen.rights(topic) ?? newRights(topic)
        return rights?.contains(qos: publish.qos, isRetained: publish.isRetained) ?? false
    }

    /// The rights for a topic that is not known from before; nil when it is none.
    @inline(__always)
    private mutating func newRights(_ topic: UnsafeBufferPointer<UInt8>) -> TopicPublishRights? {
        guard let rights = unsafe table.publishRights(topic.span) else { return nil }
        // What an index tells is not worth remembering.
        if !table.isIndexed { unsafe seen.keep(topic, rights) }
        return rights
    }

    /// What becomes of a packet of the client.
    enum Judgement {
        case passes
        case dropped
        /// Its head was overwritten by a shorter packet of so many bytes.
        case replaced(Int)
        case fault(MQTTFault)
        case ends
    }

    @inline(__always)
    private mutating func judge(_ head: MQTTHead) -> Judgement {
        guard head.type == .publish, head.topicAlias == 0, head.qos < 2 else { return judgeRare(head) }
        return judgeTopic(head)
    }

    @inline(__always)
    mutating func judgeTopic(_ head: MQTTHead) -> Judgement {
        if let rights = unsafe seen.rights(head.topicBytes) {
            return rights.contains(qos: head.qos, isRetained: head.isRetained) ? .passes : refuse(head, .denied)
        }
        return judgeNew(head)
    }

    /// A PUBLISH to a topic that is not known from before.
    @inline(never)
    private mutating func judgeNew(_ head: MQTTHead) -> Judgement {
        guard let rights = unsafe newRights(head.topicBytes) else { return refuse(head, .malformed) }
        return rights.contains(qos: head.qos, isRetained: head.isRetained) ? .passes : refuse(head, .denied)
    }

    /// Walks over a piece of the broker's stream. With `stopsAtBoundary` it stops behind the first packet that ends.
    public mutating func broker(
        _ base: UnsafeMutableRawPointer, _ cursor: inout Int, _ end: Int, _ run: inout MQTTRun, stopsAtBoundary: Bool
    ) -> MQTTStop {
        if hasAnswers, mayAnswer, brokerScanner.isAtBoundary, unsafe !answer(base, cursor, &run) { return .answers }
        while true {
            switch unsafe brokerScanner.next(base, &cursor, end) {
            case .needMore: return .end
            case .failed(let fault): return .fault(fault)
            case .body(let start, let count, _): if brokerPasses { unsafe run.pass(base, start, count) }
            case .packet(let head):
                tally.count(head.type)
                brokerPasses = true
                if !hasConnack || awaitsSuback || head.type == .connack {
                    switch read(head) {
                    case .passes: break
                    case .fault(let fault): return .fault(fault)
                    default: brokerPasses = false
                    }
                }
                if brokerPasses {
                    if let start = head.start {
                        unsafe run.pass(base, start, head.count)
                    } else if unsafe !run.insert(base, UnsafeRawBufferPointer(head.bytes), before: cursor) {
                        return unsafe .insert(UnsafeRawBufferPointer(head.bytes))
                    }
                }
            }
            if hasAnswers, mayAnswer, brokerScanner.isAtBoundary, unsafe !answer(base, cursor, &run) { return .answers }
            if stopsAtBoundary, brokerScanner.isAtBoundary { return .boundary }
        }
    }

    /// The client's stream stands between two packets of the broker: what waits goes on there. False when it does not fit.
    @inline(never)
    private mutating func answer(_ base: UnsafeMutableRawPointer, _ cursor: Int, _ run: inout MQTTRun) -> Bool {
        let fits = unsafe answers.withUnsafeBytes { unsafe run.insert(base, $0, before: cursor) }
        if fits { clearAnswers() }
        return fits
    }
}

/// Packets of both directions by type, since they were last taken.
public struct MQTTTally: Sendable {
    private var counts = SIMD16<UInt32>(repeating: 0)

    @inline(__always)
    mutating func count(_ type: MQTTType) { counts[Int(type.rawValue)] &+= 1 }

    @inline(__always)
    mutating func take(_ type: MQTTType) -> UInt64 {
        defer { counts[Int(type.rawValue)] = 0 }
        return UInt64(counts[Int(type.rawValue)])
    }

    /// Whether there are none.
    @inline(__always)
    public var isEmpty: Bool { counts == SIMD16(repeating: 0) }
}
