// Theory of operation
//
// A relay frame is one message of a reliable or unreliable channel and carries one UDP payload. The header stands in front of the
// payload, so a frame is read where it lies and the payload is sent from there; a reply's header goes into the headroom in front of
// the datagram that arrived, and a WebSocket header in front of that:
//
//     | ....... headroom ....... | WebSocket 2…4 | relay header 8, 12 or 24 | payload |
//                                                                           ^ end
//
// Nothing here depends on earlier frames, and nothing can fail but the frame itself.

/// The two header layouts.
public enum RelayVersion: UInt8, Sendable {
    /// `| guest port 2 | remote IPv4 4 | remote port 2 |`
    case v1 = 1
    /// `| A2 | 02 | family 4 or 6 | type 0 | guest port 2 | remote 4 or 16 | remote port 2 |`
    case v2 = 2

    /// The layout of a frame to the client. `v2Seen`: this attachment has delivered a well-formed version 2 frame. Guest port 0xA202
    /// gets version 2 in any case: as version 1 its frames would read as version 2, and only a client that writes that uses the port.
    @inline(__always)
    public static func toClient(_ family: IPAddress.Family, guestPort: UInt16, prefersV2: Bool, v2Seen: Bool) -> RelayVersion {
        family == .v6 || (prefersV2 && v2Seen) || guestPort == RelayFrame.portWithoutV1 ? .v2 : .v1
    }
}

/// Why bytes are no frame.
public enum RelayFault: UInt8, Sendable, CustomStringConvertible {
    /// The header does not fit.
    case tooShort
    /// A version 2 frame that is no datagram.
    case messageType
    /// Neither IPv4 nor IPv6.
    case addressFamily

    /// A few words.
    public var description: String {
        switch self {
        case .tooShort: "frame too short"
        case .messageType: "unsupported message type"
        case .addressFamily: "unknown address family"
        }
    }
}

/// The header of a frame. All integers on the wire are big-endian.
public struct RelayHeader: Sendable, Equatable {
    /// How it is written.
    public var version: RelayVersion
    /// Bytes in front of the payload: 8, 12 or 24. The payload is the rest of the message.
    public var headerBytes: Int
    /// Client to relay: the guest's source port. Relay to client: its destination port.
    public var guestPort: UInt16
    /// Client to relay: the destination. Relay to client: the source. An IPv4-mapped address has become IPv4.
    public var remote: Endpoint

    /// A header of these parts.
    @inline(__always)
    public init(version: RelayVersion, headerBytes: Int, guestPort: UInt16, remote: Endpoint) {
        self.version = version
        self.headerBytes = headerBytes
        self.guestPort = guestPort
        self.remote = remote
    }
}

/// What a message is.
public enum RelayMessage: Sendable, Equatable {
    /// A frame whose payload is within the limit.
    case frame(RelayHeader)
    /// A frame whose payload is longer than allowed: drop it. It does not count as a version 2 frame seen.
    case oversized
    /// No frame: drop it.
    case malformed(RelayFault)
}

/// Reading and writing relay frames.
public enum RelayFrame {
    /// First byte of a version 2 frame.
    public static let magic: UInt8 = 0xA2
    /// The guest port that version 1 cannot say: its two bytes announce version 2.
    public static let portWithoutV1: UInt16 = 0xA202
    /// Header of version 1.
    public static let headerBytesV1 = 8
    /// Header of version 2 with an IPv4 address.
    public static let headerBytesV2IPv4 = 12
    /// Longest header: version 2 with an IPv6 address.
    public static let maximumHeaderBytes = 24

    /// Reads a message. Constant time; the payload is not looked at.
    public static func decode(_ message: Span<UInt8>, maximumPayloadBytes: Int) -> RelayMessage {
        guard message.count >= 2 else { return .malformed(.tooShort) }
        let header: RelayHeader
        if message[0] == magic, message[1] == RelayVersion.v2.rawValue {
            guard message.count >= headerBytesV2IPv4 else { return .malformed(.tooShort) }
            guard message[3] == 0 else { return .malformed(.messageType) }
            switch IPAddress.Family(rawValue: message[2]) {
            case .v4: header = ipv4(message, .v2, portAt: 4, addressAt: 6)
            case .v6:
                guard message.count >= maximumHeaderBytes else { return .malformed(.tooShort) }
                header = ipv6(message)
            case nil: return .malformed(.addressFamily)
            }
        } else {
            guard message.count >= headerBytesV1 else { return .malformed(.tooShort) }
            header = ipv4(message, .v1, portAt: 0, addressAt: 2)
        }
        return message.count &- header.headerBytes <= maximumPayloadBytes ? .frame(header) : .oversized
    }

    @inline(__always)
    private static func ipv4(_ message: Span<UInt8>, _ version: RelayVersion, portAt: Int, addressAt: Int) -> RelayHeader {
        let address = IPAddress(v4: UInt32(load16(message, addressAt)) << 16 | UInt32(load16(message, addressAt &+ 2)))
        return RelayHeader(
            version: version, headerBytes: addressAt &+ 6, guestPort: load16(message, portAt),
            remote: Endpoint(address, port: load16(message, addressAt &+ 4)))
    }

    @inline(__always)
    private static func ipv6(_ message: Span<UInt8>) -> RelayHeader {
        let address = IPAddress(v6High: load64(message, 6), low: load64(message, 14)).normalized
        return RelayHeader(
            version: .v2, headerBytes: maximumHeaderBytes, guestPort: load16(message, 4),
            remote: Endpoint(address, port: load16(message, 22)))
    }

    @inline(__always)
    private static func load16(_ message: Span<UInt8>, _ index: Int) -> UInt16 {
        UInt16(message[index]) << 8 | UInt16(message[index &+ 1])
    }

    @inline(__always)
    private static func load64(_ message: Span<UInt8>, _ index: Int) -> UInt64 {
        precondition(index >= 0 && index &+ 8 <= message.count)
        return unsafe message.bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self).bigEndian
    }

    /// Bytes of a header: version 1 for IPv4 only.
    @inline(__always)
    public static func headerBytes(_ version: RelayVersion, _ family: IPAddress.Family) -> Int {
        family == .v6 ? maximumHeaderBytes : version == .v1 ? headerBytesV1 : headerBytesV2IPv4
    }

    /// Writes a header that ends at `end` and returns its length. There must be `headerBytes(_:_:)` of room before `end`.
    /// Ask for what `RelayVersion.toClient` chose: version 1 carries IPv4 only.
    @discardableResult
    public static func encodeHeader(
        _ version: RelayVersion, guestPort: UInt16, remote: Endpoint, endingAt end: UnsafeMutableRawPointer
    ) -> Int {
        unsafe (end - 2).storeBytes(of: remote.port.bigEndian, as: UInt16.self)
        if remote.address.family == .v6 {
            precondition(version == .v2, "version 1 carries IPv4 only")
            unsafe (end - 10).storeBytes(of: remote.address.low.bigEndian, as: UInt64.self)
            unsafe (end - 18).storeBytes(of: remote.address.high.bigEndian, as: UInt64.self)
            unsafe encodePrefix(.v6, guestPort, endingAt: end - 18)
            return maximumHeaderBytes
        }
        unsafe (end - 6).storeBytes(of: UInt32(truncatingIfNeeded: remote.address.low).bigEndian, as: UInt32.self)
        if version == .v1 {
            unsafe (end - 8).storeBytes(of: guestPort.bigEndian, as: UInt16.self)
            return headerBytesV1
        }
        unsafe encodePrefix(.v4, guestPort, endingAt: end - 6)
        return headerBytesV2IPv4
    }

    /// The first six bytes of version 2.
    @inline(__always)
    private static func encodePrefix(_ family: IPAddress.Family, _ guestPort: UInt16, endingAt end: UnsafeMutableRawPointer) {
        unsafe (end - 2).storeBytes(of: guestPort.bigEndian, as: UInt16.self)
        let prefix = UInt32(magic) << 24 | UInt32(RelayVersion.v2.rawValue) << 16 | UInt32(family.rawValue) << 8
        unsafe (end - 6).storeBytes(of: prefix.bigEndian, as: UInt32.self)
    }

    /// Room for both headers of a WebSocket message with one frame; payloads of datagrams are shorter than 65,536 bytes.
    public static let maximumMessageHeaderBytes = 4 + maximumHeaderBytes

    /// Writes the header of a binary WebSocket message and of the frame it carries, ending at `end` where `payloadBytes` begin, and
    /// returns their length.
    @discardableResult
    public static func encodeMessage(
        _ version: RelayVersion, guestPort: UInt16, remote: Endpoint, payloadBytes: Int, endingAt end: UnsafeMutableRawPointer
    ) -> Int {
        let own = unsafe encodeHeader(version, guestPort: guestPort, remote: remote, endingAt: end)
        return unsafe FrameHeader.encode(.binary, payloadBytes: payloadBytes &+ own, endingAt: end - own) &+ own
    }
}
