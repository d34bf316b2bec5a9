import CRing
import CSocket
import Glibc

/// An IPv4 or IPv6 address with its port, in the kernel's own layout (28 bytes, sockaddr_in6 or sockaddr_in).
public struct SocketAddress: Sendable {
    /// The kernel's structure. `sin6_family` tells which of the two it is.
    public var storage: sockaddr_in6

    /// The unspecified address.
    public init() { storage = sockaddr_in6() }

    /// Any address and any port of a family (AF_INET or AF_INET6).
    public init(anyOf family: Int32) {
        storage = sockaddr_in6()
        storage.sin6_family = sa_family_t(family)
    }

    /// Wraps the kernel's structure.
    public init(storage: sockaddr_in6) { self.storage = storage }

    /// Parses a numeric address; nil when it is none.
    public init?(_ text: String, port: UInt16) {
        storage = sockaddr_in6()
        guard socket_parse_address(text, port, &storage) > 0 else { return nil }
    }

    /// Builds an IPv4 address from its four bytes.
    public init(ipv4 bytes: (UInt8, UInt8, UInt8, UInt8), port: UInt16) {
        storage = sockaddr_in6()
        storage.sin6_family = sa_family_t(AF_INET)
        storage.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &storage) { raw in
            (raw[4], raw[5], raw[6], raw[7]) = bytes
        }
    }

    /// Builds an IPv6 address from its sixteen bytes.
    public init(ipv6 bytes: [UInt8], port: UInt16) {
        precondition(bytes.count == 16)
        storage = sockaddr_in6()
        storage.sin6_family = sa_family_t(AF_INET6)
        storage.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &storage) { raw in
            for index in 0..<16 { raw[8 + index] = bytes[index] }
        }
    }

    /// AF_INET or AF_INET6.
    public var family: Int32 { Int32(storage.sin6_family) }
    /// What the kernel must be told as the address's length.
    public var byteCount: UInt32 { family == AF_INET ? 16 : 28 }
    /// In host order.
    public var port: UInt16 {
        get { UInt16(bigEndian: storage.sin6_port) }
        set { storage.sin6_port = newValue.bigEndian }
    }

    /// The address's 4 or 16 bytes in network order.
    public var bytes: [UInt8] {
        withUnsafeBytes(of: storage) { raw in family == AF_INET ? Array(raw[4..<8]) : Array(raw[8..<24]) }
    }

    /// The numeric form without the port.
    public var host: String {
        var copy = storage
        var text = [CChar](repeating: 0, count: 64)
        let count = socket_format_address(&copy, &text, text.count)
        guard count > 0 else { return "?" }
        return String(decoding: text[..<Int(count)].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
