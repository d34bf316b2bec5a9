import Policy
import Wire

/// Lines: a URL, a prefix, a path, a query, a host, cookies, subprotocols, an Origin and a list of origins. What is accepted is
/// what it says, credentials never stay in a query or in an offer, and nothing fails.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzProxyRoutes(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var lines = UnsafeBufferPointer(start: start, count: count).split(separator: 10, maxSplits: 8, omittingEmptySubsequences: false)
        .map { String(decoding: $0, as: Unicode.UTF8.self) }
    while lines.count < 9 { lines.append("") }
    url(lines[0])
    routes(lines[0], prefix: lines[1], path: lines[2], query: lines[3], host: lines[4])
    tokens(query: lines[3], cookie: lines[5], offers: lines[6])
    origins(lines[7], list: lines[8], host: lines[4])
    return 0
}

private func url(_ text: String) {
    guard let url = try? ProxyUpstreamURL(text) else { return }
    precondition(url.path.hasPrefix("/") && url.port > 0 && !url.host.isEmpty)
    precondition(!url.endpoint.contains("?") && !url.authority.contains("@"))
    guard let again = try? ProxyUpstreamURL(url.endpoint) else { fatalError("\(url.endpoint) is not read again") }
    precondition(again.host == url.host && again.port == url.port && again.path == url.path && again.isSecure == url.isSecure)
}

private func routes(_ url: String, prefix: String, path: String, query: String, host: String) {
    let entries = [CompatRoute(prefix: prefix, upstream: url, preservesQuery: true), CompatRoute(prefix: "/z", upstream: "ws://z/")]
    guard let table = try? ProxyRoutes(compat: entries) else { return }
    let index = table.match(path: path, host: host)
    if path.utf8.starts(with: prefix.utf8) { precondition(index == 0) }
    precondition(table.match(path: "/ws", host: host) != nil)
    for match in ProxyRoute.Match.allCases {
        var route = table.routes[0]
        route.match = match
        route.appendsPath = true
        guard route.matches(path: path) else { continue }
        precondition(path.utf8.starts(with: prefix.utf8))
        if let target = route.target(at: route.upstreams[0], path: path, query: query) { precondition(target.utf8.first == 0x2F) }
    }
}

private func tokens(query: String, cookie: String, offers: String) {
    let stripped = QueryText.removing(["token"], from: query)
    precondition(!QueryText.masking(["token"], in: query).isEmpty || query.isEmpty || QueryText.keeping([""], in: query).isEmpty)
    let sources = TokenSources([.query(name: "token")])
    if let found = try? sources.find(in: TokenRequest(query: stripped)) { fatalError("left in the query: \(found)") }
    guard let offer = try? SubprotocolOffer(lines: [offers]) else { return }
    precondition(offer.names.count <= SubprotocolOffer.maximumEntries && !offer.names.contains(where: TokenForm.hasForm))
    let request = TokenRequest(fields: [("cookie", cookie), ("authorization", cookie)], query: query, offer: offer)
    for sessionProtocol in ProxyProtocol.allCases {
        _ = try? TokenSources(defaultsFor: sessionProtocol).find(in: request)
        for profile in ProxyProfile.allCases {
            let rule = SubprotocolRule(defaultsFor: sessionProtocol, profile: profile)
            for dialsFirst in [false, true] {
                let choice = rule.choose(offer, sessionProtocol, dialsFirst: dialsFirst)
                if case .chosen(let answer?, _) = choice { precondition(offer.names.contains(answer) || offer.keyword == answer) }
                if case .subprotocol(let answer?) = rule.answer(upstream: offer.names.first, to: offer, choice) {
                    precondition(offer.names.contains(answer) || offer.keyword == answer)
                }
            }
        }
    }
}

private func origins(_ origin: String, list: String, host: String) {
    for profile in ProxyProfile.allCases {
        guard let origins = try? ProxyOrigins(ProxyOrigins.list(list), profile: profile, usesCookies: true) else { continue }
        let decision = origins.judgeCookie([origin], host: host, isSecure: true)
        if case .allowed(let allowed) = decision {
            precondition(Origin(origin) == allowed && (origins.isEmpty || origins.judge([origin]) == decision))
        }
        precondition(origins.judge([origin, origin]) == .malformed && origins.judgeCookie([], host: host, isSecure: true) == .refused)
    }
}
