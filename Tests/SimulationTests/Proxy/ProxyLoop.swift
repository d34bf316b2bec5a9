import Engine
import HTTP
import Policy
import Simulator
import WebSocketProxy
import Wire

/// A shard's loop as the product has it, reduced to upgrades that open sessions.
final class ProxyLoop {
    static let httpOwner = Owner(1)

    let shard: Shard
    let http: HTTPServer
    let proxy: WebSocketProxy
    var reports: [ProxyReport] = []
    /// Upgrades that were given to the proxy.
    var made = 0
    /// Makes a request's session from its path.
    var make: (String, inout ProxyRequest) -> Void = { _, _ in }

    init(shard: Shard, connections: Int) {
        self.shard = shard
        var limits = ServerLimits()
        limits.connections = connections
        http = HTTPServer(shard: shard, owner: Self.httpOwner, limits: limits)
        proxy = WebSocketProxy(
            shard: shard, owners: WebSocketProxy.Owners(client: Owner(2), upstream: Owner(3), dial: Owner(4)), capacity: connections,
            shared: ProxyShared())
        proxy.onReport { [unowned self] in reports.append($0) }
    }

    func dispatch(_ event: Event) {
        if (2...4).contains(event.owner.raw) { return proxy.handle(event) }
        guard event.owner == Self.httpOwner else { return }
        var action = http.handle(event)
        while true {
            switch action {
            case .none: return
            case .upgrade(let index): return upgrade(index)
            case .request(let index):
                http.respond(index, Response(status: 404))
                action = http.next(index)
            case .violation(let index, _), .late(let index), .overloaded(let index):
                var response = Response(status: 400)
                response.closes = true
                return http.respond(index, response)
            }
        }
    }

    private func upgrade(_ index: UInt32) {
        let request = http.request(index)
        let key = request.first(.secWebSocketKey) ?? ""
        let path = request.path
        let taken = http.detach(index)
        guard taken.count >= 0 else { return shard.close(taken.slot) }
        var session = ProxyRequest(
            client: taken.slot, webSocketKey: key, leftover: (buffer: taken.leftover, start: taken.start, count: taken.count),
            record: ConnectionRecord(
                requestID: "request", traceID: "trace", path: path, client: "127.0.0.1", target: "", sessionID: ""),
            admission: .firstData(subprotocol: nil))
        make(path, &session)
        made += 1
        proxy.open(session)
    }

    static func target(port: Int) -> ProxyTarget {
        ProxyTarget(endpoints: [ProxyEndpoint(ClientEndpoint(host: "127.0.0.1", port: UInt16(port)), target: "/up?x=1")])
    }

    /// A request for an upgrade.
    static func upgrade(_ path: String) -> String {
        [
            "GET \(path) HTTP/1.1", "Host: gateway.example", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        ].joined(separator: "\r\n")
    }

    /// Nothing is left in either table.
    var isEmpty: Bool { http.connectionCount == 0 && proxy.count == 0 }

    func destroy() {
        http.destroy()
        proxy.destroy()
    }
}
