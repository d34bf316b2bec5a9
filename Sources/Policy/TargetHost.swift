// What a target host means: an address, a name, or nothing usable.
//
// Every later decision (allow and deny lists, address rules, the resolver) works on this classification and never on
// the client's text, so a spelling cannot be judged as one thing and dialled as another.

/// A classified target host.
public enum TargetHost: Hashable, Sendable {
    /// An IP address, however it was spelt.
    case address(IPAddress)
    /// A host name: ASCII, lower-case, no trailing dot, 1...253 bytes, labels of letters, digits and inner hyphens.
    case name(String)
    /// Neither.
    case malformed

    /// Longest host name (RFC 1035 section 2.3.4, without the root) and label.
    static let maximumNameBytes = 253
    static let maximumLabelBytes = 63
    /// Longest text worth looking at: the longest host a client may send (`TCPQuery.maximumHostCharacters`) in UTF-8.
    static let maximumTextBytes = 4096

    /// Classifies a host as sent by a client or written in a pattern.
    public init(classifying text: String) {
        guard text.utf8.count <= Self.maximumTextBytes else { self = .malformed; return }
        var host = text.trimmingBlanks()
        if host.utf8.first == UInt8(ascii: "["), host.utf8.last == UInt8(ascii: "]"), host.utf8.count >= 2 {
            host = String(decoding: host.utf8.dropFirst().dropLast(), as: UTF8.self)
        }
        // Percent signs are escapes nobody should have left in, or IPv6 zones, which name an interface of this machine.
        guard !host.isEmpty, !host.utf8.contains(UInt8(ascii: "%")) else { self = .malformed; return }
        if let address = IPAddress(host) ?? LegacyIPv4.target(host) { self = .address(address); return }
        guard let ascii = IDNA.toASCII(host) else { self = .malformed; return }
        var name = ascii[...]
        while name.hasSuffix(".") { name.removeLast() }
        if let address = IPAddress(String(name)) ?? LegacyIPv4.target(String(name)) { self = .address(address); return }
        self = Self.isHostName(name) ? .name(String(name)) : .malformed
    }

    /// Letters, digits and inner hyphens (RFC 1123 section 2.1), and a last label that is not a number: such names
    /// cannot exist in the DNS root and are failed attempts at an address.
    private static func isHostName(_ name: Substring) -> Bool {
        guard name.utf8.count >= 1, name.utf8.count <= maximumNameBytes else { return false }
        for label in name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard label.count >= 1, label.count <= maximumLabelBytes else { return false }
            guard label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-") else { return false }
            for byte in label {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): continue
                default: return false
                }
            }
        }
        return LegacyIPv4.webHost(String(name)) == .notNumeric
    }
}
