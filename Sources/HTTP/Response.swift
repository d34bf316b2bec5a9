/// An answer to a plain HTTP request. Cold-path value: fields and body are ordinary arrays.
public struct Response: Sendable {
    /// What follows the head.
    public enum Body: Sendable {
        /// All of it, at once.
        case bytes([UInt8])
        /// `count` bytes, produced as the client takes them: `fill(offset, room)` writes `room.count` bytes.
        case stream(count: UInt64, fill: @Sendable (UInt64, UnsafeMutableRawBufferPointer) -> Void)
    }

    /// Status code.
    public var status: Int
    /// Fields in order, without Content-Length and Connection, which the server adds.
    public var fields: [(name: String, value: String)]
    /// The body. A response to HEAD sends its length only.
    public var body: Body
    /// Whether the connection ends after this answer.
    public var closes: Bool

    /// Builds an answer.
    public init(status: Int, fields: [(name: String, value: String)] = [], body: [UInt8] = [], closes: Bool = false) {
        self.status = status
        self.fields = fields
        self.body = .bytes(body)
        self.closes = closes
    }

    /// Bytes of the body.
    public var bodyCount: UInt64 {
        switch body {
        case .bytes(let bytes): UInt64(bytes.count)
        case .stream(let count, _): count
        }
    }
}
