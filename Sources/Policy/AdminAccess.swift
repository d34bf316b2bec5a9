// Who may use the admin interface.

/// Decides over requests to the admin interface.
///
/// With a token, whoever shows it may. Without one only programs on this machine may, and the interface listens on a
/// loopback address. A browser on this machine also reaches that address, with pages of strangers in it: what a page sends
/// elsewhere names its Origin or its site, and a page whose own name was made to point to 127.0.0.1 sends that name as Host.
public struct AdminAccess: Sendable, Equatable {
    /// What a request came to.
    public enum Verdict: Sendable, Equatable {
        case allowed
        /// 401: no token, or another one.
        case unauthorized
        /// 403 and why.
        case forbidden(String)
    }

    private let token: [UInt8]?

    /// - Parameter token: nil when there is none.
    public init(token: String?) { self.token = token.map { Array($0.utf8) } }

    /// Whether there is a token: then it may be asked from elsewhere.
    public var hasToken: Bool { token != nil }

    /// Judges a request by all values of the fields that count.
    public func judge(authorization: [String], origins: [String], hosts: [String], fetchSites: [String]) -> Verdict {
        if let token {
            guard authorization.count == 1, let shown = Self.bearer(authorization[0]), Digest.constantTimeEqual(shown, token) else {
                return .unauthorized
            }
            return .allowed
        }
        if !origins.isEmpty { return .forbidden("requests of web pages are refused; set admin.token to allow other clients") }
        if fetchSites.contains(where: { $0 != "none" && $0 != "same-origin" }) {
            return .forbidden("requests of other sites' pages are refused")
        }
        guard hosts.count == 1, Self.isLoopback(hosts[0]) else {
            return .forbidden("the Host must be localhost or a loopback address while admin.token is not set")
        }
        return .allowed
    }

    /// The token of `Bearer TOKEN`, RFC 6750 section 2.1. The scheme's name is compared in any case (RFC 9110 section 11.1).
    static func bearer(_ value: String) -> [UInt8]? {
        let bytes = Array(value.utf8)
        guard bytes.count > 7, value.prefix(7).lowercased() == "bearer " else { return nil }
        return Array(bytes[7...].drop { $0 == 0x20 })
    }

    /// Whether a Host value, with or without port, names this machine for itself.
    static func isLoopback(_ host: String) -> Bool {
        var name = Substring(host)
        if name.hasPrefix("[") {
            guard let end = name.firstIndex(of: "]") else { return false }
            guard isPort(name[name.index(after: end)...]) else { return false }
            return IPAddress(String(name[name.index(after: name.startIndex)..<end])).map(isLoopbackAddress) ?? false
        }
        if let colon = name.firstIndex(of: ":") {
            guard isPort(name[colon...]) else { return false }
            name = name[..<colon]
        }
        return name.lowercased() == "localhost" || (IPAddress(String(name)).map(isLoopbackAddress) ?? false)
    }

    /// Whether an address reaches no further than this machine: 127.0.0.0/8 and ::1.
    public static func isLoopbackAddress(_ address: IPAddress) -> Bool {
        let bytes = address.bytes
        return bytes.count == 4 ? bytes[0] == 127 : bytes.dropLast().allSatisfy { $0 == 0 } && bytes.last == 1
    }

    private static func isPort(_ text: Substring) -> Bool {
        text.isEmpty || (text.hasPrefix(":") && UInt16(text.dropFirst()) != nil)
    }
}
