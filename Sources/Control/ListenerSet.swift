import CSocket
import Engine
import Glibc
import SessionGateway

/// A listening address as the shards serve it.
struct ListenerPlan: Sendable {
    /// Who answers on a listener.
    enum Kind: Sendable {
        case gateway, relay, admin, demoService
    }

    /// Names the listener for as long as the process runs; never given twice.
    let tag: UInt32
    var kind: Kind
    var name: String
    /// As configured: port 0 asked for a free one.
    let configured: ListenAddress
    /// As bound.
    let address: ListenAddress
    var features: FeatureSet
    /// What it encrypts with; nil serves plain text.
    var security: ListenerSecurity?
    /// One listening descriptor per shard. They are the shards' once these were told.
    var descriptors: [Int32] = []

    /// Who the shard gives accepted connections to.
    var owner: Owner {
        switch kind {
        case .gateway, .admin: StreamOwner.http
        case .relay: StreamOwner.relayHTTP
        case .demoService: StreamOwner.demoService
        }
    }
}

/// The listeners of a configuration, with their sockets.
///
/// Theory of operation. The control thread opens sockets, so that a taken port is known before anything changes; the
/// shards own them from then on. On a reload a listener whose address stays keeps its sockets, whatever else of it
/// changed: nothing that is on its way to it is lost. New sockets are all opened before the first shard is told.
struct ListenerSet {
    /// What one configuration wants to listen on.
    private struct Wanted {
        let kind: ListenerPlan.Kind
        let name: String
        let address: ListenAddress
        let features: FeatureSet
        var tls: ListenerTLS?
    }

    private(set) var plans: [ListenerPlan] = []
    private var nextTag: UInt32 = 0
    private let tickets: TLSTicketKeys?

    /// An empty set; its TLS listeners share one set of ticket keys.
    init(tickets: TLSTicketKeys? = nil) { self.tickets = tickets }

    /// What `opening` came to: the set that comes next, and how it differs.
    struct Change {
        var set: ListenerSet
        var added: [ListenerPlan] = []
        var removed: [ListenerPlan] = []
        /// Listeners whose certificates are others, by name.
        var resecured: [String] = []

        /// Closes what was opened, when the change is not carried out.
        func abandon() {
            for plan in added { plan.descriptors.forEach(descriptor_close) }
        }
    }

    /// Opens what is new in a configuration, or nothing at all.
    func opening(_ configuration: Configuration, shards: Int) throws(StartError) -> Change {
        var change = Change(set: self)
        change.set.plans = []
        do throws(StartError) {
            for wanted in Self.wanted(configuration) {
                if var kept = plans.first(where: { $0.isServing(wanted.kind, wanted.address, wanted.name) }) {
                    kept.kind = wanted.kind
                    kept.name = wanted.name
                    kept.features = wanted.features
                    let former = kept.security
                    kept.security = try ListenerSecurity.make(wanted.tls, wanted.name, tickets, shards: shards, former: former)
                    if kept.security !== former { change.resecured.append(wanted.name) }
                    change.set.plans.append(kept)
                    continue
                }
                let plan = try open(
                    wanted, tag: change.set.nextTag, configuration.limits.listenBacklog, shards, takesOver: configuration.takesOver)
                change.set.nextTag += 1
                change.set.plans.append(plan)
                change.added.append(plan)
            }
        } catch {
            change.abandon()
            throw error
        }
        change.removed = plans.filter { former in !change.set.plans.contains { $0.tag == former.tag } }
        guard change.set.plans.count + change.removed.count <= EngineLimits.listenersMaximum else {
            change.abandon()
            throw StartError(description: "listeners: at most \(EngineLimits.listenersMaximum) can be open or closing at a time")
        }
        return change
    }

    /// Has the kernel keep as many connections waiting as `backlog` says, on listeners that stay too (listen(2) again).
    func apply(backlog: Int) {
        for descriptor in plans.flatMap(\.descriptors) { _ = Glibc.listen(descriptor, Int32(clamping: backlog)) }
    }

    /// A configuration with the ports that were bound where it asked for any.
    func bound(_ configuration: Configuration) -> Configuration {
        var configuration = configuration
        if let first = plans.first(where: { $0.kind == .gateway }) { configuration = configuration.bound(port: first.address.port) }
        if let service = plans.first(where: { $0.kind == .demoService }) {
            configuration = configuration.demonstrationBound(port: service.address.port)
        }
        return configuration
    }

    private static func wanted(_ configuration: Configuration) -> [Wanted] {
        var wanted: [Wanted] = configuration.listeners.map { listener in
            var features: FeatureSet = []
            if listener.serves(.sessions) { features.insert(.sessions) }
            if listener.serves(.tcp) { features.insert(.tcp) }
            if listener.serves(.dns) { features.insert(.dns) }
            if listener.serves(.udp) { features.insert(.udp) }
            if listener.serves(.jwt), configuration.proxy.isConfigured { features.insert(.jwt) }
            if listener.serves(.demo), configuration.demo.enabled { features.insert(.demo) }
            let kind: ListenerPlan.Kind = listener.features == [.udp] ? .relay : .gateway
            return Wanted(kind: kind, name: listener.name, address: listener.address, features: features, tls: listener.tls)
        }
        if let address = configuration.admin.address {
            wanted.append(Wanted(kind: .admin, name: "admin", address: address, features: [.admin]))
        }
        if configuration.demo.enabled {
            wanted.append(Wanted(kind: .demoService, name: "demo service", address: configuration.demo.serviceAddress, features: []))
        }
        return wanted
    }

    private func open(
        _ wanted: Wanted, tag: UInt32, _ backlog: Int, _ shards: Int, takesOver: Bool
    ) throws(StartError) -> ListenerPlan {
        let (name, address) = (wanted.name, wanted.address)
        guard var socketAddress = SocketAddress(address.host, port: address.port) else {
            throw StartError(description: "listener `\(name)`: `\(address.host)` is not a numeric IPv4 or IPv6 address")
        }
        let security = try ListenerSecurity.make(wanted.tls, name, tickets, shards: shards, former: nil)
        // Sockets that share a port would also share it with another process of the same user: a first socket that does
        // not share tells whether the port is free.
        // A port that is ours already, on another address, needs no such test, and would not pass it; nor would one that is taken over
        // from a process that is still there. Which port a zero stands for only it tells.
        if !plans.contains(where: { $0.address.port == address.port }), !takesOver || address.port == 0 {
            let probe = try Self.listen(&socketAddress, backlog, share: false, name, address)
            socketAddress.port = UInt16(socket_local_port(probe))
            descriptor_close(probe)
        }
        let port = socketAddress.port
        var descriptors: [Int32] = []
        do throws(StartError) {
            for _ in 0..<shards { descriptors.append(try Self.listen(&socketAddress, backlog, share: true, name, address)) }
        } catch {
            descriptors.forEach(descriptor_close)
            throw error
        }
        return ListenerPlan(tag: tag, kind: wanted.kind, name: name, configured: address,
                            address: ListenAddress(host: address.host, port: port), features: wanted.features, security: security,
                            descriptors: descriptors)
    }

    private static func listen(_ socketAddress: inout SocketAddress, _ backlog: Int, share: Bool, _ name: String,
                               _ address: ListenAddress) throws(StartError) -> Int32 {
        let descriptor = socket_listen(&socketAddress.storage, socketAddress.byteCount, Int32(clamping: backlog), share)
        guard descriptor < 0 else { return descriptor }
        throw StartError(description: "listener `\(name)`: cannot listen on \(address): \(reason(-descriptor, address))")
    }

    private static func reason(_ code: Int32, _ address: ListenAddress) -> String {
        switch code {
        case EADDRINUSE: "the port is taken. Stop the process that has it (`ss -ltnp 'sport = :\(address.port)'`) or choose another port"
        case EACCES, EPERM: "no permission. Ports below 1024 need CAP_NET_BIND_SERVICE; choose another port or grant it"
        case EADDRNOTAVAIL: "no interface has this address"
        default: String(cString: strerror(code))
        }
    }
}

extension ListenerPlan {
    /// Whether this listener is the one meant. Listeners that asked for any free port are told apart by their names.
    func isServing(_ kind: Kind, _ address: ListenAddress, _ name: String) -> Bool {
        let isSameServer = [Kind.demoService, .relay].allSatisfy { (self.kind == $0) == (kind == $0) }
        return isSameServer && configured == address && (address.port != 0 || self.name == name)
    }
}
