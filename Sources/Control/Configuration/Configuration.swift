// The configuration of a process: one immutable value.
//
// Theory of operation. `ConfigurationLoader` folds the layers (default < demonstration < flag < file < environment) into
// a `Configuration` and refuses the whole when anything in it is wrong. The value is then only read: a snapshot is handed to every
// shard, and a reload makes a new one. Everything here is plain data in final units (milliseconds, bytes); nothing
// has to be parsed again behind this point.

import Policy

/// One complete, valid configuration.
public struct Configuration: Sendable {
    /// How many shards (threads with a ring of their own) to start.
    public enum ShardCount: Sendable, Equatable {
        /// One per core this process may run on.
        case automatic
        case exactly(Int)
    }

    /// `shards`.
    public var shards: ShardCount = .automatic
    /// `take_over`: ports may be shared with a process that is on its way out.
    public var takesOver = false
    /// At least one. Names are unique, and so are addresses unless the port is 0.
    public var listeners: [Listener] = [Listener()]
    /// Everything the session gateway and the TCP bridge decide by.
    public var gateway = GatewaySettings()
    /// `udp`: the UDP relay.
    public var udp = RelayConfiguration()
    /// `jwt`: the JWT WebSocket proxy.
    public var proxy = ProxyConfiguration()
    /// `demo`: the demonstration page and its service.
    public var demo = Demo()
    /// `admin`: the interface for operators.
    public var admin = AdminSettings()
    /// `log`: threshold and shape of records.
    public var log = Log()
    /// `http`: how long clients may take.
    public var http = HTTPTimeouts()
    /// `limits`: what a shard may take.
    public var limits = ResourceLimits()
    /// `redis`: where limits are shared with other instances; nil: they are not.
    public var redis: RedisSettings?
    /// How long live work may finish after SIGTERM before the process leaves with status 1.
    public var drainGraceMilliseconds = 10_000

    /// The public base URL follows from the port (`bound(port:)`).
    var derivesBaseURL = true
    /// The origin allowlist follows from the public base URL.
    var derivesOrigins = true
    /// The egress rules permit the demonstration service and nothing else, because nobody wrote any.
    var confinesDemonstration = false
    /// DNS over HTTPS asks the demonstration service, because nobody named other resolvers.
    var resolvesDemonstration = false
    /// The session secret was made here. Pass it to the loader on a reload, so that sessions survive.
    public internal(set) var generatesSessionSecret = false

    /// The defaults of the product, before anything is derived or generated.
    public init() {}
}

/// One address that clients connect to.
public struct Listener: Sendable, Equatable {
    /// In logs and metrics.
    public var name = "public"
    /// Where clients connect.
    public var address = ListenAddress(host: "0.0.0.0", port: 8080)
    /// Certificates when TLS was asked for. A listener with TLS must never be served in plain text.
    public var tls: ListenerTLS?
    /// What is served here; empty means every feature that is configured.
    public var features: [Feature] = []

    /// The default listener: every IPv4 address, port 8080.
    public init() {}

    /// Whether `feature` is served on this listener.
    public func serves(_ feature: Feature) -> Bool { features.isEmpty || features.contains(feature) }
}

/// What a listener can serve in this version.
public enum Feature: String, Sendable, CaseIterable {
    case sessions, tcp, dns, udp, jwt, demo
}

/// TLS of one listener.
public struct ListenerTLS: Sendable, Equatable {
    /// A certificate chain with its key.
    public struct Certificate: Sendable, Equatable {
        /// PEM file, leaf first.
        public var certificatePath: String
        /// PEM file with the key of the leaf.
        public var keyPath: String
    }

    /// At least one; the first is the default.
    public var certificates: [Certificate]
}

/// An IP address, as text in its usual spelling, and a port. Port 0 asks the kernel for a free one.
public struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
    /// For example `0.0.0.0` or `::1`.
    public var host: String
    /// 0...65535.
    public var port: UInt16

    /// An address; `host` must be an IP address in its usual spelling.
    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Whether `host` is an IPv6 address.
    public var isVersion6: Bool { host.contains(":") }

    /// `host:port`, or `[host]:port` for IPv6.
    public var description: String { isVersion6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// The demonstration page and the service it reaches.
public struct Demo: Sendable, Equatable {
    /// Serve the page and start the service.
    public var enabled = false
    /// Where the small demonstration service listens; the demonstration permits exactly this private target. Any free port:
    /// two demonstrations on one machine do not meet.
    public var serviceAddress = ListenAddress(host: "127.0.0.1", port: 0)

    /// No demonstration.
    public init() {}
}

/// The interface for operators, on a listener of its own.
public struct AdminSettings: Sendable, Equatable {
    /// Where it listens; nil: it does not.
    public var address: ListenAddress?
    /// What clients have to show; nil only on a loopback address.
    public var token: Masked?

    /// No interface.
    public init() {}
}

/// What is logged, and how it looks.
public struct Log: Sendable, Equatable {
    /// Records below it are not written.
    public var level: LogLevel = .info
    /// One shape for the whole process.
    public var format: LogFormat = .json

    /// Threshold and shape.
    public init(level: LogLevel = .info, format: LogFormat = .json) {
        self.level = level
        self.format = format
    }
}

/// How long a client may take, in milliseconds.
public struct HTTPTimeouts: Sendable, Equatable {
    /// From the first byte of a request, or from accept, to the end of its head; then 408.
    public var headMilliseconds = 60_000
    /// From the end of the head to the end of the body; then 408.
    public var bodyMilliseconds = 60_000
    /// Between two requests; then the connection is closed. Above the 60 s of common load balancers, so that it is they who close.
    public var idleMilliseconds = 72_000

    /// The times that common clients and load balancers expect.
    public init() {}
}

/// What a shard may take. Address space is taken at start-up; memory only where a slot or a buffer was ever used.
public struct ResourceLimits: Sendable, Equatable {
    /// Connections of one shard, clients and targets together: its slots. A WebSocket with its target takes two, so this
    /// is room for 32,768.
    public var maximumConnectionsPerShard = 65_536
    /// Sockets of `/udp` on one shard, two for a guest port that uses IPv4 and IPv6. They take slots and descriptors that connections
    /// take too; 0: half of those a shard may have, so that datagrams never keep a connection out.
    public var maximumDatagramSocketsPerShard = 0
    /// Small buffers (4 KiB) of one shard: what streams receive into and what waits to be sent.
    public var smallBuffersPerShard = 65_536
    /// Bulk buffers (512 KiB) of one shard. When all are with streams, further bulk streams use small ones.
    public var bulkBuffersPerShard = 128
    /// Connections the kernel queues on a listening socket before it refuses.
    public var listenBacklog = 4096
    /// Bytes of the log ring of one shard; records that do not fit are dropped and counted.
    public var logBufferBytesPerShard = 256 << 10

    /// The limits for a machine of moderate size.
    public init() {}
}
