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

/// The running data plane.
///
/// Theory of operation. The control thread opens every listening socket, so that a taken port is known before anything
/// runs, starts one thread per shard, waits until each has its ring, and then only waits for signals and changed files,
/// and writes the log. SIGHUP and a changed file reload the configuration (`Reload/`); SIGUSR1 opens a log file anew.
/// SIGTERM and SIGINT drain: each shard finishes its connections and its thread ends; when all have, the exit status is 0.
public enum Server {
    /// Serves until a signal ends it, and returns the exit status.
    ///
    /// - Parameter loader: what `loaded` came from; a reload asks it again.
    public static func run(_ loaded: LoadedConfiguration, loader: ConfigurationLoader) -> Int32 {
        let logger = Logger(level: loaded.configuration.log.level, format: loaded.configuration.log.format)
        do {
            let process = try ServerProcess(loaded, loader: loader, logger: logger)
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

/// A signal this long after the first is meant to end the drain; earlier ones are the same, sent to the process and to its group, or
/// on by a supervisor.
private let repeatedSignalSeconds = 0.5

/// How long signals may go unnoticed, and log lines unwritten.
private let controlTickMilliseconds: Int32 = 50

final class ServerProcess {
    let logger: Logger
    let metrics: MetricsRegistry
    let admin: AdminHub
    let loader: ConfigurationLoader
    /// What is in force, and the sockets it listens on.
    var loaded: LoadedConfiguration
    var snapshot: ServerSnapshot
    var listeners: ListenerSet
    private var tickets: TicketRotation
    /// When the signal came that the process leaves for; nil while none has.
    private var signalledSeconds: Double?
    private(set) var threads: [ShardThread] = []
    /// The configuration the process started with: what only a restart changes is still as it says.
    let started: LoadedConfiguration
    var watch: FileWatch
    var retry = ReloadRetry()
    /// Epoch of the keys that were kept on disk last.
    var keptKeys: UInt64 = 0
    var reloads: ReloadRecord { metrics.reloads }

    init(_ loaded: LoadedConfiguration, loader: ConfigurationLoader, logger: Logger) throws {
        self.logger = logger
        self.loader = loader
        metrics = MetricsRegistry()
        admin = AdminHub(metrics: metrics)
        self.loaded = loaded
        started = loaded
        watch = FileWatch(loaded.files)
        tickets = try TicketRotation()
        listeners = ListenerSet(tickets: tickets.keys)
        guard signals_block() == 0 else { throw StartError(description: "signals cannot be blocked") }
        // Tokens of clients and the credentials of upstreams are in memory; they stay out of core dumps.
        if loaded.configuration.proxy.isConfigured, process_conceal() != 0 { throw StartError(description: "core dumps cannot be refused") }
        let count = Doctor.shardCount(loaded.configuration.shards)
        listeners = try listeners.opening(loaded.configuration, shards: count).set
        snapshot = try ServerSnapshot(
            loaded, configuration: listeners.bound(loaded.configuration), listeners: listeners.plans, hub: admin, shards: count)
        let version = snapshot.configuration.gateway.version
        metrics.describe(version: version.version, revision: version.gitRevision)
        restoreKeys()
        try startShards(count)
    }

    private func startShards(_ count: Int) throws {
        for index in 0..<count {
            let logRing = LogRing(capacityBytes: snapshot.configuration.limits.logBufferBytesPerShard)
            logger.add(logRing, name: "shard \(index)")
            metrics.add(logRing, name: "shard-\(index)")
            threads.append(ShardThread(index: index, snapshot: snapshot, logRing: logRing))
        }
        for thread in threads { try thread.start() }
        for thread in threads {
            switch thread.awaitStart() {
            case .success(let started):
                for lost in started.lostFlags { logger.log(.warn, "io_uring runs without \(lost): more kernel work per message") }
                metrics.add(started.metrics)
                admin.add(started.inbox)
            case .failure(let error): throw error
            }
        }
        for thread in threads { thread.release() }
    }

    func serve() -> Int32 {
        for plan in listeners.plans { logListening(plan) }
        logRelayURL()
        while true {
            let signal = signals_wait(controlTickMilliseconds)
            logger.flush()
            switch signal {
            case SIGTERM, SIGINT: return drain(isSignalled: true)
            case SIGHUP: reload(.signal)
            case SIGUSR1: logger.reopen()
            default: break
            }
            if watch.look() { reload(.file) }
            if retry.isDue(nowMilliseconds: Int64(MonotonicClock.seconds * 1000)) { reload(.retry) }
            if answerCommands() { return drain(isSignalled: false) }
            tickets.look()
            keepKeys()
        }
    }

    func logListening(_ plan: ListenerPlan) {
        logger.log(.info, "listening", [
            "name": .text(plan.name), "host": .text(plan.address.host), "port": .number(Int(plan.address.port)),
            "scheme": .text(plan.security == nil ? "http" : "https"), "shards": .number(threads.count),
        ])
    }

    /// Sessions of the JWT proxy that did not end in time are no failure, unless the operator wants them to be.
    private func cutShort(_ reason: String, sessions: Int) -> Int32 {
        logger.log(.warn, reason, ["sessions": .number(sessions)])
        return sessions > 0 && snapshot.configuration.proxy.settings.drain.isStrict ? Self.strictExitStatus : 0
    }

    private static let strictExitStatus: Int32 = 3
    /// Sessions that are cut at the end of a drain are counted once, and their connections are closed, before the process leaves.
    private static let cutSeconds = 0.5

    /// Says where clients reach the UDP relay, if that was configured and is not `former`.
    func logRelayURL(former: String = "") {
        let url = snapshot.configuration.udp.publicBaseURL
        if !url.isEmpty, url != former { logger.log(.info, "udp relay", ["public_base_url": .text(url)]) }
    }

    private func leave(_ reason: String) -> Int32 {
        logger.flush()
        if snapshot.configuration.proxy.isAlone {
            return cutShort(reason, sessions: snapshot.proxies.cutCount + snapshot.proxies.sessions.sessionCount)
        }
        logger.log(.error, reason)
        return 1
    }

    /// For the delay of the JWT proxy's drain clients are still let in, while load balancers learn that they should go elsewhere.
    ///
    /// - Returns: whether another signal ended the wait.
    private func announce() -> Bool {
        let configuration = snapshot.configuration.proxy
        let isUsed = configuration.isAlone || snapshot.proxies.sessions.sessionCount > 0
        guard configuration.isConfigured, configuration.settings.drain.delayMilliseconds > 0, isUsed else { return false }
        logger.log(.info, "leaving soon", ["delayMs": .number(configuration.settings.drain.delayMilliseconds)])
        for thread in threads { thread.post(.announce, 0) }
        let end = MonotonicClock.seconds + Double(configuration.settings.drain.delayMilliseconds) / 1000
        while MonotonicClock.seconds < end {
            let signal = signals_wait(controlTickMilliseconds)
            if isSignalledAgain(signal) { return true }
            if signal == SIGUSR1 { logger.reopen() }
            logger.flush()
            _ = answerCommands()
        }
        return false
    }

    /// Whether a signal ends the wait, and what lives with it: not one that comes along with the first.
    private func isSignalledAgain(_ signal: Int32) -> Bool {
        guard signal == SIGTERM || signal == SIGINT else { return false }
        let first = signalledSeconds ?? MonotonicClock.seconds
        signalledSeconds = first
        return MonotonicClock.seconds >= first + repeatedSignalSeconds
    }

    /// - Parameter isSignalled: a signal asked for it. When the admin interface did, the first signal still is none too many: that is
    ///   how a hook before the end of a pod and the end itself come.
    private func drain(isSignalled: Bool) -> Int32 {
        let grace = snapshot.configuration.drainGraceMilliseconds
        admin.isDraining = true
        signalledSeconds = isSignalled ? MonotonicClock.seconds : nil
        if announce() { return leave("signalled again: leaving with connections open") }
        logger.log(.info, "draining", ["graceMs": .number(grace)])
        for thread in threads { thread.post(.drain, UInt64(grace)) }
        let deadline = MonotonicClock.seconds + Double(grace) / 1000 + (snapshot.configuration.proxy.isAlone ? Self.cutSeconds : 0)
        var stopped = false
        while threads.contains(where: { !$0.hasEnded }) {
            // A shard serves probes until none of them has a connection: load balancers see the 503 whichever shard they meet.
            if !stopped, metrics.slotsUsed == 0 {
                stopped = true
                for thread in threads { thread.post(.stop, 0) }
            }
            if MonotonicClock.seconds >= deadline {
                return leave("grace is over: leaving with connections open")
            }
            let signal = signals_wait(5)
            if isSignalledAgain(signal) { return leave("signalled again: leaving with connections open") }
            if signal == SIGUSR1 { logger.reopen() }
            logger.flush()
            _ = answerCommands()
        }
        logger.flush()
        let cut = snapshot.proxies.cutCount
        guard cut == 0 else { return cutShort("the drain's time was over for some sessions", sessions: cut) }
        logger.log(.info, "stopped")
        return 0
    }
}
