import CSocket
import Engine
import Glibc
import HTTP
import Policy
import Ring
import WebSocketProxy
import Wire

// A WebSocket in front of a WebSocket without tokens: the proxy's own fixture for live tests and measurements.
// Usage: sluice-proxy PORT ws[s]://HOST:PORT/PATH [option=value...]
//        sluice-proxy PORT broker|sink      an MQTT 3.1.1 broker that sends back what it gets, or takes it
//   ca=FILE cert=FILE key=FILE name=NAME   TLS towards the upstream
//   mode=opaque|inspected  masks=preserve|fresh  ping=hop|forward  extensions=on
//   rules=N   inspected MQTT behind a CONNECT; the last of N rules is the one for bench/#
//   dead=MS idle=MS write=MS ends=MS max=BYTES rate=N burst=N throttle=on first=BYTES (admits after so much first data)

final class ProxyServer {
    static let httpOwner = Owner(1)
    static let brokerOwner = Owner(5)

    let shard: Shard
    let http: HTTPServer
    let proxy: WebSocketProxy
    let target: ProxyTarget
    let settings: ProxySettings
    let firstBytes: Int
    let relaysExtensions: Bool
    let broker: Broker?

    init(
        shard: Shard, target: ProxyTarget, settings: ProxySettings, firstBytes: Int, relaysExtensions: Bool, rights: TopicRights?,
        broker: Broker?
    ) {
        self.broker = broker
        self.shard = shard
        self.target = target
        self.settings = settings
        self.firstBytes = firstBytes
        self.relaysExtensions = relaysExtensions
        http = HTTPServer(shard: shard, owner: Self.httpOwner)
        proxy = WebSocketProxy(
            shard: shard, owners: WebSocketProxy.Owners(client: Owner(2), upstream: Owner(3), dial: Owner(4)), capacity: 20_000,
            shared: ProxyShared())
        proxy.onFirstData { data in
            guard data.bytes.count >= firstBytes else { return .more }
            guard let rights else { return .admit(ProxyAdmit(target, identity: ProxyIdentity())) }
            let bytes = Span(_unsafeElements: data.bytes.assumingMemoryBound(to: UInt8.self))
            switch MQTTConnect.read(bytes) {
            case .needMore: return .more
            case .refused: return .refuse(ProxyRefusal(ProxyClose(.protocolError)))
            case .complete(let connect):
                var target = target
                target.inspection = (MQTTInspection(version: connect.version, rights: rights), connect.packet.count)
                return .admit(ProxyAdmit(target, identity: ProxyIdentity()))
            }
        }
        proxy.onReport { [unowned self] in tell($0) }
    }

    /// The data path's root of this fixture.
    func run() -> Never {
        var event = Event()
        while true {
            shard.turn()
            while shard.next(&event) { dispatch(event) }
        }
    }

    @inline(__always)
    private func dispatch(_ event: Event) {
        if event.owner.raw >= 2, event.owner.raw <= 4 { proxy.handle(event) } else { serve(event) }
    }

    @inline(never)
    private func serve(_ event: Event) {
        if event.owner == Self.brokerOwner { broker?.handle(event) }
        guard event.owner == Self.httpOwner else { return }
        var action = http.handle(event)
        while true {
            switch action {
            case .none: return
            case .upgrade(let index): return upgrade(index)
            case .request(let index):
                http.respond(index, Response(status: 200, body: Array("\(proxy.count)\n".utf8)))
                action = http.next(index)
            case .violation(let index, let violation):
                var response = violation.problem.response
                response.closes = true
                return http.respond(index, response)
            case .late(let index), .overloaded(let index): return http.respond(index, Response(status: 503, closes: true))
            }
        }
    }

    private func upgrade(_ index: UInt32) {
        let request = http.request(index)
        var target = target
        target.subprotocols = request.all(.secWebSocketProtocol).flatMap { $0.split(separator: ",") }.map { String($0).trimmingBlanks() }
        if relaysExtensions { target.extensions = request.first(.secWebSocketExtensions) }
        let key = request.first(.secWebSocketKey) ?? ""
        let record = ConnectionRecord(
            requestID: "request", traceID: "trace", path: request.path, client: "127.0.0.1", target: "", sessionID: "")
        let taken = http.detach(index)
        guard taken.count >= 0 else { return UpgradeAnswer.fail(taken.slot, on: shard) }
        if let broker {
            if taken.leftover != .none { shard.release(taken.leftover) }
            return broker.open(taken.slot, key: key, subprotocol: target.subprotocols.first)
        }
        var session = ProxyRequest(
            client: taken.slot, webSocketKey: key, leftover: (taken.leftover, taken.start, taken.count), record: record,
            admission: firstBytes > 0 ? .firstData(subprotocol: target.subprotocols.first) : .dial(target))
        session.settings = settings
        proxy.open(session)
    }

    private func tell(_ report: ProxyReport) {
        switch report {
        case .refused(_, let status, let reason): print("refused \(status) \(reason)")
        case .opened: break
        case .denied(_, let denial): print("denied \(denial.action.label) \(denial.topic)")
        case .dialled(_, let dial): if let failure = dial.failure { print("dial \(failure)") }
        case .ended(_, let summary):
            print("ended \(summary.cause.label) from=\(summary.closeFrom.label) code=\(summary.closeCode)"
                + " up=\(summary.messagesUp)/\(summary.bytesUp) down=\(summary.messagesDown)/\(summary.bytesDown)")
        }
        fflush(nil)
    }
}

func fail(_ text: String) -> Never {
    print("sluice-proxy: \(text)")
    exit(2)
}

func read(_ path: String) -> [UInt8] {
    guard let file = fopen(path, "r") else { fail("cannot read \(path)") }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes[..<count])
}

let arguments = CommandLine.arguments
let isBroker = arguments.count > 2 && ["broker", "sink"].contains(arguments[2])
guard arguments.count > 2, let port = UInt16(arguments[1]), var address = SocketAddress("127.0.0.1", port: port) else {
    fail("usage: sluice-proxy PORT ws[s]://HOST:PORT/PATH [option=value...]")
}
var options: [String: String] = [:]
for argument in arguments.dropFirst(3) {
    let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { fail("\(argument) is not option=value") }
    options[parts[0]] = parts[1]
}
let isSecure = arguments[2].hasPrefix("wss://")
let location = (isBroker ? "ws://127.0.0.1:1/" : arguments[2]).dropFirst(isSecure ? 6 : 5)
let authority = location.prefix { $0 != "/" }
guard let colon = authority.lastIndex(of: ":"), let upstreamPort = UInt16(authority[authority.index(after: colon)...]) else {
    fail("\(arguments[2]) names no port")
}
var security: ClientSecurity?
if isSecure {
    var settings = ClientSecuritySettings()
    settings.authoritiesPath = options["ca"]
    settings.serverName = options["name"]
    if let path = options["cert"] { settings.certificate = read(path) }
    if let path = options["key"] { settings.key = read(path) }
    do { security = try ClientSecurity(settings, shards: 1) } catch { fail("\(error)") }
}
var settings = ProxySettings()
settings.replacesMasks = options["masks"] == "fresh"
settings.forwardsPings = options["ping"] == "forward"
if let value = options["dead"].flatMap(UInt64.init) { settings.deadPeerMilliseconds = value }
if let value = options["idle"].flatMap(UInt64.init) { settings.idleMilliseconds = value }
if let value = options["write"].flatMap(UInt64.init) { settings.writeMilliseconds = value }
if let value = options["max"].flatMap(UInt64.init) { settings.maximumMessageBytes = value }
if let value = options["buffer"].flatMap(Int.init) { settings.bufferBytes = value }
settings.closesAboveRate = options["throttle"] != "on"
let place = location.dropFirst(authority.count)
var target = ProxyTarget(endpoints: [
    ProxyEndpoint(
        ClientEndpoint(host: String(authority[..<colon]), port: upstreamPort, security: security),
        target: place.isEmpty ? "/" : String(place)),
])
if options["mode"] == "inspected" { target.mode = .inspected }
var rights: TopicRights?
if let count = options["rules"].flatMap(Int.init) {
    target.mode = .inspected
    var topics = TopicSettings(modes: .rules)
    for number in 1...max(1, count) {
        guard let filter = try? TopicTemplate(number == count ? "bench/#" : "devices/\(number)/up/+/#") else { fail("rules") }
        topics.rules.append(TopicRule(publish: [filter], subscribe: [filter]))
    }
    rights = TopicRights(topics, TopicIdentity(claims: .null, username: "", clientID: ""))
}
target.endsInMilliseconds = options["ends"].flatMap(UInt64.init)
if let rate = options["rate"].flatMap(Int.init), let limit = MessageRate(perSecond: rate, burst: options["burst"].flatMap(Int.init) ?? 1) {
    target.rate = (limit, MessageRateCell())
}
let descriptor = socket_listen(&address.storage, address.byteCount, 1024, false)
guard descriptor >= 0 else { fail("cannot listen on 127.0.0.1:\(port): \(String(cString: strerror(-descriptor)))") }
signal(SIGPIPE, SIG_IGN)
do {
    var lost: [String] = []
    let shard = try Shard(index: 0, ring: try Ring(entries: 4096, completions: 32768, lost: &lost))
    let server = ProxyServer(
        shard: shard, target: target, settings: settings, firstBytes: options["first"].flatMap(Int.init) ?? (rights == nil ? 0 : 1),
        relaysExtensions: options["extensions"] == "on", rights: rights,
        broker: isBroker ? Broker(shard: shard, owner: ProxyServer.brokerOwner, sinks: arguments[2] == "sink") : nil)
    shard.listen(descriptor, owner: ProxyServer.httpOwner, tag: 0)
    print("listening on 127.0.0.1:\(socket_local_port(descriptor))")
    fflush(nil)
    server.run()
} catch {
    fail("\(error)")
}
