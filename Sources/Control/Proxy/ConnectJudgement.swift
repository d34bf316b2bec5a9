import Policy
import WebSocketProxy
import Wire

/// What a CONNECT on a route that looks into packets comes to: the rights of its client, or why there is no session.
enum ConnectJudgement {
    case accepted((demands: MQTTInspection, connectBytes: Int))
    case malformed
    /// The will's topic.
    case deniedWill(String)

    /// Judges the CONNECT at the beginning of `bytes`, as the broker will see it. The rights are compiled here, once for the session.
    init(_ bytes: Span<UInt8>, _ visitor: ProxyVisitor) {
        let route = visitor.proxyRoute
        // It was read before, or written by us: nothing is checked again but what a broker would stumble over.
        guard case .complete(let connect) = MQTTConnect.read(bytes, maximumBytes: bytes.count, acceptsPasswordAlone: true) else {
            self = .malformed
            return
        }
        func text(_ range: Range<Int>?) -> String {
            guard let range else { return "" }
            return bytes.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        }
        let rights = TopicRights(route.topics, TopicIdentity(
            claims: visitor.token?.document ?? .null, username: text(connect.username), clientID: text(connect.clientID)))
        if let will = connect.will {
            switch rights.table.publish(bytes.extracting(will.topic), qos: will.qos, isRetained: will.isRetained) {
            case .allowed: break
            case .denied:
                self = .deniedWill(String(decoding: text(will.topic).utf8.prefix(MQTTDenial.maximumTopicBytes), as: UTF8.self))
                return
            case .malformed:
                self = .malformed
                return
            }
        }
        let limits = visitor.policy.limits
        let own = visitor.detail.draft
        func chosen(_ value: Int, _ general: Int) -> Int { value == ProxyAmount.unset ? general : value }
        let demands = MQTTInspection(
            version: connect.version, rights: rights, denial: route.topics.denial,
            maximumPacketBytes: chosen(own.packetBytes, limits.packetBytes),
            maximumSubscriptions: chosen(own.subscriptions, limits.subscriptions))
        self = .accepted((demands, connect.packet.count))
    }
}
