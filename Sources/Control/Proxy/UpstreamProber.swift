import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// Probes the endpoints of upstreams, on one shard, so that a dead one is known before a client pays for it.
///
/// - Each endpoint is probed by itself, at intervals that differ by chance so that instances do not come together.
/// - The circuit is asked first: while it is open nothing is sent, and the probe that decides about it is one of these or a session.
final class UpstreamProber {
    /// How an endpoint is asked.
    enum Probe: Sendable, Equatable {
        /// A connection.
        case tcp
        /// An answer below 400 to a GET of the path.
        case http(path: String)
        /// An upgrade, with the content of a file as its token.
        case webSocket(tokenPath: String)

        /// As a route has it in `health`; nil for `off`.
        init?(_ text: String, tokenPath: String) {
            switch text {
            case "tcp": self = .tcp
            case "ws": self = .webSocket(tokenPath: tokenPath)
            default:
                guard text.hasPrefix("http:") else { return nil }
                self = .http(path: String(text.dropFirst(5)))
            }
        }
    }

    private struct Place {
        /// `ProxyPlan.endpoints`.
        let number: Int
        var dueMilliseconds: UInt64
        var isUnderWay = false
    }

    private let shard: Shard
    private let client: HTTPClient
    private let common: ProxyCommon
    private var plan: ProxyPlan?
    private var places: [Place] = []
    private var underWay: [UInt32: (place: Int, pass: CircuitBreaker.Pass, ticket: HTTPClient.Ticket)] = [:]
    private var nextContext: UInt32 = 0
    private var generator = SystemRandomNumberGenerator()

    /// Longest token in a file.
    private static let tokenBytes = 65_536

    init(shard: Shard, owner: Owner, common: ProxyCommon) {
        self.shard = shard
        self.common = common
        client = HTTPClient(shard: shard, owner: owner)
    }

    /// Takes another configuration; probes for the former one are not waited for. nil: none any more.
    func apply(_ plan: ProxyPlan?) {
        for (_, probe) in underWay {
            client.cancel(probe.ticket)
            settle(probe.place, probe.pass, failed: nil)
        }
        underWay = [:]
        places = []
        self.plan = plan
        guard let plan, plan.policy.draft.breaker.probeIntervalSeconds > 0 else { return }
        var names: Set<String> = []
        for (number, endpoint) in plan.endpoints.enumerated() where endpoint.probe != nil && names.insert(endpoint.name).inserted {
            places.append(Place(number: number, dueMilliseconds: shard.now + interval(plan, from: 0)))
        }
    }

    /// The interval give or take a fifth; or anything from `from` of it on.
    private func interval(_ plan: ProxyPlan, from: Double = 0.8) -> UInt64 {
        UInt64(Double(plan.policy.draft.breaker.probeIntervalSeconds) * 1000 * Double.random(in: from...1.2, using: &generator))
    }

    /// Begins what is due.
    func poll() {
        guard let plan else { return }
        for index in places.indices where !places[index].isUnderWay && shard.now >= places[index].dueMilliseconds {
            places[index].dueMilliseconds = shard.now + interval(plan)
            let endpoint = plan.endpoints[places[index].number]
            let admission = endpoint.state.pass(plan.breakerSettings, nowMilliseconds: MonotonicClock.milliseconds)
            guard case .admitted(let pass) = admission, let request = request(endpoint, plan) else { continue }
            nextContext &+= 1
            places[index].isUnderWay = true
            underWay[nextContext] = (index, pass, client.begin(request, context: nextContext))
        }
        take()
    }

    func handle(_ event: Event) {
        client.handle(event)
        take()
    }

    private func request(_ endpoint: ProxyPlan.Endpoint, _ plan: ProxyPlan) -> ClientRequest? {
        let url = endpoint.upstream.url
        var request = ClientRequest(endpoint.client, target: url.path + (url.query.isEmpty ? "" : "?" + url.query))
        request.timeouts = plan.timeouts
        request.maximumBodyBytes = 1 << 16
        switch endpoint.probe {
        case .tcp:
            request = ClientRequest(ClientEndpoint(host: url.host, port: url.port), target: "/")
            request.timeouts = plan.timeouts
            request.connectsOnly = true
        case .http(let path): request.target = path
        case .webSocket(let tokenPath):
            request.upgrade = ClientRequest.Upgrade(subprotocols: endpoint.isMQTT ? ["mqtt"] : [])
            if !tokenPath.isEmpty {
                guard let bytes = try? SmallFile.read(tokenPath, limit: Self.tokenBytes) else { return nil }
                let token = Quantity.trimmed(String(decoding: bytes, as: UTF8.self)[...])
                request.fields.append(ClientRequest.Field("Authorization", "Bearer \(token)"))
            }
        case nil: return nil
        }
        return request
    }

    private func take() {
        while let finished = client.takeFinished() {
            guard let probe = underWay.removeValue(forKey: finished.context) else { continue }
            switch finished.result {
            case .upgraded(let stream):
                if stream.leftover.buffer != .none { shard.release(stream.leftover.buffer) }
                shard.close(stream.slot)
                settle(probe.place, probe.pass, failed: false)
            case .answered(let answer): settle(probe.place, probe.pass, failed: answer.status >= 400)
            case .failed(let failure):
                // The answers 401 to 404 come from somebody who lives.
                let isFault = failure.isEndpointFault
                settle(probe.place, probe.pass, failed: isFault ? true : failure == .exhausted ? nil : false)
            }
        }
    }

    /// - Parameter failed: nil when nothing was learnt.
    private func settle(_ place: Int, _ pass: CircuitBreaker.Pass, failed: Bool?) {
        guard let plan, places.indices.contains(place) else { return }
        places[place].isUnderWay = false
        let endpoint = plan.endpoints[places[place].number]
        let opened = endpoint.state.dialled(
            pass, failed: failed, plan.breakerSettings, nowMilliseconds: MonotonicClock.milliseconds)
        if let failed { common.metrics.add(failed ? .unhealthy : .healthy) }
        if opened { common.metrics.add(.circuits, "protocol=\"\(endpoint.isMQTT ? "mqtt" : "raw")\"") }
    }
}
