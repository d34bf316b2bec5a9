/// Opcodes (RFC 6455 section 11.8).
public enum Opcode: UInt8, Sendable {
    case continuation = 0
    case text = 1
    case binary = 2
    case close = 8
    case ping = 9
    case pong = 10
}

/// The part of a data frame's payload that lies in the buffer.
public struct DataRun: Sendable, Equatable {
    /// Offset of the first byte in the buffer.
    public var start: Int
    /// Bytes; 0 only for an empty frame.
    public var count: Int
    /// Mask for this run in memory order: byte i of the run is XORed with byte i mod 4 of the key. 0 for unmasked frames.
    public var key: UInt32
    /// `text` or `binary`: the opcode of the message, also in continuation frames.
    public var opcode: Opcode
    /// Whether the frame ends with this run.
    public var endsFrame: Bool
    /// Whether the message ends with this run.
    public var endsMessage: Bool
}

/// The part of a control frame's payload that lies in the buffer.
public struct ControlRun: Sendable, Equatable {
    /// Offset of the first byte in the buffer.
    public var start: Int
    /// Bytes; 0 only for an empty frame.
    public var count: Int
    /// Mask for this run, as in `DataRun`.
    public var key: UInt32
    /// `close`, `ping` or `pong`.
    public var opcode: Opcode
    /// Payload bytes of the whole frame, 0 to 125.
    public var payloadBytes: UInt8
    /// Offset of this run inside that payload.
    public var offset: UInt8
    /// Whether the frame ends with this run.
    public var endsFrame: Bool
}

/// What a reader found next.
public enum FrameItem: Sendable, Equatable {
    /// Everything up to `end` is consumed.
    case needMore
    case data(DataRun)
    case control(ControlRun)
    /// The stream breaks the protocol: close with this code and read no further. Later calls give the same answer.
    case violation(CloseCode)
}
