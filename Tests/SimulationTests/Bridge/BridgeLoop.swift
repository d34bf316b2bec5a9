import Engine
import HTTP
import Policy
import Simulator
import TCPBridge
import Wire

/// A shard's loop as the product has it, reduced to upgrades: HTTP connections whose `/tcp` requests open bridges.
struct BridgeLoop {
    static let httpOwner = Owner(1)
    static let clientOwner = Owner(2)
    static let targetOwner = Owner(3)

    let shard: Shard
    let http: HTTPServer
    let bridge: TCPBridge
    let limits = SharedLimits()

    init(shard: Shard, settings: GatewaySettings.TCPSettings, connections: Int) {
        self.shard = shard
        var limits = ServerLimits()
        limits.connections = connections
        http = HTTPServer(shard: shard, owner: Self.httpOwner, limits: limits)
        bridge = TCPBridge(
            shard: shard, clientOwner: Self.clientOwner, targetOwner: Self.targetOwner, capacity: connections,
            shared: BridgeShared(settings: settings, limits: self.limits))
    }

    func dispatch(_ event: Event) {
        if event.owner == Self.clientOwner || event.owner == Self.targetOwner { return bridge.handle(event) }
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
        let port = request.string(request.query).split(separator: "=").last.flatMap { UInt16($0) } ?? 0
        let taken = http.detach(index)
        guard taken.count >= 0 else { return shard.close(taken.slot) }
        bridge.open(
            BridgeRequest(
                client: taken.slot, sessionID: "session", clientAddress: "127.0.0.1", webSocketKey: key, host: "127.0.0.1",
                port: port, leftover: (buffer: taken.leftover, start: taken.start, count: taken.count),
                record: ConnectionRecord(
                    requestID: "request", traceID: "trace", path: "/tcp", client: "127.0.0.1", target: "", sessionID: "session")))
    }

    /// Nothing is left in either table.
    var isEmpty: Bool { http.connectionCount == 0 && bridge.count == 0 }

    func destroy() {
        http.destroy()
        bridge.destroy()
    }
}
