import Policy
import Synchronization

/// Sessions that were revoked before they expired, known by the digest of their ids. Bounded; shared with other instances
/// when a store is configured.
///
/// A revocation is final: entries leave the table only when the session could not be valid any more. So tables of several
/// instances may be merged in any order, and one that was lost with the store is written again by whoever remembers it.
public final class RevocationTable: Sendable {
    /// Sessions that can be revoked at a time, 10 MB of memory.
    public static let entriesMaximum = 65_536

    /// Name of a session and the second, since 1970, at which it ends anyway.
    public typealias Entry = (digest: String, expirySeconds: Double)

    private struct Content {
        var expirySeconds: [String: Double] = [:]
        /// Entries that the store has not been told.
        var unsent: [String] = []
    }
    private let content = Mutex(Content())
    private let size = Atomic<Int>(0)
    private let dropped = Atomic<UInt64>(0)

    /// Nothing is revoked.
    public init() {}

    /// Number of entries.
    public var count: Int { size.load(ordering: .relaxed) }
    /// Entries that found no room.
    public var droppedCount: UInt64 { dropped.load(ordering: .relaxed) }

    /// Whether a session was revoked. Costs one load while nothing is.
    public func contains(sessionID: String) -> Bool {
        guard count > 0 else { return false }
        let digest = Digest.hexSHA256(sessionID)
        return content.withLock { $0.expirySeconds[digest] != nil }
    }

    /// Adds entries; how many were new. Those that are not `isShared` are handed to the store by `takeUnsent`.
    func insert(_ entries: [Entry], isShared: Bool, nowSeconds: Double) -> Int {
        content.withLock { content in
            var added = 0
            for entry in entries where entry.expirySeconds > nowSeconds {
                let known = content.expirySeconds[entry.digest]
                if let known, known >= entry.expirySeconds { continue }
                if known == nil {
                    if content.expirySeconds.count >= Self.entriesMaximum { removeExpired(&content, nowSeconds) }
                    guard content.expirySeconds.count < Self.entriesMaximum else {
                        dropped.add(1, ordering: .relaxed)
                        continue
                    }
                    added += 1
                }
                content.expirySeconds[entry.digest] = entry.expirySeconds
                if !isShared { content.unsent.append(entry.digest) }
            }
            size.store(content.expirySeconds.count, ordering: .relaxed)
            return added
        }
    }

    private func removeExpired(_ content: inout Content, _ nowSeconds: Double) {
        content.expirySeconds = content.expirySeconds.filter { $0.value > nowSeconds }
    }

    /// Forgets sessions that ended anyway.
    public func removeExpired(nowSeconds: Double) {
        guard count > 0 else { return }
        content.withLock { content in
            removeExpired(&content, nowSeconds)
            size.store(content.expirySeconds.count, ordering: .relaxed)
        }
    }

    /// Entries to write to the store, at most `maximum`.
    public func takeUnsent(maximum: Int) -> [Entry] {
        content.withLock { content in
            let taken = content.unsent.prefix(maximum)
            content.unsent.removeFirst(taken.count)
            return taken.compactMap { digest in content.expirySeconds[digest].map { (digest, $0) } }
        }
    }

    /// All entries are to be written again: the store may have lost them.
    public func sendAll() { content.withLock { $0.unsent = Array($0.expirySeconds.keys) } }
}
