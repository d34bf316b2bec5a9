import CSocket
import Dispatch
import Engine
import Glibc
import Ring
import Synchronization

/// A shard's thread, from the control thread's side.
final class ShardThread: @unchecked Sendable {
    /// What a started shard offers other threads.
    struct Started: Sendable {
        let metrics: ShardMetrics
        let inbox: Inbox
        let lostFlags: [String]
    }

    private let index: Int
    /// What the shard starts with; the thread lets it go once it has taken it.
    private var snapshot: ServerSnapshot?
    private let logRing: LogRing
    private let status = ShardStatus()
    private let ready = DispatchSemaphore(value: 0)
    private let go = DispatchSemaphore(value: 0)
    private let outcome = Mutex<Result<Started, StartError>?>(nil)
    private let ended = Atomic<Bool>(false)
    private var thread: UInt64 = 0

    init(index: Int, snapshot: ServerSnapshot, logRing: LogRing) {
        self.index = index
        self.snapshot = snapshot
        self.logRing = logRing
    }

    /// Whether the loop has ended.
    var hasEnded: Bool { ended.load(ordering: .acquiring) }

    /// The generation of the configuration the shard has taken last.
    var generation: UInt64 { status.generation }

    func start() throws {
        let argument = Unmanaged.passRetained(self).toOpaque()
        let result = thread_start({ Unmanaged<ShardThread>.fromOpaque($0!).takeRetainedValue().body() }, argument, &thread)
        guard result == 0 else { throw StartError(description: "no thread for shard \(index): \(String(cString: strerror(-result)))") }
    }

    /// Waits until the shard has its ring, or could not get one.
    func awaitStart() -> Result<Started, StartError> {
        ready.wait()
        return outcome.withLock { $0! }
    }

    /// Lets the shard serve; called when all shards have started.
    func release() { go.signal() }

    func post(_ message: ShardMessage, _ first: UInt64 = 0, object: (any AnyObject & Sendable)? = nil) {
        let inbox = outcome.withLock { outcome -> Inbox? in
            if case .success(let started) = outcome { return started.inbox }
            return nil
        }
        // Full only when a thousand messages wait; the shard is about to read them.
        while let inbox, !inbox.post(Inbox.Message(kind: message.rawValue, first: first, object: object)) { usleep(1000) }
    }

    private func body() {
        _ = thread_name("sluice-shard-\(index)")
        open()?.run()
        ended.store(true, ordering: .releasing)
    }

    /// Builds the shard, and waits until all have been built.
    private func open() -> ShardLoop? {
        guard let snapshot else { preconditionFailure("a shard starts once") }
        self.snapshot = nil
        let processor = processor_allowed(Int32(index))
        if processor >= 0, snapshot.configuration.shards == .automatic { _ = thread_pin(processor) }
        do {
            var lost: [String] = []
            let ring = try Ring(entries: EngineLimits.submissionEntries, completions: EngineLimits.completionEntries, lost: &lost)
            let shard = try Shard(index: index, ring: ring, sizes: Self.sizes(snapshot.configuration.limits))
            let loop = ShardLoop(shard: shard, snapshot: snapshot, logRing: logRing, status: status)
            var metrics = ShardMetrics(
                index: index, shard: shard, bridge: loop.bridge.counters, mux: loop.mux.counters, relay: loop.relay.counters,
                proxy: loop.proxy.sessions.counters, gateway: loop.gateway,
                dns: loop.dns.metrics)
            metrics.store = loop.store.map { StoreMetrics(counters: $0.counters, limits: snapshot.limits) }
            metrics.postgres = loop.postgres?.counters
            outcome.withLock { $0 = .success(Started(metrics: metrics, inbox: shard.inbox, lostFlags: lost)) }
            ready.signal()
            go.wait()
            loop.apply(snapshot)
            return loop
        } catch {
            outcome.withLock { $0 = .failure(StartError(description: "shard \(index): \(error)")) }
            ready.signal()
            return nil
        }
    }

    private static func sizes(_ limits: ResourceLimits) -> ShardSizes {
        var sizes = ShardSizes()
        sizes.slots = limits.maximumConnectionsPerShard
        sizes.smallBuffers = limits.smallBuffersPerShard
        sizes.bulkBuffers = limits.bulkBuffersPerShard
        return sizes
    }
}

/// What a shard tells the control thread of itself.
final class ShardStatus: Sendable {
    private let taken = Atomic<UInt64>(0)

    /// The generation of the configuration the shard has taken last.
    var generation: UInt64 { taken.load(ordering: .acquiring) }

    func acknowledge(_ generation: UInt64) { taken.store(generation, ordering: .releasing) }
}
