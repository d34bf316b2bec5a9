import Engine

/// What one shard's gateway refused, by reason; any thread may read.
public struct GatewayCounters: @unchecked Sendable {
    /// A reason. The raw value is the counter's place.
    public enum Reason: Int, CaseIterable, Sendable {
        // Plain requests.
        case requestOrigin, requestRateLimited, relayTokenRateLimited, requestWhileDraining
        case requestMalformed, requestLate, requestOverload
        // Upgrades, before a feature saw them.
        case upgradeWhileDraining, upgradeNotFound, upgradeMalformed, upgradeUnauthorized, upgradeForbidden, upgradeTargetTooLong
        case upgradeOther

        /// The value of the label `reason`.
        public var name: StaticString {
            switch self {
            case .requestOrigin: "origin"
            case .requestRateLimited, .relayTokenRateLimited: "rate_limit"
            case .requestWhileDraining, .upgradeWhileDraining: "draining"
            case .requestMalformed, .upgradeMalformed: "malformed"
            case .requestLate: "timeout"
            case .requestOverload: "overload"
            case .upgradeNotFound: "not_found"
            case .upgradeUnauthorized: "unauthorized"
            case .upgradeForbidden: "forbidden"
            case .upgradeTargetTooLong: "target_too_long"
            case .upgradeOther: "other"
            }
        }

        /// Whether it is about an upgrade.
        public var isUpgrade: Bool { rawValue >= Reason.upgradeWhileDraining.rawValue }

        /// The reason of an upgrade's refusal.
        public init(upgradeStatus status: Int) {
            self =
                switch status {
                case 400: .upgradeMalformed
                case 401: .upgradeUnauthorized
                case 403: .upgradeForbidden
                case 404: .upgradeNotFound
                case 414: .upgradeTargetTooLong
                case 503: .upgradeWhileDraining
                default: .upgradeOther
                }
        }
    }

    private let words = CounterBlock(count: Reason.allCases.count)

    /// Counts one refusal. The shard's thread only.
    public func add(_ reason: Reason) { words.add(reason.rawValue, 1) }

    /// Refusals so far, from any thread.
    public func read(_ reason: Reason) -> UInt64 { words.read(reason.rawValue) }
}
