import Synchronization

/// When each shard's loop last came round: a process whose shards do not is not healthy, though one of them answers (specification,
/// section 21.1).
final class ShardBeats: Sendable {
    /// A loop that has not come round for this long does not answer. They do every `ShardProxy.tickMilliseconds`.
    static let patienceMilliseconds: Int64 = 2000

    private let beats = Mutex<[Int: Int64]>([:])

    /// A shard's loop came round.
    func beat(_ shard: Int, nowMilliseconds: Int64) { beats.withLock { $0[shard] = nowMilliseconds } }

    /// A shard has nothing more to tell: it serves no proxy, or has drained.
    func rest(_ shard: Int) { _ = beats.withLock { $0.removeValue(forKey: shard) } }

    /// Whether every shard that tells has done so within the patience.
    func areAlive(nowMilliseconds: Int64) -> Bool {
        beats.withLock { $0.values.allSatisfy { nowMilliseconds - $0 < Self.patienceMilliseconds } }
    }
}
