import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// The JWT proxy on one shard: from an upgrade to a session, and what is told of it.
///
/// Theory of operation
///
/// ```
///   upgrade ─► request checks ─► Origin ─► rates ─► credential ─┬─► places ─► dial ─► 101 ─► open
///                                                   │ key unknown, or too many checks: parked, judged again
///                                                   └─► none yet: 101 ─► first data ─► credential ─► places ─► dial ─► open
/// ```
/// - Everything here happens when a session is set up or ends; `WebSocketProxy` carries what lies between.
/// - A client that waits for a key is parked with its stream, at most `TokenLimits.waitForKeyMilliseconds`; so is one whose first data is
///   judged. When keys have changed, or time has passed, it is judged again.
/// - A visitor is found again by its record: every report of the proxy carries it.
final class ShardProxy {
    /// How long clients wait for a check of their signature when the shard has no time for it.
    private static let busyMilliseconds: UInt64 = 1000
    /// Why a client is refused when the process has all the sessions it may have.
    private static let noPlaceReason = "session_limit"
    /// Between two looks at those that wait.
    static let tickMilliseconds: UInt64 = 50

    let shard: Shard
    let sessions: WebSocketProxy
    let parkedOwner: Owner
    let common: ProxyCommon
    /// nil: not configured.
    private(set) var plan: ProxyPlan?
    /// Where sessions of the plan are counted.
    private(set) var samples: ShardSamples
    var gate: TokenGate?
    var visitors: [ObjectIdentifier: ProxyVisitor] = [:]
    /// Clients that wait, by the context of their stream or a number of their own.
    var parked: [UInt32: ProxyParked] = [:]
    var nextParked: UInt32 = 0
    private var keyEpoch: UInt64 = 0
    /// The last denial this shard has taken, and sessions that the latest ones ended.
    var deniedNumber: UInt64 = 0
    var closings: [(number: UInt64, closed: Int)] = []
    var isDraining = false
    /// A drain is coming: clients are still let in, and load balancers told.
    var isLeaving = false
    /// While draining: when what is left is cut.
    var abortsMilliseconds = UInt64.max
    private let shards: Int
    /// Asks the shard that fetches keys to look what is due.
    var wakeKeeper: () -> Void = {}
    /// Has a shard look at what it is to do.
    var wakeShard: (Int) -> Void = { _ in }
    /// Called with what the log should know.
    var tell: (ProxyReport, ProxyVisitor?) -> Void = { _, _ in }

    init(shard: Shard, owners: WebSocketProxy.Owners, parked: Owner, capacity: Int, common: ProxyCommon, shards: Int) {
        self.shard = shard
        self.common = common
        samples = ShardSamples(common.metrics)
        self.shards = shards
        parkedOwner = parked
        sessions = WebSocketProxy(shard: shard, owners: owners, capacity: capacity, shared: common.sessions)
        sessions.onReport { [unowned self] in report($0) }
        sessions.onFirstData { [unowned self] in judgeFirst($0) }
    }

    /// The monotonic clock at the beginning of this turn, as `MonotonicClock` tells it to those who have no shard.
    var clockMilliseconds: Int64 { Int64(shard.nowNanoseconds / 1_000_000) }

    /// Takes another configuration for clients from now on.
    func apply(_ next: ProxyPlan?) {
        let former = plan
        plan = next
        // Routes and endpoints have other numbers.
        samples = ShardSamples(common.metrics)
        guard let next else {
            gate = nil
            deniedNumber = 0
            return
        }
        let providers = next.policy.providers.map(\.provider)
        if gate == nil {
            gate = TokenGate(
                providers: providers, shards: shards, monotonicMilliseconds: Int64(shard.now),
                verificationsPerSecond: next.policy.draft.limits.verificationsPerSecond)
        } else if former?.generation != next.generation {
            gate?.replace(verificationsPerSecond: next.policy.draft.limits.verificationsPerSecond)
            if gate?.providers != providers { gate?.replace(providers: providers) }
        }
        takeDenials()
        keyEpoch = 0
        takeKeys()
        if let former, next.policy.draft.onRouteRemoved == "close" { closeRemoved(former, next) }
    }

    /// Ends the sessions of routes that are gone.
    private func closeRemoved(_ former: ProxyPlan, _ next: ProxyPlan) {
        let names = Set(next.policy.routes.routes.map(\.name))
        guard former.policy.routes.routes.contains(where: { !names.contains($0.name) }) else { return }
        // A session is told apart by its stream; its visitor knows the route.
        for visitor in visitors.values where visitor.isOpen && !names.contains(visitor.routeName) {
            end(visitor, .closedByAdministrator, next.policy.close(.draining))
        }
    }

    /// Ends one session.
    func end(_ visitor: ProxyVisitor, _ cause: ProxyCause, _ ending: ProxyClose) {
        if let ticket = visitor.ticket { _ = sessions.close(ticket, cause, ending) }
    }

    /// Takes key sets that are new, and judges again those that wait. Called when woken, and as time passes.
    func takeKeys() {
        let epoch = common.keys.epoch
        guard epoch != keyEpoch else { return }
        keyEpoch = epoch
        takeKeySets()
        for number in parked.keys.sorted() { judgeAgain(number) }
    }

    /// Takes the key sets in force; whoever waits is judged again later (`takeKeys`).
    func takeKeySets() {
        for (index, keySet) in common.keys.keySets.enumerated() { gate?.replace(keySet: keySet, provider: index) }
    }

    /// The shard's timer fired.
    func timePassed() {
        takeKeys()
        takeEvicted()
        guard !parked.isEmpty else { return }
        for (number, waiting) in parked.sorted(by: { $0.key < $1.key }) {
            if shard.now >= waiting.endsMilliseconds {
                giveUp(number)
            } else if shard.now >= waiting.againMilliseconds {
                judgeAgain(number)
            }
        }
    }

    /// Who a session belongs to, for those who close it.
    static func identity(_ token: VerifiedToken?) -> ProxyIdentity {
        var identity = ProxyIdentity()
        guard let token else { return identity }
        identity.issuer = token.issuer
        identity.subject = token.subject
        identity.tokenID = token.tokenID ?? ""
        identity.sessionID = token.sessionID ?? ""
        identity.keyID = token.keyID ?? ""
        identity.issuedAt = Int64(clamping: token.issuedSeconds.map { Int64($0) } ?? 0)
        return identity
    }

    // MARK: Reports

    private func report(_ report: ProxyReport) {
        let record: ConnectionRecord
        switch report {
        case .refused(let own, _, _), .opened(let own), .dialled(let own, _), .denied(let own, _), .ended(let own, _): record = own
        }
        let visitor = visitors[ObjectIdentifier(record)]
        if let visitor { count(report, visitor) }
        tell(report, visitor)
        switch report {
        case .refused, .ended: forget(record)
        default: break
        }
    }

    private func count(_ report: ProxyReport, _ visitor: ProxyVisitor) {
        let metrics = common.metrics
        let samples = visitor.samples ?? self.samples
        switch report {
        case .refused(_, let status, let reason):
            if reason == Self.noPlaceReason { metrics.add(.limits, "limit=\"sessions\"") }
            metrics.add(.handshakes, "route=\"\(visitor.label)\",code=\"\(status)\"")
            metrics.add(.errors, "protocol=\"\(visitor.spokenLabel)\"")
        case .opened:
            visitor.isOpen = true
            samples.add(.connections)
            samples.add(.handshakes, ShardSamples.Place(subject: visitor.route), "route=\"\(visitor.label)\",code=\"101\"")
            if visitor.spoken != .auto {
                samples.add(.protocols, ShardSamples.Place(first: visitor.spokenNumber), "protocol=\"\(visitor.spokenLabel)\"")
            }
        case .dialled(_, let dial): count(dial, visitor)
        case .denied: break
        case .ended(_, let summary): count(summary, visitor)
        }
    }

    private func count(_ dial: ProxyDial, _ visitor: ProxyVisitor) {
        let metrics = common.metrics
        let samples = visitor.samples ?? self.samples
        let number = Int(dial.endpoint)
        let label = visitor.plan.endpoints[number].label
        let state = visitor.plan.endpoints[number].state
        if let failure = dial.failure {
            metrics.add(.dials, label + ",result=\"\(failure.label)\"")
        } else {
            samples.add(.dials, ShardSamples.Place(subject: number), label + ",result=\"ok\"")
        }
        samples.observe(.dial, ShardSamples.Place(subject: number), label, seconds: Double(dial.milliseconds) / 1000)
        let place = visitor.passes.firstIndex { $0.number == dial.endpoint }
        let pass = place.map { visitor.passes.remove(at: $0).pass } ?? .regular
        let failed: Bool? = dial.failure.map { $0.isEndpointFault ? true : nil } ?? false
        let opened = state.dialled(
            pass, failed: failed, visitor.plan.breakerSettings, nowMilliseconds: clockMilliseconds)
        if opened { metrics.add(.circuits, "protocol=\"\(visitor.spokenLabel)\"") }
        if dial.failure != nil { metrics.add(.retries, "protocol=\"\(visitor.spokenLabel)\"") }
        if dial.failure == nil {
            visitor.endpoint = state
            state.count(1)
            endHandshake(visitor)
        }
    }

    private func count(_ summary: ProxySummary, _ visitor: ProxyVisitor) {
        let metrics = common.metrics
        let samples = visitor.samples ?? self.samples
        let seconds = Double(summary.milliseconds) / 1000
        samples.observe(.connection, seconds: seconds)
        samples.observe(
            .session, ShardSamples.Place(subject: visitor.route, first: visitor.spokenNumber),
            "route=\"\(visitor.label)\",protocol=\"\(visitor.spokenLabel)\"", seconds: seconds)
        samples.add(
            .closes,
            ShardSamples.Place(
                subject: visitor.route, first: ProxyMetrics.labelledCode(summary.closeCode), second: Int(summary.closeFrom.rawValue)),
            "route=\"\(visitor.label)\",from=\"\(summary.closeFrom.label)\",code=\"\(ProxyMetrics.code(summary.closeCode))\"")
        switch summary.cause {
        case .expired: metrics.add(.expired)
        case .revoked: metrics.add(.revocations)
        case .rate:
            let scope = visitor.plan.scope(visitor.route)
            metrics.add(.rates, "scope=\"\(scope)\"")
        case .upstreamUnavailable: metrics.add(.errors, "protocol=\"\(visitor.spokenLabel)\"")
        default: break
        }
    }

    /// A visitor that is over gives back what it held.
    func forget(_ record: ConnectionRecord) {
        guard let visitor = visitors.removeValue(forKey: ObjectIdentifier(record)) else { return }
        endHandshake(visitor)
        if let key = visitor.connectionKey { common.places.disconnect(key) }
        givePlaceBack(visitor)
        visitor.endpoint?.count(-1)
        for (number, pass) in visitor.passes {
            _ = visitor.plan.endpoints[Int(number)].state.dialled(
                pass, failed: nil, visitor.plan.breakerSettings, nowMilliseconds: clockMilliseconds)
        }
    }
}

extension ProxyVisitor {
    /// What is spoken, as metrics tell it.
    var spokenLabel: String { spoken == .mqtt ? "mqtt" : "raw" }
    var spokenNumber: Int { spoken == .mqtt ? 1 : 0 }
}

extension ProxyPlan {
    /// Who shares one budget on a route: `subject`, `session` or `ip`.
    func scope(_ route: Int) -> String {
        let own = policy.details[route].draft.rate.scope
        return own.isEmpty ? policy.draft.rate.scope : own
    }
}
