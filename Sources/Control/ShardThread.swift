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
    private let snapshot: ServerSnapshot
    private let plans: [ListenerPlan]
    private let logRing: LogRing
    private let ready = DispatchSemaphore(value: 0)
    private let go = DispatchSemaphore(value: 0)
    private let outcome = Mutex<Result<Started, StartError>?>(nil)
    private let ended = Atomic<Bool>(false)
    private var thread: UInt64 = 0

    init(index: Int, snapshot: ServerSnapshot, plans: [ListenerPlan], logRing: LogRing) {
        self.index = index
        self.snapshot = snapshot
        self.plans = plans
        self.logRing = logRing
    }

    /// Whether the loop has ended.
    var hasEnded: Bool { ended.load(ordering: .acquiring) }

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

    func post(_ message: ShardMessage, _ first: UInt64) {
        let inbox = outcome.withLock { outcome -> Inbox? in
            if case .success(let started) = outcome { return started.inbox }
            return nil
        }
        // Full only when a thousand messages wait; the shard is about to read them.
        while let inbox, !inbox.post(Inbox.Message(kind: message.rawValue, first: first)) { usleep(1000) }
    }

    private func body() {
        _ = thread_name("sluice-shard-\(index)")
        let processor = processor_allowed(Int32(index))
        if processor >= 0, snapshot.configuration.shards == .automatic { _ = thread_pin(processor) }
        do {
            var lost: [String] = []
            let ring = try Ring(entries: EngineLimits.submissionEntries, completions: EngineLimits.completionEntries, lost: &lost)
            let shard = try Shard(index: index, ring: ring, sizes: sizes)
            let loop = ShardLoop(shard: shard, snapshot: snapshot, logRing: logRing, listeners: plans)
            let metrics = ShardMetrics(index: index, shard: shard, bridge: loop.bridge.counters, requests: loop.gateway.metrics)
            outcome.withLock { $0 = .success(Started(metrics: metrics, inbox: shard.inbox, lostFlags: lost)) }
            ready.signal()
            go.wait()
            for plan in plans {
                shard.listen(plan.descriptors[index], owner: plan.isDemoService ? StreamOwner.demoService : StreamOwner.http, tag: plan.tag)
            }
            loop.run()
        } catch {
            outcome.withLock { $0 = .failure(StartError(description: "shard \(index): \(error)")) }
            ready.signal()
        }
        ended.store(true, ordering: .releasing)
    }

    private var sizes: ShardSizes {
        let limits = snapshot.configuration.limits
        var sizes = ShardSizes()
        sizes.slots = limits.maximumConnectionsPerShard
        sizes.smallBuffers = limits.smallBuffersPerShard
        sizes.bulkBuffers = limits.bulkBuffersPerShard
        return sizes
    }
}
