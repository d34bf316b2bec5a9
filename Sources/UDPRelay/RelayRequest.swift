import Engine
import HTTP
import Policy

/// A `/udp` upgrade that passed origin and handshake checks. A wrong credential is told on the WebSocket, so it is let through.
public struct RelayRequest {
    /// The client's stream, taken from the HTTP server.
    public let client: SlotIndex
    /// What the credential in the request's fields or query is worth; `.missing` waits for a first message.
    public let verdict: RelayAccess.Verdict
    /// The trimmed `Sec-WebSocket-Key`.
    public let webSocketKey: String
    /// What the answer says besides: request id, and what the origin may read.
    public let fields: [(name: String, value: String)]
    /// Bytes that came behind the request's head: a buffer, or none.
    public let leftover: (buffer: BufferIndex, start: Int, count: Int)
    /// What log and admin interface tell of it, the client's address among it.
    public let record: ConnectionRecord

    /// Collects the parts.
    public init(client: SlotIndex, verdict: RelayAccess.Verdict, webSocketKey: String, fields: [(name: String, value: String)] = [],
                leftover: (buffer: BufferIndex, start: Int, count: Int), record: ConnectionRecord) {
        self.client = client
        self.verdict = verdict
        self.webSocketKey = webSocketKey
        self.fields = fields
        self.leftover = leftover
        self.record = record
    }
}
