import Policy
import Synchronization
import WebSocketProxy

/// Samples that are there before anything was counted: a family is never without one, and what is graphed begins at zero. Their labels
/// come from the configuration and closed sets, as all do.
extension ProxyMetrics {
    private static let protocols = ["protocol=\"mqtt\"", "protocol=\"raw\""]
    /// Every value of label `limit`.
    private static let limits = ["handshake_rate", "auth_failures", "handshakes", "handshakes_per_ip", "connections_per_ip", "sessions",
                                 "sessions_per_subject", "sessions_per_ip", "sessions_per_route"]

    static func none(of family: Family, _ plan: ProxyPlan) -> [String: UInt64] {
        let routes = routes(plan)
        let labels: [String]
        switch family {
        case .connections, .authFailures, .healthy, .unhealthy, .revocations, .expired, .droppedRoles: labels = [""]
        case .authSuccesses: labels = plan.policy.draft.subjectLabels ? [] : [""]
        case .protocols, .errors, .retries, .circuits: labels = protocols
        case .rates: labels = ["subject", "session", "ip"].map { "scope=\"\($0)\"" }
        case .handshakes: labels = routes.map { $0 + ",code=\"101\"" }
        case .auth: labels = routes.map { $0 + ",result=\"accepted\",reason=\"ok\",source=\"authorization\"" }
        case .algorithms:
            labels = Set(plan.policy.providers.flatMap(\.provider.algorithms)).map { "alg=\"\($0.rawValue)\"" }
        case .cache: labels = ["result=\"hit\"", "result=\"miss\""]
        case .closes: labels = routes.map { $0 + ",from=\"client\",code=\"1000\"" }
        case .dials: labels = upstreams(plan).map { $0 + ",result=\"ok\"" }
        case .limits: labels = limits.map { "limit=\"\($0)\"" }
        }
        return Dictionary(labels.map { ($0, 0) }) { first, _ in first }
    }

    static func none(of timing: Timing, _ plan: ProxyPlan) -> [String: Histogram] {
        let labels: [String]
        switch timing {
        case .connection, .auth: labels = [""]
        case .session: labels = routes(plan).flatMap { route in protocols.map { route + "," + $0 } }
        case .dial: labels = upstreams(plan)
        }
        return Dictionary(labels.map { ($0, Histogram(timing)) }) { first, _ in first }
    }

    /// Fetches of key sets, with those that each provider begins with.
    static func fetches(_ plan: ProxyPlan) -> [KeyBoard.ResultKey: UInt64] {
        let first = plan.policy.providers.filter { !$0.sources.origins.isEmpty }
            .map { KeyBoard.ResultKey(provider: $0.provider.name, trigger: .start, result: .loaded) }
        return Dictionary(first.map { ($0, 0) }) { first, _ in first }.merging(plan.common.keys.results) { $1 }
    }

    private static func routes(_ plan: ProxyPlan) -> [String] { plan.policy.routes.routes.map { "route=\"\(label($0.name))\"" } }

    private static func upstreams(_ plan: ProxyPlan) -> [String] {
        Set(plan.endpoints.map(\.name)).map { "upstream=\"\(label($0))\"" }
    }
}

/// Subjects that `ws_auth_success_total` has named, where it names them.
final class SubjectLabels: Sendable {
    /// Each is a series that is kept for ever; who comes later is `other`.
    private static let maximum = 10_000
    private let seen = Mutex<Set<String>>([])

    /// Labels for an accepted token, as the reference has them.
    func labels(_ token: VerifiedToken) -> String {
        let name = token.document["preferred_username"]?.string ?? ""
        func value(_ text: String) -> String { ProxyMetrics.label(Quantity.excerpt(text, characters: 256)) }
        let labels = "sub=\"\(value(token.subject))\",preferred_username=\"\(value(name))\""
        let isNamed = seen.withLock { seen in
            if seen.contains(labels) { return true }
            guard seen.count < Self.maximum else { return false }
            seen.insert(labels)
            return true
        }
        return isNamed ? labels : "sub=\"other\",preferred_username=\"other\""
    }
}
