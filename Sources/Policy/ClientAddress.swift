// Who the client is, and whether it came over TLS, when a proxy may stand in front.
//
// Both headers are believed only with TRUST_PROXY=1, which promises that the proxy in front overwrites them.

/// Rules for the effective client address and scheme.
public enum ClientAddress {
    /// The effective client address: the left-most entry of the first `X-Forwarded-For` line when the proxy is trusted
    /// and the entry is an address (brackets and a port are tolerated), else the peer. Normalised, so that one client
    /// is one key.
    public static func effective(peer: IPAddress, forwardedFor: String?, trustProxy: Bool) -> IPAddress {
        guard trustProxy, let forwardedFor, let entry = leftMost(forwardedFor), let address = parse(entry) else {
            return peer.normalized
        }
        return address.normalized
    }

    /// Whether the client's side is TLS: the connection is, or a trusted proxy says `https` in the first element of
    /// `X-Forwarded-Proto`. Decides the `Secure` attribute of the cookie.
    public static func isSecure(connectionIsTLS: Bool, forwardedProto: String?, trustProxy: Bool) -> Bool {
        if connectionIsTLS { return true }
        guard trustProxy, let forwardedProto else { return false }
        return leftMost(forwardedProto)?.lowercased() == "https"
    }

    private static func leftMost(_ list: String) -> String? {
        list.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false).first.map { String($0).trimmingBlanks() }
    }

    private static func parse(_ entry: String) -> IPAddress? {
        if let address = IPAddress(entry) { return address }
        // "[v6]", "[v6]:port" and "v4:port" are written by some proxies.
        if entry.hasPrefix("["), let close = entry.firstIndex(of: "]") {
            let rest = entry[entry.index(after: close)...]
            guard rest.isEmpty || (rest.hasPrefix(":") && decimalPort(String(rest.dropFirst())) != nil) else { return nil }
            let address = IPAddress(String(entry[entry.index(after: entry.startIndex)..<close]))
            return address?.family == .v6 ? address : nil
        }
        let parts = entry.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, decimalPort(String(parts[1])) != nil else { return nil }
        return IPAddress(String(parts[0]))
    }
}
