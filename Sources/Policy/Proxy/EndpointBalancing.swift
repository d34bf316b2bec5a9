// Which of a route's upstreams a session goes to, and which is next if that one fails.

import Glibc

/// How one of several upstreams is chosen.
public enum EndpointBalancing: String, Sendable, Hashable, CaseIterable {
    /// The one with the fewest sessions for its weight.
    case leastSessions = "least_sessions"
    /// One after the other, by weight.
    case roundRobin = "round_robin"
    /// Always the same for a subject, on every instance, as long as it is there.
    case hashSubject = "hash:subject"

    /// The order in which upstreams are to be tried: all of them, the chosen one first.
    /// - Parameters:
    ///   - weights: of each upstream, at least 1.
    ///   - sessions: of each upstream now; looked at for `leastSessions`.
    ///   - turn: a count that moves on by one for each session: the place in a round, and what breaks ties.
    ///   - subject: whose session it is; nil is treated as a subject of its own for each turn.
    ///   - names: of the upstreams, the same on every instance; looked at for `hashSubject`.
    public func order(weights: [Int], sessions: [Int], turn: UInt64, subject: String?, names: [String]) -> [Int] {
        let count = weights.count
        guard count > 1 else { return Array(0..<count) }
        switch self {
        case .leastSessions:
            let first = Int(turn % UInt64(count))
            let rotated = (0..<count).map { (first + $0) % count }
            // Compared crosswise, so that no weight is divided by. A session more is counted: of two empty ones the heavier is first.
            return rotated.enumerated().sorted { left, right in
                let leftLoad = (sessions[left.element] + 1) * weights[right.element]
                let rightLoad = (sessions[right.element] + 1) * weights[left.element]
                return leftLoad == rightLoad ? left.offset < right.offset : leftLoad < rightLoad
            }.map(\.element)
        case .roundRobin:
            let first = Self.place(turn, weights)
            return (0..<count).map { (first + $0) % count }
        case .hashSubject:
            let key = subject ?? "\u{0}\(turn)"
            let scores = (0..<count).map { Self.score(key, names[$0], weights[$0]) }
            return (0..<count).sorted { scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1] }
        }
    }

    /// Smooth weighted round robin without state: the round of `sum(weights)` turns is replayed up to this one. Every turn each
    /// upstream gains its weight, and the one that has most pays the sum.
    private static func place(_ turn: UInt64, _ weights: [Int]) -> Int {
        let sum = weights.reduce(0, +)
        if weights.allSatisfy({ $0 == weights[0] }) { return Int(turn % UInt64(weights.count)) }
        var gained = [Int](repeating: 0, count: weights.count)
        var chosen = 0
        for _ in 0...Int(turn % UInt64(sum)) {
            for index in weights.indices { gained[index] += weights[index] }
            chosen = weights.indices.max { gained[$0] < gained[$1] } ?? 0
            gained[chosen] -= sum
        }
        return chosen
    }

    /// Weighted rendezvous hashing: the highest score wins, so an upstream that leaves moves only its own subjects.
    private static func score(_ key: String, _ name: String, _ weight: Int) -> Double {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in Array(key.utf8) + [0] + Array(name.utf8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        // FNV-1a alone spreads its last bytes badly; this is the finaliser of SplitMix64.
        hash = (hash ^ hash >> 30) &* 0xBF58_476D_1CE4_E5B9
        hash = (hash ^ hash >> 27) &* 0x94D0_49BB_1331_11EB
        hash ^= hash >> 31
        let unit = (Double(hash >> 11) + 0.5) / 9_007_199_254_740_992
        return -Double(weight) / log(unit)
    }
}
