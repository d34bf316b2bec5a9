import Engine
import HTTP
import Policy
import Simulator
import UDPRelay
import Wire

/// A shard's loop as the product has it, reduced to upgrades: HTTP connections that become `/udp` WebSockets.
struct RelayLoop {
    static let httpOwner = Owner(1)
    static let clientOwner = Owner(2)
    static let socketOwner = Owner(3)

    let shard: Shard
    let http: HTTPServer
    let relay: UDPRelay
    let shared: RelayShared

    init(shard: Shard, shared: RelayShared, connections: Int, sockets: Int) {
        self.shard = shard
        self.shared = shared
        var limits = ServerLimits()
        limits.connections = connections
        http = HTTPServer(shard: shard, owner: Self.httpOwner, limits: limits)
        relay = UDPRelay(
            shard: shard, clientOwner: Self.clientOwner, socketOwner: Self.socketOwner, capacity: connections, socketCapacity: sockets,
            shared: shared)
    }

    func dispatch(_ event: Event) {
        if event.owner == Self.clientOwner || event.owner == Self.socketOwner { return relay.handle(event) }
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
        let verdict = shared.access.judge(
            authorization: request.all(.authorization), apiKeys: [], query: [UInt8]().span, 0..<0, nowSeconds: 0)
        let taken = http.detach(index)
        guard taken.count >= 0 else { return shard.close(taken.slot) }
        relay.open(
            RelayRequest(
                client: taken.slot, verdict: verdict, webSocketKey: key, fields: [(name: "X-Request-ID", value: "given")],
                leftover: (buffer: taken.leftover, start: taken.start, count: taken.count),
                record: ConnectionRecord(requestID: "", traceID: "", path: "/udp", client: "", target: "", sessionID: "")))
    }

    /// Nothing is left in any table.
    var isEmpty: Bool { http.connectionCount == 0 && relay.count == 0 && relay.socketCount == 0 && shared.sessionCount == 0 }

    func destroy() {
        http.destroy()
        relay.destroy()
    }
}
