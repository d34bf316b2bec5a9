import Engine
import Synchronization

/// The inboxes of all shards, by number, so that a decision taken on one thread can wake another.
public final class ShardDirectory: Sendable {
    /// Kind of the message that says only "look at what waits for you". A message that finds the inbox full is not
    /// missed: the shard is about to read its inbox anyway, and looks then.
    public static let wakeKind: UInt32 = 0x57

    private let inboxes = Mutex<[Int: Inbox]>([:])

    /// An empty directory.
    public init() {}

    /// Names a shard's inbox.
    public func register(_ inbox: Inbox, shard: Int) { inboxes.withLock { $0[shard] = inbox } }

    /// Wakes a shard; one that is not registered is not waited for.
    public func wake(_ shard: Int) {
        guard let inbox = inboxes.withLock({ $0[shard] }) else { return }
        _ = inbox.post(Inbox.Message(kind: Self.wakeKind))
    }

    /// Wakes all shards.
    public func wakeAll() {
        for inbox in inboxes.withLock({ Array($0.values) }) { _ = inbox.post(Inbox.Message(kind: Self.wakeKind)) }
    }
}
