import CSocket
import Demo
import Dispatch
import Engine
import Glibc
import HTTP
import Policy
import Ring
import SessionGateway
import Synchronization
import TCPBridge

/// A listening address as the shards serve it.
struct ListenerPlan: Sendable {
    let tag: UInt32
    let name: String
    let address: ListenAddress
    let features: FeatureSet
    let isDemoService: Bool
    /// One listening descriptor per shard.
    var descriptors: [Int32] = []
}

/// One configuration, compiled: what all shards share.
struct ServerSnapshot: Sendable {
    let configuration: Configuration
    let gateway: GatewayShared
    let bridges: BridgeShared
    let limits: SharedLimits
}

/// The running data plane.
///
/// Theory of operation. The control thread opens every listening socket, so that a taken port is known before anything
/// runs, starts one thread per shard, waits until each has its ring, and then only waits for signals and writes the log.
/// SIGTERM and SIGINT drain: each shard finishes its connections and its thread ends; when all have, the exit status is 0.
public enum Server {
    /// Serves until a signal ends it, and returns the exit status.
    public static func run(configuration: Configuration) -> Int32 {
        let logger = Logger(level: configuration.log.level, format: configuration.log.format)
        do {
            let process = try ServerProcess(configuration: configuration, logger: logger)
            return process.serve()
        } catch {
            write("sluice: \(error)\n")
            return 1
        }
    }

    private static func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// Why the server could not start: one line with the remedy.
struct StartError: Error, CustomStringConvertible {
    let description: String
}

/// How long signals may go unnoticed, and log lines unwritten.
private let controlTickMilliseconds: Int32 = 50

final class ServerProcess {
    private let logger: Logger
    private let snapshot: ServerSnapshot
    private let metrics: MetricsRegistry
    private var plans: [ListenerPlan] = []
    private var threads: [ShardThread] = []

    init(configuration: Configuration, logger: Logger) throws {
        self.logger = logger
        guard signals_block() == 0 else { throw StartError(description: "signals cannot be blocked") }
        let count = Doctor.shardCount(configuration.shards)
        plans = try ListenerPlan.open(configuration, shards: count)
        var configuration = configuration
        if let first = plans.first(where: { !$0.isDemoService }) { configuration = configuration.bound(port: first.address.port) }
        if let service = plans.first(where: { $0.isDemoService }) {
            configuration = configuration.demonstrationBound(port: service.address.port)
        }
        let metrics = MetricsRegistry()
        self.metrics = metrics
        snapshot = Self.compile(configuration, plans, metrics)
        try startShards(count)
    }

    private static func compile(_ configuration: Configuration, _ plans: [ListenerPlan], _ metrics: MetricsRegistry) -> ServerSnapshot {
        let version = configuration.gateway.version
        let document = JSONText.object([("version", version.version), ("gitSha", version.gitRevision), ("builtAt", version.builtAt)])
        let service = plans.first { $0.isDemoService }?.address ?? configuration.demo.serviceAddress
        let gateway = GatewayShared(
            settings: configuration.gateway, versionDocument: document,
            demoPage: configuration.demo.enabled ? Array(DemoPage.html.utf8) : [],
            demoConfiguration: DemoPage.configuration(host: service.host, port: service.port),
            metricsText: { metrics.text() }, clock: { MonotonicClock.seconds })
        let limits = SharedLimits()
        return ServerSnapshot(
            configuration: configuration, gateway: gateway, bridges: BridgeShared(settings: configuration.gateway.tcp, limits: limits),
            limits: limits)
    }

    private func startShards(_ count: Int) throws {
        for index in 0..<count {
            let logRing = LogRing(capacityBytes: snapshot.configuration.limits.logBufferBytesPerShard)
            logger.add(logRing, name: "shard \(index)")
            threads.append(ShardThread(index: index, snapshot: snapshot, plans: plans, logRing: logRing))
        }
        for thread in threads { try thread.start() }
        for thread in threads {
            switch thread.awaitStart() {
            case .success(let started):
                for lost in started.lostFlags { logger.log(.warn, "io_uring runs without \(lost): more kernel work per message") }
                metrics.add(started.metrics)
            case .failure(let error): throw error
            }
        }
        for thread in threads { thread.release() }
    }

    func serve() -> Int32 {
        for plan in plans {
            logger.log(.info, "listening", [
                "name": .text(plan.name), "host": .text(plan.address.host), "port": .number(Int(plan.address.port)),
                "scheme": .text("http"), "shards": .number(threads.count),
            ])
        }
        while true {
            let signal = signals_wait(controlTickMilliseconds)
            logger.flush()
            switch signal {
            case SIGTERM, SIGINT: return drain()
            case SIGHUP: logger.log(.warn, "SIGHUP ignored: this version reads its configuration at start only")
            default: break
            }
        }
    }

    private func drain() -> Int32 {
        let grace = snapshot.configuration.drainGraceMilliseconds
        logger.log(.info, "draining", ["graceMs": .number(grace)])
        for thread in threads { thread.post(.drain, UInt64(grace)) }
        let deadline = MonotonicClock.seconds + Double(grace) / 1000
        var stopped = false
        while threads.contains(where: { !$0.hasEnded }) {
            // A shard serves probes until none of them has a connection: load balancers see the 503 whichever shard they meet.
            if !stopped, metrics.slotsUsed == 0 {
                stopped = true
                for thread in threads { thread.post(.stop, 0) }
            }
            if MonotonicClock.seconds >= deadline {
                logger.flush()
                logger.log(.error, "grace is over: leaving with connections open")
                return 1
            }
            usleep(5000)
            logger.flush()
        }
        logger.flush()
        logger.log(.info, "stopped")
        return 0
    }
}

/// Seconds of the monotonic clock.
enum MonotonicClock {
    static var seconds: Double {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
