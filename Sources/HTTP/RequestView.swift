import Engine
import Glibc
import Policy
import Wire

/// A complete request as its handler sees it. Valid only while it is handled: it points into the connection's input.
public struct RequestView {
    /// The parsed head; ranges in it are offsets into `bytes`.
    public let head: UnsafePointer<RequestHead>
    /// The request's bytes, head and whatever came behind it.
    public let bytes: UnsafeRawBufferPointer
    /// The decoded body.
    public let body: UnsafeRawBufferPointer
    /// The peer of the socket.
    public let peer: SocketAddress
    /// Number of the listener the connection came in on.
    public let listener: UInt32
    /// Whether it came over TLS that ends here.
    public let isSecure: Bool

    /// The bytes of a range as a string; invalid UTF-8 becomes U+FFFD.
    public func string(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    /// Value of the field's first occurrence.
    public func first(_ field: KnownField) -> String? { head.pointee.first(field).map { string(head.pointee.value($0)) } }

    /// Values of all occurrences in wire order.
    public func all(_ field: KnownField) -> [String] {
        var values: [String] = []
        var next = head.pointee.first(field)
        while let index = next {
            values.append(string(head.pointee.value(index)))
            next = head.pointee.next(field, after: index)
        }
        return values
    }

    /// How often a field occurs.
    public func count(_ field: KnownField) -> Int { head.pointee.count(of: field) }

    /// The peer's address alone.
    public var peerAddress: IPAddress { peer.ipAddress }
    /// The method.
    public var method: HTTPMethod { head.pointee.method }
    /// The path as it was sent.
    public var path: String { string(head.pointee.path) }
    /// The path's bytes.
    public var pathBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[head.pointee.path]) }
    /// The query as it was sent, without `?`.
    public var query: Range<Int> { head.pointee.query }
}

extension SocketAddress {
    /// The address without the port.
    public var ipAddress: IPAddress {
        withUnsafeBytes(of: storage) { raw in
            if raw.loadUnaligned(as: UInt16.self) == UInt16(AF_INET6) {
                return IPAddress(v6High: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
                                 low: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self)))
            }
            return IPAddress(v4: UInt32(bigEndian: raw.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
        }
    }
}
