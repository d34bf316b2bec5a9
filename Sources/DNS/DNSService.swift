import Engine
import Glibc
import HTTP
import Policy
import Wire

/// DNS over HTTPS on a shard.
///
/// Theory of operation
///
/// ```
///  request ─► checks ─► cache ── hit ──────────────────────────► answer at once
///                         └ miss ─► exchange under way? ─ join ─┐
///                                   └ a new one ─► upstreams ───┴► waiters are answered, one by one
/// ```
/// - The layer above judges Origin, limits and session, gives the request to `answer`, and either writes what comes back or
///   puts the request off and keeps the ticket. When `hasFinished`, `nextFinished` hands out the answers of tickets.
/// - A question goes to the upstreams in their order, each for the configured time; the first answer to it wins. A UDP
///   attempt has a socket of its own (random port) and a random identifier; a DoH attempt has a connection to itself.
/// - Queries with equal bytes behind their identifier share an exchange.
/// - Nothing waits without a bound: exchanges, waiters, connections and times are in `DNSLimits`.
/// - Bytes that an answer is made of stand in scratch memory of the service: they are valid until its next call.
public final class DNSService {
    let shard: Shard
    let owner: Owner
    let tick: UInt32
    var shared: DNSShared
    /// What this shard counts.
    public let metrics = DNSMetrics()
    let exchanges: UnsafeMutablePointer<Exchange>
    let waiters: UnsafeMutablePointer<Waiter>
    let connections: UnsafeMutablePointer<DoHConnection>
    let chains: UnsafeMutablePointer<UInt32>
    let responseHead: UnsafeMutablePointer<ResponseHead>
    /// Every upstream this shard has known, by its number in the directory.
    var upstreams: [Upstream] = []
    /// Orders of upstreams, the present one last; exchanges keep the one they began with.
    var plans: [[Int]] = []
    var exchangesTouched = 0
    var freeExchange = UInt32.max
    var waitersTouched = 0
    var freeWaiter = UInt32.max
    var waiterCount = 0
    var connectionsTouched = 0
    var freeConnection = UInt32.max
    var finished = IndexQueue()
    var naming = IndexQueue()
    var exchangeCount = 0
    var tickIsSet = false
    var isDraining = false
    var authorities: (path: String, digest: String, context: TLSClientContext)?
    var random = SystemRandomNumberGenerator()

    /// Decoded queries, then answers; large enough for both.
    let scratch: UnsafeMutableRawBufferPointer
    /// Key of the present query: canonical name, type, class, traits.
    let key: UnsafeMutableRawBufferPointer
    /// The present document or problem.
    var document = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// The service of one shard. Its streams carry `owner`, and it has the shard timer `tick`.
    public init(shard: Shard, owner: Owner, tick: UInt32, shared: DNSShared) {
        self.shard = shard
        self.owner = owner
        self.tick = tick
        self.shared = shared
        exchanges = .allocate(capacity: DNSLimits.exchanges)
        waiters = .allocate(capacity: DNSLimits.waiters)
        connections = .allocate(capacity: DNSLimits.connections)
        chains = .allocate(capacity: DNSLimits.exchangeChains)
        chains.initialize(repeating: .max, count: DNSLimits.exchangeChains)
        responseHead = .allocate(capacity: 1)
        responseHead.initialize(
            to: ResponseHead(limits: HTTPLimits(headBytes: DNSLimits.responseHeadBytes)))
        scratch = .allocate(byteCount: DNSHeader.maximumMessageBytes + DNSErrorAnswer.maximumBytes, alignment: 16)
        key = .allocate(byteCount: DNSName.maximumBytes + DNSKey.tailBytes, alignment: 16)
        apply(shared)
    }

    /// Takes a new configuration for requests from now on; what is under way ends as it began.
    public func apply(_ shared: DNSShared) {
        self.shared = shared
        let known = shared.directory.upstreams
        for upstream in known[upstreams.count...] { upstreams.append(Upstream(upstream)) }
        metrics.know(upstreams: known.count)
        if plans.last != shared.plan { plans.append(shared.plan) }
    }

    deinit {
        for index in 0..<waitersTouched { waiters[index].place?.release() }
        for index in 0..<exchangesTouched {
            exchanges[index].block?.deallocate()
            exchanges[index].dropInput()
        }
        exchanges.deallocate()
        waiters.deallocate()
        connections.deallocate()
        chains.deallocate()
        responseHead.deinitialize(count: 1)
        responseHead.deallocate()
        scratch.deallocate()
        key.deallocate()
        document.deallocate()
    }

    /// Largest answer that is passed on.
    var responseBytesMaximum: Int { min(shared.settings.maxResponseBytes, DNSHeader.maximumMessageBytes) }
    /// Largest query that is taken.
    var queryBytesMaximum: Int { min(shared.settings.maxQueryBytes, DNSHeader.maximumMessageBytes) }
}

/// An answer to write; its bytes are valid until the service is called again.
public struct DNSAnswer {
    /// HTTP status.
    public let status: Int
    /// `Content-Type`. Every answer is `Cache-Control: no-store`.
    public let contentType: StaticString
    /// The body.
    public let body: UnsafeRawBufferPointer
    /// What was asked and answered, for the log; nil when it never came to a question.
    public var record: DNSRecordOfAnswer?

    static let message: StaticString = "application/dns-message"
    static let document: StaticString = "application/dns-json; charset=utf-8"
    static let problem: StaticString = "application/json; charset=utf-8"
}

/// What the log says of an answer.
public struct DNSRecordOfAnswer {
    /// The type asked for.
    public let type: UInt16
    /// The answer's code.
    public let code: UInt16
    /// Whether it came from the cache.
    public let isCacheHit: Bool
    let name: UnsafeRawBufferPointer

    /// The name asked for, as text.
    public var nameText: String { DNSName.text(Span(_unsafeElements: name.octets), 0) ?? "" }
    /// The label of the type.
    public var typeLabel: String { DNSLabel.types[DNSLabel.index(type: type)] }
    /// The label of the code.
    public var codeLabel: String { DNSLabel.codes[DNSLabel.index(code: code)] }
}

/// What becomes of a request.
public enum DNSOutcome {
    /// Write this.
    case answer(DNSAnswer)
    /// Put the request off: its answer comes under this ticket.
    case waiting(UInt32)
}

/// Layout of a cache key behind the name.
enum DNSKey {
    static let tailBytes = 5

    /// Appends type, class and traits to the name already in `key`; the whole key.
    @inline(__always)
    static func complete(_ key: UnsafeMutableRawBufferPointer, nameBytes: Int, _ question: DNSQuery, _ traits: DNSQuery.Traits)
        -> UnsafeRawBufferPointer
    {
        let tail = key.baseAddress! + nameBytes
        tail.storeBytes(of: question.type, as: UInt16.self)
        tail.storeBytes(of: question.recordClass, toByteOffset: 2, as: UInt16.self)
        tail.storeBytes(of: traits.rawValue, toByteOffset: 4, as: UInt8.self)
        return UnsafeRawBufferPointer(rebasing: key[..<(nameBytes + tailBytes)])
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes as such.
    @inline(__always)
    var octets: UnsafeBufferPointer<UInt8> { assumingMemoryBound(to: UInt8.self) }
}
