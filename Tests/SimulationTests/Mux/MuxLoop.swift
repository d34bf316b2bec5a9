import Engine
import HTTP
import Policy
import Simulator
import TCPMux
import Wire

/// A shard's loop as the product has it, reduced to upgrades: HTTP connections that become multiplexed WebSockets.
struct MuxLoop {
    static let httpOwner = Owner(1)
    static let clientOwner = Owner(2)
    static let targetOwner = Owner(3)

    let shard: Shard
    let http: HTTPServer
    let mux: TCPMux
    let sharedLimits = SharedLimits()

    init(shard: Shard, tcp: GatewaySettings.TCPSettings, mux settings: GatewaySettings.MuxSettings, connections: Int) {
        self.shard = shard
        var limits = ServerLimits()
        limits.connections = connections
        http = HTTPServer(shard: shard, owner: Self.httpOwner, limits: limits)
        mux = TCPMux(
            shard: shard, clientOwner: Self.clientOwner, targetOwner: Self.targetOwner, capacity: connections,
            shared: MuxShared(tcp: tcp, mux: settings, limits: sharedLimits))
    }

    func dispatch(_ event: Event) {
        if event.owner == Self.clientOwner || event.owner == Self.targetOwner { return mux.handle(event) }
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
        let key = http.request(index).first(.secWebSocketKey) ?? ""
        let taken = http.detach(index)
        guard taken.count >= 0 else { return shard.close(taken.slot) }
        mux.open(
            MuxRequest(
                client: taken.slot, sessionID: "session", clientAddress: "127.0.0.1", webSocketKey: key,
                leftover: (buffer: taken.leftover, start: taken.start, count: taken.count),
                record: ConnectionRecord(requestID: "", traceID: "", path: "/tcp-mux", client: "", target: "", sessionID: "")))
    }

    /// Nothing is left in any table.
    var isEmpty: Bool { http.connectionCount == 0 && mux.count == 0 && mux.streamCount == 0 }

    func destroy() {
        http.destroy()
        mux.destroy()
    }
}
