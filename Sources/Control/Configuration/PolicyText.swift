// Texts of the configuration that the policy layer understands.

import Policy

/// The one place where configuration texts become values of `Policy`.
enum PolicyText {
    /// `scheme://host[:port]` as the gateway compares it; nil when `text` is no origin.
    static func normalizedOrigin(_ text: String) -> String? { Origin(text)?.text }

    static func hostPattern(_ text: String) -> HostPattern? { try? HostPattern(parsing: text) }

    /// What is wrong with a host pattern, in one line; nil when it is one.
    static func hostPatternProblem(_ text: String) -> String? {
        do {
            _ = try HostPattern(parsing: text)
            return nil
        } catch {
            return error.description
        }
    }

    static func upstream(_ text: String) -> DNSUpstream? { DNSUpstream(parsing: text) }
}
