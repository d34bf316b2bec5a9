import DNS
import Demo
import Engine
import HTTP
import Policy
import SessionGateway
import SharedState
import TCPBridge
import TCPMux
import UDPRelay
import WebSocketProxy
import Wire

/// Who owns a stream: the closed set of features on a shard.
enum StreamOwner {
    static let http = Owner(1)
    static let bridgeClient = Owner(2)
    static let bridgeTarget = Owner(3)
    static let demoService = Owner(4)
    static let muxClient = Owner(5)
    static let muxTarget = Owner(6)
    static let resolver = Owner(7)
    static let sharedState = Owner(8)
    static let relayClient = Owner(9)
    static let relaySocket = Owner(10)
    static let relayHTTP = Owner(11)
    static let demoEcho = Owner(12)
    static let proxyClient = Owner(13)
    static let proxyUpstream = Owner(14)
    static let proxyDial = Owner(15)
    static let proxyParked = Owner(16)
    static let proxyKeys = Owner(17)
    static let proxyProbes = Owner(18)
}

/// What the control thread tells a shard.
enum ShardMessage: UInt32 {
    /// Readiness off, live work told and given its grace (`first`: milliseconds), then the loop ends.
    case drain = 1
    /// No shard has a connection left: close the listeners and end.
    case stop = 2
    /// A configuration comes into force (`object`: its `ServerSnapshot`).
    case apply = 3
    /// The log's level changes (`first`: its number).
    case logLevel = 4
    /// A shard asks (`object`: an `AdminExchange`).
    case question = 5
    /// What this shard asked was answered (`object`: the `AdminExchange`).
    case answered = 6
    /// The drain comes soon: load balancers are told, clients are still let in.
    case announce = 7
}

/// One shard's loop: the packet path from an event to the feature that owns its stream.
///
/// ```
/// turn() ─► next(event) ─┬─ bridge client / target ─► TCPBridge       (data path)
///                        ├─ http ─► HTTPServer ─► SessionGateway ─► respond, or detach ─► TCPBridge.open
///                        │                    └► DNSService ─► respond, now or later
///                        ├─ relay client / socket ─► UDPRelay        (data path)
///                        ├─ relay http ─► HTTPServer ─► RelayGateway ─► respond, or detach ─► UDPRelay.open
///                        ├─ demo service ─► HTTPServer ─► DemoService
///                        └─ inbox ─► drain
/// ```
final class ShardLoop {
    let shard: Shard
    let http: HTTPServer
    let demo: HTTPServer
    let bridge: TCPBridge
    let mux: TCPMux
    let relay: UDPRelay
    let relayHTTP: HTTPServer
    let relayGateway: RelayGateway
    let proxy: ShardProxy
    /// On the first shard: what fetches keys.
    private(set) var keeper: KeyKeeper?
    private(set) var prober: UpstreamProber?
    /// The demonstration's datagram echo, and the listener it stands beside.
    var echo: DatagramEcho
    var echoTag: UInt32?
    let gateway: SessionGateway
    let dns: DNSService
    /// Requests that wait for DNS, by ticket.
    var pendingQueries: [UInt32: PendingQuery] = [:]
    let limits: SharedLimits
    /// What is shared with other instances; the first shard talks to the store.
    private(set) var store: SharedStore?
    /// On the first shard: the other store, which a thread of its own asks.
    private(set) var postgres: PostgresStore?
    private var revocationEpoch: UInt64 = 0
    /// While draining: nobody needs the store any more.
    var isStoreLeaving = false
    private var listeners: [ListenerPlan] = []
    /// Closed listeners of which connections in the HTTP phase remain: they are served as they were.
    private var retired: [ListenerPlan] = []
    private let status: ShardStatus
    private(set) var admin: AdminShared
    private let ring: LogRing
    var log: LogWriter
    /// For traces that begin here.
    var numbers = DrawnNumbers(MaskSource())
    private(set) var draining = false
    private var stopping = false
    private var listenersClosing = false
    /// Generation of a configuration that is in force and not said to be; 0 for none.
    private var unacknowledged: UInt64 = 0

    init(shard: Shard, snapshot: ServerSnapshot, logRing: LogRing, status: ShardStatus) {
        self.shard = shard
        self.status = status
        admin = snapshot.admin
        var limits = ServerLimits()
        limits.connections = snapshot.configuration.limits.maximumConnectionsPerShard
        limits.headMilliseconds = UInt64(snapshot.configuration.http.headMilliseconds)
        limits.bodyMilliseconds = UInt64(snapshot.configuration.http.bodyMilliseconds)
        limits.idleMilliseconds = UInt64(snapshot.configuration.http.idleMilliseconds)
        http = HTTPServer(shard: shard, owner: StreamOwner.http, limits: limits)
        limits.bodyBytes = Self.demoBodyBytes
        demo = HTTPServer(shard: shard, owner: StreamOwner.demoService, limits: limits)
        limits.headMilliseconds = Self.relayHeadMilliseconds
        limits.bodyBytes = Self.relayBodyBytes
        relayHTTP = HTTPServer(shard: shard, owner: StreamOwner.relayHTTP, limits: limits)
        relay = UDPRelay(
            shard: shard, clientOwner: StreamOwner.relayClient, socketOwner: StreamOwner.relaySocket, capacity: limits.connections,
            socketCapacity: DescriptorLimit.datagramSockets(
                snapshot.configuration.limits, shards: Doctor.shardCount(snapshot.configuration.shards)),
            shared: snapshot.relay.relay)
        relayGateway = RelayGateway(shared: snapshot.relay, counters: relay.counters)
        echo = DatagramEcho(shard: shard, owner: StreamOwner.demoEcho)
        bridge = TCPBridge(
            shard: shard, clientOwner: StreamOwner.bridgeClient, targetOwner: StreamOwner.bridgeTarget,
            capacity: limits.connections, shared: snapshot.bridges)
        mux = TCPMux(
            shard: shard, clientOwner: StreamOwner.muxClient, targetOwner: StreamOwner.muxTarget, capacity: limits.connections,
            shared: snapshot.muxes)
        proxy = ShardProxy(
            shard: shard, owners: WebSocketProxy.Owners(
                client: StreamOwner.proxyClient, upstream: StreamOwner.proxyUpstream, dial: StreamOwner.proxyDial),
            parked: StreamOwner.proxyParked, capacity: limits.connections, common: snapshot.proxies, shards: snapshot.shards)
        gateway = SessionGateway(shared: snapshot.gateway)
        dns = DNSService(shard: shard, owner: StreamOwner.resolver, tick: Self.dnsTimer, shared: snapshot.dns)
        self.limits = snapshot.limits
        snapshot.limits.directory.register(shard.inbox, shard: shard.index)
        ring = logRing
        log = LogWriter(ring: logRing, identity: .current, threshold: snapshot.configuration.log.level,
                        format: snapshot.configuration.log.format)
        bridge.onReport { [unowned self] in logConnection($0) }
        mux.onReport { [unowned self] in logConnection($0) }
        relay.onReport { [unowned self] in logConnection($0) }
        proxy.tell = { [unowned self] in logProxy($0, $1) }
        proxy.wakeShard = { [unowned self] in self.limits.directory.wake($0) }
        http.onLeave { [unowned self] in if serves(.jwt, listener: $1) { proxy.disconnected($0) } }
        proxy.wakeKeeper = { [unowned self] in self.limits.directory.wake(0) }
        guard shard.index == 0 else { return }
        keeper = KeyKeeper(shard: shard, owner: StreamOwner.proxyKeys, common: snapshot.proxies) { [unowned self] in logKeys($0) }
        prober = UpstreamProber(shard: shard, owner: StreamOwner.proxyProbes, common: snapshot.proxies)
        store = SharedStore(shard: shard, owner: StreamOwner.sharedState, timer: Self.storeTimer, limits: snapshot.limits,
                            counters: StoreCounters()) { [unowned self] in note($0) }
        postgres = PostgresStore(limits: snapshot.limits)
    }

    /// Number of the shard timer of `store`.
    private static let storeTimer: UInt32 = 3

    /// Bodies the demonstration page uploads.
    private static let demoBodyBytes = 4 << 20

    /// Puts a configuration in force for what begins from now on. What lives keeps what it started with.
    func apply(_ snapshot: ServerSnapshot) {
        let configuration = snapshot.configuration
        http.apply(headMilliseconds: UInt64(configuration.http.headMilliseconds),
                   bodyMilliseconds: UInt64(configuration.http.bodyMilliseconds),
                   idleMilliseconds: UInt64(configuration.http.idleMilliseconds))
        relayHTTP.apply(headMilliseconds: Self.relayHeadMilliseconds, bodyMilliseconds: UInt64(configuration.http.bodyMilliseconds),
                        idleMilliseconds: UInt64(configuration.http.idleMilliseconds))
        bridge.apply(snapshot.bridges)
        mux.apply(snapshot.muxes)
        relay.apply(snapshot.relay.relay)
        relayGateway.apply(snapshot.relay)
        gateway.apply(snapshot.gateway)
        dns.apply(snapshot.dns)
        applyStores(configuration.redis, snapshot.proxy)
        admin = snapshot.admin
        log.threshold = configuration.log.level
        log.format = configuration.log.format
        listen(snapshot.listeners)
        applyProxy(snapshot.proxy)
        unacknowledged = snapshot.generation
        acknowledge()
    }

    /// Tells the control thread once listeners that are gone have also given their places back: the next configuration may want
    /// as many again.
    private func acknowledge() {
        guard draining || shard.listenersUsed <= listeners.count else { return }
        status.acknowledge(unacknowledged)
        unacknowledged = 0
    }

    /// Opens listeners that are new, closes those that are gone; the others are not touched.
    private func listen(_ plans: [ListenerPlan]) {
        let former = listeners
        listeners = plans
        retired = (retired + former.filter { old in !plans.contains { $0.tag == old.tag } })
            .filter { plan in [http, demo, relayHTTP].contains { $0.hasConnection(ofListener: plan.tag) } }
        for plan in plans {
            guard let old = former.first(where: { $0.tag == plan.tag }) else { continue }
            recount(plan.tag, from: old.features.contains(.jwt), to: plan.features.contains(.jwt))
        }
        guard !draining else { return }
        placeEcho(plans)
        for plan in former where !plans.contains(where: { $0.tag == plan.tag }) { shard.closeListener(tag: plan.tag) }
        for plan in plans where !former.contains(where: { $0.tag == plan.tag }) {
            shard.listen(
                plan.descriptors[shard.index], owner: plan.owner, tag: plan.tag, tls: plan.security?.contexts[shard.index])
        }
        for plan in plans {
            guard let old = former.first(where: { $0.tag == plan.tag }), old.security !== plan.security else { continue }
            shard.replaceTLS(tag: plan.tag, with: plan.security?.contexts[shard.index])
        }
    }

    /// Connections of a listener that begins or ceases to serve the JWT proxy are counted from now on, or not any more.
    private func recount(_ tag: UInt32, from former: Bool, to wanted: Bool) {
        guard former != wanted else { return }
        for slot in http.connections(ofListener: tag) { if wanted { proxy.connected(slot) } else { proxy.disconnected(slot) } }
    }

    /// Runs until the shard has drained.
    func run() {
        var event = Event()
        while true {
            shard.turn()
            while shard.next(&event) { dispatch(event) }
            mux.endTurn()
            relay.endTurn()
            if unacknowledged != 0 { acknowledge() }
            if stopping, finished() { return }
        }
    }

    /// One event to its owner.
    @inline(__always)
    private func dispatch(_ event: Event) {
        switch event.owner.raw {
        case StreamOwner.bridgeClient.raw, StreamOwner.bridgeTarget.raw: bridge.handle(event)
        case StreamOwner.muxClient.raw, StreamOwner.muxTarget.raw: mux.handle(event)
        case StreamOwner.relayClient.raw, StreamOwner.relaySocket.raw: relay.handle(event)
        case StreamOwner.proxyClient.raw, StreamOwner.proxyUpstream.raw, StreamOwner.proxyDial.raw: proxy.sessions.handle(event)
        case StreamOwner.http.raw: serve(event)
        case StreamOwner.relayHTTP.raw: serveRelay(event)
        case StreamOwner.demoService.raw: serveDemo(event)
        default: dispatchRare(event)
        }
    }

    @inline(never)
    private func dispatchRare(_ event: Event) {
        if event.owner == StreamOwner.resolver { dns.handle(event) }
        if event.owner == StreamOwner.sharedState { store?.handle(event) }
        if event.owner == StreamOwner.proxyParked { proxy.handleParked(event) }
        if event.owner == StreamOwner.proxyKeys, keeper?.handle(event) == true { keysChanged() }
        if event.owner == StreamOwner.proxyProbes { prober?.handle(event) }
        if event.owner == StreamOwner.demoEcho { echo.handle(event) }
        if event.kind == .inbox { readInbox() }
        if event.kind == .shardTimer, event.detail == Self.storeTimer { store?.timePassed() }
        if event.kind == .shardTimer, event.detail == Self.dnsTimer { dns.timePassed() }
        if event.kind == .shardTimer, event.detail == Self.proxyTimer { proxyTimePassed() }
        if dns.hasFinished { answerFinished() }
    }

    @inline(never)
    private func serve(_ event: Event) {
        if event.kind == .accepted, !admitsConnection(event) { return shard.close(event.slot) }
        var action = http.handle(event)
        while let index = answer(action) { action = http.next(index) }
        if dns.hasFinished { answerFinished() }
    }

    /// Goes on with a connection whose postponed request was answered.
    func goOn(_ index: UInt32) {
        var action = http.next(index)
        while let index = answer(action) { action = http.next(index) }
    }

    /// Answers what the HTTP server asks for; the connection to go on with, or nil.
    private func answer(_ action: HTTPServer.Action) -> UInt32? {
        switch action {
        case .none: return nil
        case .request(let index):
            return answerRequest(index) ? index : nil
        case .upgrade(let index): return upgrade(index)
        case .violation(let index, let violation):
            refuse(index, violation)
            return nil
        case .late(let index):
            refuse(index, Problem(408, "request_timeout", "Request not received in time"))
            return nil
        case .overloaded(let index):
            refuse(index, Problem(503, "unavailable", "Too many unfinished requests"))
            return nil
        }
    }

    /// Answers a request; false when its answer comes later.
    private func answerRequest(_ index: UInt32) -> Bool {
        let request = http.request(index)
        let features = features(request)
        if features.contains(.admin) {
            answerAdmin(index)
            return true
        }
        if isRelayed(request, features) {
            respondRelay(index, http)
            return true
        }
        if isProxied(request, features), answerProxy(index, features) { return true }
        let requestID = gateway.requestIdentifier(request)
        let access = beginAccess(request, requestID)
        switch gateway.judge(request, features: features, requestID: requestID) {
        case .dns(let admission): return answerDNS(index, request, admission, access)
        case .answer(let response):
            if let warning = gateway.takeWarning() { warn(warning, requestID) }
            endAccess(access, status: response.status, bytes: response.bodyCount)
            http.respond(index, response)
            return true
        }
    }

    /// Listeners that serve the JWT proxy and nothing else.
    var listenersAlone: [UInt32] { listeners.filter { $0.kind == .gateway && $0.features == [.jwt] }.map(\.tag) }

    /// Whether a listener serves a feature.
    func serves(_ feature: FeatureSet, listener tag: UInt32) -> Bool {
        listeners.contains { $0.tag == tag && $0.features.contains(feature) }
            || retired.contains { $0.tag == tag && $0.features.contains(feature) }
    }

    private func features(_ request: RequestView) -> FeatureSet {
        plan(request)?.features ?? []
    }

    /// The listener a request came in on, though it may be closed by now.
    private func plan(_ request: RequestView) -> ListenerPlan? {
        listeners.first { $0.tag == request.listener } ?? retired.first { $0.tag == request.listener }
    }

    /// A connection that is upgraded leaves the HTTP server; one whose `Upgrade` is not for WebSocket is served as if it had none.
    private func upgrade(_ index: UInt32) -> UInt32? {
        let request = http.request(index)
        if isRelayed(request, features(request)) { return upgradeRelay(index, http) }
        if isProxied(request, features(request)) {
            if let route = proxyRoute(request, features(request)) { return upgradeProxy(index, route) }
            if answerProxy(index, features(request)) { return index }
        }
        guard namesWebSocket(request), !features(request).contains(.admin) else { return answerRequest(index) ? index : nil }
        let verdict = gateway.judgeUpgrade(request, features: features(request))
        if case .refused(let status, let message) = verdict {
            gateway.counters.add(GatewayCounters.Reason(upgradeStatus: status))
            logRefusedUpgrade(request, status, message)
        }
        let record = record(request, verdict)
        let taken = http.detach(index)
        switch verdict {
        case .refused(let status, let message):
            if taken.leftover != .none { shard.release(taken.leftover) }
            shard.transfer(taken.slot, to: .engine, context: 0)
            UpgradeAnswer.refuse(taken.slot, status: status, message: message, on: shard)
        case .tcp(let admission, let target):
            guard taken.count >= 0 else {
                UpgradeAnswer.fail(taken.slot, on: shard)
                return nil
            }
            bridge.open(
                BridgeRequest(
                    client: taken.slot, sessionID: admission.sessionID, clientAddress: admission.clientAddress,
                    webSocketKey: admission.webSocketKey, host: target.host, port: target.port,
                    leftover: (buffer: taken.leftover, start: taken.start, count: taken.count), record: record))
        case .mux(let admission):
            guard taken.count >= 0 else {
                UpgradeAnswer.fail(taken.slot, on: shard)
                return nil
            }
            mux.open(
                MuxRequest(
                    client: taken.slot, sessionID: admission.sessionID, clientAddress: admission.clientAddress,
                    webSocketKey: admission.webSocketKey,
                    leftover: (buffer: taken.leftover, start: taken.start, count: taken.count), record: record))
        }
        return nil
    }

    /// What log and admin interface will tell of an upgrade; read before the request is used up.
    private func record(_ request: RequestView, _ verdict: UpgradeVerdict) -> ConnectionRecord {
        var target = ""
        var sessionID = ""
        if case .tcp(let admission, let query) = verdict {
            target = (query.host.contains(":") ? "[\(query.host)]" : query.host) + ":\(query.port)"
            sessionID = admission.sessionID
        }
        if case .mux(let admission) = verdict { sessionID = admission.sessionID }
        return ConnectionRecord(
            requestID: gateway.requestIdentifier(request), traceID: trace(request).traceID, path: request.path,
            peer: request.peer.host, client: gateway.clientText(request), target: target, sessionID: sessionID)
    }

    /// On the endpoints of WebSockets any upgrade is judged; elsewhere one to another protocol is ignored.
    private func namesWebSocket(_ request: RequestView) -> Bool {
        if request.all(.upgrade).contains(where: { HandshakeRule.isUpgrade($0.utf8.span) }) { return true }
        return request.path.hasSuffix("/tcp") || request.path.hasSuffix("/tcp-mux")
    }

    /// A request the parser refused. An upgrade is answered in the form upgrades are refused in, if enough of it came to tell.
    private func refuse(_ index: UInt32, _ violation: HTTPViolation) {
        let isAdmin = features(http.refused(index).request).contains(.admin)
        if let answer = Self.refusalOfUpgrade(violation), !isAdmin, looksLikeUpgrade(http.refused(index).request.bytes) {
            let (status, message) = gateway.draining ? (503, "Shutting down") : answer
            gateway.counters.add(GatewayCounters.Reason(upgradeStatus: status))
            let (request, headIsComplete) = http.refused(index)
            logRefusedUpgrade(request, status, message, headIsComplete: headIsComplete)
            let taken = http.detach(index)
            if taken.leftover != .none { shard.release(taken.leftover) }
            return UpgradeAnswer.refuse(taken.slot, status: status, message: message, on: shard)
        }
        refuse(index, isAdmin ? violation.problem : SessionGateway.problem(violation))
    }

    /// Rows 2 and 3 of the table of upgrades: faults of the target.
    private static func refusalOfUpgrade(_ violation: HTTPViolation) -> (status: Int, message: String)? {
        switch violation {
        case .targetTooLong: (414, "Request URL too long")
        case .targetMalformed: (400, "Invalid request URL")
        default: nil
        }
    }

    /// Answers a request that was not read to its end, and closes the connection.
    private func refuse(_ index: UInt32, _ problem: Problem) {
        let (request, headIsComplete) = http.refused(index)
        if features(request).contains(.admin) { return refuseAdmin(index, problem) }
        if headIsComplete, isRelayed(request, features(request)) { return refuseRelay(index, problem, http) }
        gateway.counters.add(problem.status == 408 ? .requestLate : problem.status == 503 ? .requestOverload : .requestMalformed)
        let requestID = gateway.requestIdentifier(request)
        let access = beginAccess(request, requestID, headIsComplete: headIsComplete)
        let response = gateway.refuse(problem, request, headIsComplete: headIsComplete, requestID: requestID)
        endAccess(access, status: response.status, bytes: response.bodyCount)
        http.respond(index, response)
    }

    /// Whether the fields behind an endless target, as far as they came, ask for an upgrade.
    private func looksLikeUpgrade(_ bytes: UnsafeRawBufferPointer) -> Bool {
        String(decoding: bytes.suffix(HTTPLimits().headBytes), as: UTF8.self).lowercased().utf8.firstRange(of: "\nupgrade:".utf8) != nil
    }

    @inline(never)
    private func serveDemo(_ event: Event) {
        var action = demo.handle(event)
        while true {
            switch action {
            case .none: return
            case .request(let index), .upgrade(let index):
                demo.respond(index, DemoService.respond(demo.request(index)))
                action = demo.next(index)
            case .violation(let index, let violation):
                var response = violation.problem.response
                response.closes = true
                demo.respond(index, response)
                return
            case .late(let index):
                demo.respond(index, Response(status: 408, closes: true))
                return
            case .overloaded(let index):
                demo.respond(index, Response(status: 503, closes: true))
                return
            }
        }
    }

    @inline(never)
    private func readInbox() {
        for message in shard.inbox.takeAll() {
            switch ShardMessage(rawValue: message.kind) {
            case .drain: drain(graceMilliseconds: message.first)
            case .announce: proxy.isLeaving = true
            case .stop: stopping = true
            case .apply: if let snapshot = message.object as? ServerSnapshot { apply(snapshot) }
            case .logLevel: log.threshold = LogLevel(rawValue: UInt8(truncatingIfNeeded: message.first)) ?? log.threshold
            case .question: if let exchange = message.object as? AdminExchange { answerQuestion(exchange, from: Int(message.first)) }
            case .answered: if let exchange = message.object as? AdminExchange { answered(exchange) }
            case nil: break  // wakes only
            }
        }
        for claim in limits.places.takeDecided(shard: shard.index) {
            if claim.waiter.owner == StreamOwner.bridgeClient { bridge.placesDecided(claim) }
            if claim.waiter.owner == StreamOwner.muxTarget { mux.placesDecided(claim) }
            if claim.waiter.owner == StreamOwner.proxyParked { proxy.placesDecided(claim) }
        }
        if revocationEpoch != limits.revocationEpoch {
            revocationEpoch = limits.revocationEpoch
            bridge.closeRevoked()
            mux.closeRevoked()
        }
        proxy.takeDenials()
        if proxy.plan != nil { proxyTimePassed() }
        store?.pump()
        pumpPostgres()
    }

    private func drain(graceMilliseconds: UInt64) {
        guard !draining else { return }
        draining = true
        gateway.draining = true
        shard.hurryHandshakes(milliseconds: ServerLimits().drainingHeadMilliseconds)
        http.drain()
        demo.drain()
        dns.drain()
        bridge.drain(graceMilliseconds: graceMilliseconds)
        mux.drain(graceMilliseconds: graceMilliseconds)
        drainRelay(graceMilliseconds: graceMilliseconds)
        drainProxy(graceMilliseconds: graceMilliseconds)
        if proxy.plan == nil { store?.drain() }
    }

    private func note(_ notice: SharedStore.Notice) {
        let now = WallClock.nowMilliseconds
        switch notice {
        case .connected(let location):
            guard log.begin(.info, "limits are shared with other instances", timeMilliseconds: now) else { return }
            log.field("redis", location)
        case .lost(let location, let reason):
            guard log.begin(.warn, "the store of several instances cannot be asked: limits hold for this instance alone until it is back",
                            timeMilliseconds: now)
            else { return }
            log.field("redis", location)
            log.field("reason", reason)
        case .left(let location):
            guard log.begin(.info, "limits are no longer shared with other instances", timeMilliseconds: now) else { return }
            log.field("redis", location)
        }
        log.commit()
    }

    /// Health probes are served until no connection remains on any shard; then the listeners close, and with them the loop ends.
    @inline(never)
    private func finished() -> Bool {
        if !listenersClosing {
            listenersClosing = true
            shard.closeListeners()
        }
        guard shard.listenersClosed, shard.slotsUsed == 0 else { return false }
        postgres?.finish()
        return true
    }
}
