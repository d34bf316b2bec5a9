/// Constants of the opening handshake (RFC 6455 section 4). The hash itself is the cryptographic library's.
public enum WebSocketHandshake {
    /// Appended to the client's key before hashing with SHA-1.
    public static let guid: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    /// The only version spoken.
    public static let version: StaticString = "13"
    /// Characters of `Sec-WebSocket-Accept`: 20 bytes in base64.
    public static let acceptBytes = 28
}
