/// An address and a port: one end of a flow of datagrams.
public struct Endpoint: Hashable, Sendable {
    /// The address.
    public var address: IPAddress
    /// The port, in host order.
    public var port: UInt16

    /// An address with a port.
    @inline(__always)
    public init(_ address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// The address as the 16 bytes of an IPv6 address, two big-endian halves; IPv4 as `::ffff:a.b.c.d`
    /// (RFC 4291 section 2.5.5.2). Order and tables use this form.
    @inline(__always)
    public var mapped: (high: UInt64, low: UInt64) {
        address.family == .v4 ? (0, 0xFFFF_0000_0000 | address.low) : (address.high, address.low)
    }
}

extension Endpoint: CustomStringConvertible {
    /// `192.0.2.1:53` or `[2001:db8::1]:53`.
    public var description: String {
        address.family == .v4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
}
