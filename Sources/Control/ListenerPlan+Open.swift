import CSocket
import Engine
import Glibc
import SessionGateway

extension ListenerPlan {
    /// Opens the listening sockets of every listener, one per shard, or none at all.
    static func open(_ configuration: Configuration, shards: Int) throws -> [ListenerPlan] {
        var plans: [ListenerPlan] = []
        for (index, listener) in configuration.listeners.enumerated() {
            var features: FeatureSet = []
            if listener.serves(.sessions) { features.insert(.sessions) }
            if listener.serves(.tcp) { features.insert(.tcp) }
            if listener.serves(.demo), configuration.demo.enabled { features.insert(.demo) }
            plans.append(
                try open(tag: UInt32(index), name: listener.name, address: listener.address, features: features, isDemo: false,
                         configuration, shards))
        }
        if configuration.demo.enabled {
            plans.append(
                try open(tag: UInt32(plans.count), name: "demo service", address: configuration.demo.serviceAddress, features: [],
                         isDemo: true, configuration, shards))
        }
        return plans
    }

    private static func open(tag: UInt32, name: String, address: ListenAddress, features: FeatureSet, isDemo: Bool,
                             _ configuration: Configuration, _ shards: Int) throws -> ListenerPlan {
        guard var socketAddress = SocketAddress(address.host, port: address.port) else {
            throw StartError(description: "listener `\(name)`: `\(address.host)` is not a numeric IPv4 or IPv6 address")
        }
        let backlog = Int32(clamping: configuration.limits.listenBacklog)
        // Sockets that share a port would also share it with another process of the same user: a first socket that does
        // not share tells whether the port is free.
        let probe = try listen(&socketAddress, backlog, share: false, name, address)
        let port = UInt16(socket_local_port(probe))
        descriptor_close(probe)
        socketAddress.port = port
        var plan = ListenerPlan(tag: tag, name: name, address: ListenAddress(host: address.host, port: port), features: features,
                                isDemoService: isDemo)
        for _ in 0..<shards { plan.descriptors.append(try listen(&socketAddress, backlog, share: true, name, address)) }
        return plan
    }

    private static func listen(_ socketAddress: inout SocketAddress, _ backlog: Int32, share: Bool, _ name: String,
                               _ address: ListenAddress) throws -> Int32 {
        let descriptor = socket_listen(&socketAddress.storage, socketAddress.byteCount, backlog, share)
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
