// Texts of the configuration that the policy layer understands.

import Policy

/// The one place where configuration texts become values of `Policy`.
enum PolicyText {
    /// `scheme://host[:port]` as the gateway compares it; nil when `text` is no origin.
    static func normalizedOrigin(_ text: String) -> String? { Origin.normalize(text) }

    static func hostPattern(_ text: String) -> HostPattern? { try? HostPattern(parsing: text) }

    static func upstream(_ text: String) -> DNSUpstream? { DNSUpstream(parsing: text) }
}
