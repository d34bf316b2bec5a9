import HTTP
import Policy
import WebSocketProxy

/// A route of a plan, with what would otherwise be worked out for every request. An object: a route has dozens of texts and lists, and
/// a session that copied it would count references to all of them.
final class ProxyRouting: Sendable {
    let route: ProxyRoute
    let detail: ProxyPolicy.Route
    /// Its name as the value of a label.
    let label: String
    /// What sessions are bound by.
    let settings: ProxySettings
    /// Places of the providers it believes.
    let providers: [Int]
    /// Names, in lower case, of fields that are passed on, in their order, and of those that may hold a credential.
    let passedNames: [[UInt8]]
    let credentialNames: [[UInt8]]
    /// Names of query parameters that may hold one, by what is spoken.
    private let queryNames: [ProxyProtocol: [String]]
    private let forAuto: TokenSources
    private let forMQTT: TokenSources
    private let forRaw: TokenSources

    init(_ number: Int, _ policy: ProxyPolicy, _ settings: ProxySettings) {
        let route = policy.routes.routes[number]
        self.route = route
        detail = policy.details[number]
        label = ProxyMetrics.label(route.name)
        self.settings = settings
        providers = detail.providers.isEmpty ? [0] : detail.providers
        passedNames = route.identity.passedFields.filter { !route.identity.isReserved($0) }.map { Array($0.lowercased().utf8) }
        forAuto = policy.sources(number, .auto)
        forMQTT = policy.sources(number, .mqtt)
        forRaw = policy.sources(number, .raw)
        var names = ["authorization", "cookie"]
        for source in forAuto.order + forMQTT.order + forRaw.order {
            if case .header(let name, _) = source { names.append(name.lowercased()) }
        }
        credentialNames = Set(names).map { Array($0.utf8) }
        queryNames = Dictionary(uniqueKeysWithValues: ProxyProtocol.allCases.map { ($0, policy.sources(number, $0).queryNames) })
    }

    /// Where a token may be when this is spoken.
    func sources(_ spoken: ProxyProtocol) -> TokenSources {
        switch spoken {
        case .auto: forAuto
        case .mqtt: forMQTT
        case .raw: forRaw
        }
    }

    /// The client's query without credentials that the route takes from it, and without what is ours to say there.
    func query(_ query: String, _ spoken: ProxyProtocol) -> String {
        if query.isEmpty { return query }
        var names = route.keepsCredentialQuery ? [] : queryNames[spoken] ?? []
        if case .query(let name) = route.identity.placement(spoken) { names.append(name) }
        return names.isEmpty ? query : QueryText.removing(names, from: query)
    }
}

extension RequestView {
    /// Whether a field has one of these names, in any case.
    func isNamed(_ index: Int, _ names: [[UInt8]]) -> Bool { names.contains { isNamed(index, $0) } }

    /// Whether a field has this name, in any case.
    func isNamed(_ index: Int, _ name: [UInt8]) -> Bool {
        Span<UInt8>(_unsafeBytes: bytes).equalsIgnoringCase(name.span, in: head.pointee.name(index))
    }
}
