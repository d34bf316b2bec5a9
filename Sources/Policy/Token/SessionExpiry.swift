// When a session must end because of its token or its age, and how ends that fall together are drawn apart.

/// What happens to a session when its token runs out.
public enum ExpiryRule: Sendable, Hashable {
    /// It ends at `exp` and the leeway.
    case close
    /// It ends this much later.
    case grace(seconds: Int)
    /// It goes on.
    case ignore
}

/// The end of a session, decided when it begins or gets a new token.
public struct SessionEnd: Sendable, Hashable {
    /// Why it ends.
    public enum Cause: Sendable, Hashable {
        /// The token ran out.
        case expired
        /// It reached the greatest age.
        case tooOld
    }

    /// When, milliseconds since 1970.
    public let milliseconds: Int64
    /// Why.
    public let cause: Cause

    /// An end.
    public init(milliseconds: Int64, cause: Cause) {
        self.milliseconds = milliseconds
        self.cause = cause
    }

    /// A session that lasts longer ends by itself before that; also keeps sums in range.
    private static let farMilliseconds: Int64 = 1 << 52

    /// The end of a session; nil when nothing ends it.
    public static func of(
        expirySeconds: Double?, rule: ExpiryRule, leewaySeconds: Int, startedMilliseconds: Int64, maximumSeconds: Int?
    ) -> SessionEnd? {
        var ends: [SessionEnd] = []
        if let maximumSeconds { ends.append(SessionEnd(milliseconds: startedMilliseconds + Int64(maximumSeconds) * 1000, cause: .tooOld)) }
        var grace = 0
        if case .grace(let seconds) = rule { grace = seconds }
        if rule != .ignore, let expirySeconds {
            let end = (expirySeconds + Double(leewaySeconds) + Double(grace)) * 1000
            ends.append(SessionEnd(milliseconds: end < Double(farMilliseconds) ? Int64(end) : farMilliseconds, cause: .expired))
        }
        return ends.min { $0.milliseconds < $1.milliseconds }
    }
}

/// Draws the ends of a shard's sessions apart when many fall into the same second: a crowd that logged in together would otherwise
/// reconnect together.
public struct ExpirySpread: Sendable {
    /// Ends of a second that are not put off.
    public static let endsPerSecond = 100
    /// Longest that one is put off.
    public static let spreadMilliseconds: Int64 = 5000
    /// Coprime to the spread and near its golden section, so that consecutive ends fall far apart and the whole is evenly filled.
    private static let strideMilliseconds: Int64 = 3089

    private var second = Int64.min
    private var ends: Int64 = 0

    /// Nothing has ended yet.
    public init() {}

    /// How long to put off an end that is due now; 0 for at once. To be asked once for each end.
    public mutating func delayMilliseconds(nowMilliseconds: Int64) -> Int64 {
        let current = floorSeconds(nowMilliseconds)
        if current != second { (second, ends) = (current, 0) }
        ends += 1
        let beyond = ends - Int64(Self.endsPerSecond)
        return beyond <= 0 ? 0 : 1 + beyond * Self.strideMilliseconds % Self.spreadMilliseconds
    }
}
