import Policy
import Testing
import Wire

private func route(
    _ prefix: String, _ match: ProxyRoute.Match = .segment, name: String = "", _ sessionProtocol: ProxyProtocol = .auto,
    hosts: [String] = []
) -> ProxyRoute {
    do {
        let url = try ProxyUpstreamURL("ws://up\(prefix.utf8.count)/base?own=1")
        var route = ProxyRoute(name: name, prefix: prefix, upstreams: [ProxyUpstream(url: url)], sessionProtocol: sessionProtocol)
        route.match = match
        route.hosts = hosts.compactMap { ProxyHostPattern($0) }
        return route
    } catch { fatalError("\(error)") }
}

@Suite("Proxy routes")
struct ProxyRoutesTests {
    @Test("how prefixes match", arguments: [
        ("/mqtt", ProxyRoute.Match.segment, ["/mqtt", "/mqtt/", "/mqtt/x"], ["/mqttx", "/MQTT", "/", "/x/mqtt"]),
        ("/mqtt/", .segment, ["/mqtt/", "/mqtt/x"], ["/mqtt"]), ("", .segment, ["/", "/x"], []), ("/", .segment, ["/", "/x"], []),
        ("/mqtt", .string, ["/mqtt", "/mqttx", "/mqtt/x"], ["/mqt", "/Mqtt"]), ("/mqtt", .exact, ["/mqtt"], ["/mqtt/", "/mqttx"]),
    ])
    func matching(prefix: String, match: ProxyRoute.Match, paths: [String], others: [String]) {
        for path in paths { #expect(route(prefix, match).matches(path: path), "\(path)") }
        for path in others { #expect(!route(prefix, match).matches(path: path), "\(path)") }
    }

    @Test("routes.yaml: file order, plain prefixes, and /ws always")
    func compat() throws {
        let table = try ProxyRoutes(compat: [
            CompatRoute(prefix: "/mqtt", upstream: "ws://rabbit:15675/ws", copiesSubprotocol: true),
            CompatRoute(prefix: "/livekit", upstream: "wss://livekit/rtc", preservesQuery: true),
            CompatRoute(prefix: "/mqtt/special", upstream: "ws://never/"),
        ])
        #expect(table.match(path: "/mqtt/special", host: "x") == 0 && table.match(path: "/livekitty", host: "x") == 1)
        #expect(table.match(path: "/ws", host: "x") == 0 && table.match(path: "/wsx", host: "x") == nil)
        #expect(table.match(path: "/", host: "x") == nil)
        #expect(table.routes[0].subprotocols.copies && !table.routes[1].subprotocols.copies)
        let livekit = table.routes[1]
        #expect(livekit.target(at: livekit.upstreams[0], path: "/livekit/more", query: "a=1&b") == "/rtc?a=1&b")
        #expect(livekit.rejection == .close && livekit.match == .string)
    }

    @Test("variables: implicit routes come last")
    func implicit() throws {
        let both = try ProxyRoutes(compat: [], upstream: "ws://mqtt/ws", rawUpstream: "ws://raw/")
        #expect(both.routes.count == 1 && both.routes[0].rawUpstreams[0].url.host == "raw" && both.routes[0].query == .preserve)
        #expect(both.match(path: "/ws", host: "") == 0 && both.match(path: "/x", host: "") == nil)
        let behind = try ProxyRoutes(compat: [CompatRoute(prefix: "/ws", upstream: "ws://file/")], upstream: "ws://variable/")
        #expect(behind.match(path: "/ws", host: "") == 0 && behind.routes[1].name == "implicit")
        let raw = try ProxyRoutes(compat: [], rawUpstream: "ws://raw/")
        #expect(raw.routes[0].sessionProtocol == .raw)
        #expect(throws: ProxyRouteFault.self) { try ProxyRoutes(compat: []) }
    }

    @Test("/ws goes to the first MQTT route, else the first")
    func common() throws {
        let routes = [route("/a", name: "a"), route("/b", name: "b", .mqtt)]
        #expect(try ProxyRoutes(routes).match(path: "/ws", host: "") == 1)
        #expect(try ProxyRoutes([routes[0]]).match(path: "/ws", host: "") == 0)
    }

    @Test("hosts")
    func hosts() throws {
        let table = try ProxyRoutes([route("/", name: "one", hosts: ["a.example.com", "*.b.org"]), route("/", name: "rest")])
        for host in ["a.example.com", "A.Example.com:8080", "x.b.org", "x.y.b.org:1"] {
            #expect(table.match(path: "/", host: host) == 0, "\(host)")
        }
        for host in ["b.org", "example.com", "", "a.example.com.evil", "xb.org"] {
            #expect(table.match(path: "/", host: host) == 1, "\(host)")
        }
    }

    @Test("targets")
    func targets() {
        var one = route("/mqtt")
        let upstream = one.upstreams[0]
        #expect(one.target(at: upstream, path: "/mqtt/x", query: "a=1") == "/base?own=1")
        one.query = .keep(["a", "c"])
        #expect(one.target(at: upstream, path: "/mqtt", query: "a=1&b=2&%63=3") == "/base?own=1&a=1&%63=3")
        one.query = .preserve
        #expect(one.target(at: upstream, path: "/mqtt", query: "") == "/base")
        one.query = .drop
        one.appendsPath = true
        #expect(one.target(at: upstream, path: "/mqtt/x/y", query: "") == "/base/x/y?own=1")
        for path in ["/mqtt/../x", "/mqtt/..", "/mqtt/%2e%2E/x", "/mqtt/.%2e", "/mqtt/./x", "/mqtt/..//\u{301}x", "/mqtt/../\u{301}x"] {
            #expect(one.target(at: upstream, path: path, query: "") == nil, "\(path)")
        }
        #expect(one.target(at: upstream, path: "/mqtt/...", query: "") == "/base/...?own=1")
        one.rewritePrefix = "/new/"
        #expect(one.target(at: upstream, path: "/mqtt/x", query: "") == "/new/x?own=1")
    }

    @Test("URLs that are refused", arguments: [
        ("", .empty), ("/x", .relative), ("rabbit:15675/ws", .relative), ("ftp://a/", .scheme("ftp")), ("ws://", .host), ("ws:///x", .host),
        ("ws://user@a/", .userInformation), ("ws://u:p@a/", .userInformation), ("ws://a/#f", .fragment), ("ws://a:0/", .port),
        ("ws://a:x/", .port),
        ("ws://a:65536/", .port), ("ws://a:/", .port), ("ws://a b/", .notASCII), ("ws://a/\u{e9}", .notASCII), ("ws://[::1/", .host),
        ("ws://a%20b/", .host), ("ws://a\\b/", .notASCII), ("ws://999.1.1.1/", .host),
    ] as [(String, ProxyUpstreamURL.Fault)])
    func refused(text: String, fault: ProxyUpstreamURL.Fault) {
        #expect(throws: fault) { try ProxyUpstreamURL(text) }
        #expect(throws: ProxyRouteFault(entry: 2, key: "upstream", problem: fault.description)) {
            try ProxyRoutes(compat: [CompatRoute(prefix: "/a", upstream: "ws://a/"), CompatRoute(prefix: "/b", upstream: text)])
        }
    }

    @Test("URLs that are read")
    func read() throws {
        let url = try ProxyUpstreamURL("WSS://Rabbit-0.Messaging:15676/ws?x=1")
        #expect(url.isSecure && url.host == "rabbit-0.messaging" && url.port == 15676 && url.path == "/ws" && url.query == "x=1")
        #expect(url.endpoint == "wss://rabbit-0.messaging:15676/ws" && url.authority == "rabbit-0.messaging:15676")
        let bare = try ProxyUpstreamURL("http://[2001:DB8::1]?q")
        #expect(!bare.isSecure && bare.host == "2001:db8::1" && bare.port == 80)
        #expect(bare.path == "/" && bare.query == "q" && bare.authority == "[2001:db8::1]")
        #expect(try ProxyUpstreamURL("https://my_service/").host == "my_service")
    }

    @Test("native tables that are refused")
    func native() {
        func key(_ change: (inout ProxyRoute) -> Void) -> String? {
            var changed = route("/a")
            change(&changed)
            do { _ = try ProxyRoutes([changed]) } catch { return error.key }
            return nil
        }
        #expect(key { _ in } == nil && key { $0.upstreams = [] } == "upstreams" && key { $0.prefix = "a" } == "prefix")
        #expect(key { $0.upstreams[0].weight = 0 } == "weight" && key { $0.rewritePrefix = "x" } == "rewrite_prefix")
        #expect(key { $0.name = "" } == "name")
        #expect(key { $0.passesCompression = true; $0.topics.modes = .rules } == "compression")
        #expect(key { $0.passesCompression = true; $0.dial = .afterAccept } == "compression")
        #expect(throws: ProxyRouteFault.self) { try ProxyRoutes([route("/a"), route("/a")]) }
    }
}
