import Glibc
import HTTP
import Policy
import Wire

/// Sessions of cookies that were verified lately, on one shard.
///
/// Verifying a token costs two passes of SHA-256 and reading JSON; a client sends the same cookie with every request. A
/// cookie line is found by a keyed hash of all its bytes, so how long a comparison takes tells nothing about a token.
/// Only good sessions are kept, each until it expires, so that guesses push nobody out but by hash. A new configuration
/// forgets all of them.
final class SessionCache {
    /// Lines held; two that meet in a place take turns.
    private static let places = 1024
    /// Longest line held: a session cookie among a few others.
    private static let lineBytes = 1024

    private struct Entry {
        var hash = 0
        var line: [UInt8] = []
        var session: SessionToken
    }

    private var entries = [Entry?](repeating: nil, count: SessionCache.places)

    private static func hash(_ line: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: line)
        return hasher.finalize()
    }

    /// The session of a cookie line that was verified before and has not expired.
    func find(_ line: UnsafeRawBufferPointer, nowMilliseconds: Int64) -> SessionToken? {
        guard line.count <= Self.lineBytes, let address = line.baseAddress else { return nil }
        let hash = Self.hash(line)
        let place = hash & (Self.places - 1)
        guard let entry = entries[place], entry.hash == hash, entry.line.count == line.count,
            entry.line.withUnsafeBytes({ memcmp($0.baseAddress!, address, line.count) }) == 0
        else { return nil }
        guard entry.session.expirySeconds * 1000 > Double(nowMilliseconds) else {
            entries[place] = nil
            return nil
        }
        return entry.session
    }

    /// Keeps a session that was just verified.
    func store(_ line: UnsafeRawBufferPointer, _ session: SessionToken) {
        guard line.count <= Self.lineBytes, !line.isEmpty else { return }
        let hash = Self.hash(line)
        entries[hash & (Self.places - 1)] = Entry(hash: hash, line: Array(line), session: session)
    }

    /// Forgets everything: another secret may be in force. Revocations are the caller's to look up.
    func forget() { entries = [Entry?](repeating: nil, count: Self.places) }
}
