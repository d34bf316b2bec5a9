/// What a frame of the multiplexing protocol `aero-tcp-mux-v1` does.
///
/// ```
/// | type 1 | stream id 4 | payload length 4 | payload |      all integers big-endian
/// ```
public enum MuxType: UInt8, Sendable, CaseIterable {
    /// Client to server: connect a stream to a target.
    case open = 1
    /// Bytes of a stream.
    case data = 2
    /// End of a direction, or of the stream.
    case close = 3
    /// Server to client: the stream could not be opened, or broke.
    case error = 4
    /// Asks for a PONG.
    case ping = 5
    /// Answers a PING with its payload.
    case pong = 6
}

/// Flags of a CLOSE frame's one payload byte.
public enum MuxClose {
    /// The sender will send no more DATA.
    public static let finish: UInt8 = 1
    /// The stream is aborted in both directions.
    public static let reset: UInt8 = 2
    /// Bytes of a CLOSE payload.
    public static let payloadBytes = 1
}

/// Codes of ERROR frames.
public enum MuxErrorCode: UInt16, Sendable, CaseIterable {
    case policyDenied = 1
    case dialFailed = 2
    case protocolError = 3
    case unknownStream = 4
    case streamLimit = 5
    case bufferOverflow = 6
}

/// Frame headers.
public enum MuxFrame {
    /// Bytes of a header.
    public static let headerBytes = 9

    /// Writes a header that ends at `end`; there must be nine bytes of room in front of it.
    @inline(__always)
    public static func encodeHeader(_ type: MuxType, stream: UInt32, payloadBytes: Int, endingAt end: UnsafeMutableRawPointer) {
        unsafe (end - 9).storeBytes(of: type.rawValue, as: UInt8.self)
        unsafe (end - 8).storeBytes(of: stream.bigEndian, as: UInt32.self)
        unsafe (end - 4).storeBytes(of: UInt32(truncatingIfNeeded: payloadBytes).bigEndian, as: UInt32.self)
    }

    /// Longest header of a message that carries one frame: WebSocket's and the frame's own.
    public static let maximumMessageHeaderBytes = FrameHeader.maximumServerBytes + headerBytes

    /// Bytes of both headers of a message with one frame.
    @inline(__always)
    public static func messageHeaderBytes(forPayload payloadBytes: Int) -> Int {
        FrameHeader.bytes(forPayload: payloadBytes &+ headerBytes) &+ headerBytes
    }

    /// Writes the header of a WebSocket message and of the one frame it carries, ending at `end`; returns their length.
    @discardableResult
    @inline(__always)
    public static func encodeMessage(
        _ type: MuxType, stream: UInt32, payloadBytes: Int, endingAt end: UnsafeMutableRawPointer
    ) -> Int {
        unsafe encodeHeader(type, stream: stream, payloadBytes: payloadBytes, endingAt: end)
        return unsafe FrameHeader.encode(.binary, payloadBytes: payloadBytes &+ headerBytes, endingAt: end - headerBytes) &+ headerBytes
    }
}
