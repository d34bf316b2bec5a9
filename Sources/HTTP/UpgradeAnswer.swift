import Engine
import Policy
import Wire

/// Answers to upgrade requests, written straight to a stream that was taken from the HTTP server.
public enum UpgradeAnswer {
    /// How long a refused client may take to read its answer.
    public static let refusalMilliseconds: UInt64 = 2000

    /// Sends `101 Switching Protocols` with the accept value of the client's key (RFC 6455 section 4.2.2).
    public static func accept(_ slot: SlotIndex, key: String, subprotocol: String? = nil, on shard: Shard) -> Bool {
        var text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        text += "Sec-WebSocket-Accept: \(Digest.webSocketAccept(key: key))\r\n"
        if let subprotocol { text += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        return write(text + "\r\n", slot, shard)
    }

    /// Refuses an upgrade and ends the stream politely: text/plain, no-store, one line.
    public static func refuse(_ slot: SlotIndex, status: Int, message: String, on shard: Shard) {
        // The reason of 414 is the older phrase, as clients of this service know it.
        let reason = status == 414 ? "URI Too Long" : "\(HTTPStatus.reason(status))"
        let text = "HTTP/1.1 \(status) \(reason)\r\nContent-Type: text/plain; charset=utf-8\r\n"
            + "Content-Length: \(message.utf8.count + 1)\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n\(message)\n"
        guard write(text, slot, shard) else { return shard.close(slot) }
        shard.linger(slot, drainMilliseconds: refusalMilliseconds, totalMilliseconds: 2 * refusalMilliseconds)
    }

    /// What stood behind the request finds no buffer, or the 101 does not: the fault is ours.
    public static let failure: (status: Int, message: String) = (500, "WebSocket upgrade failed")

    /// Ends a stream whose upgrade could not be carried out.
    public static func fail(_ slot: SlotIndex, on shard: Shard) {
        shard.transfer(slot, to: .engine, context: 0)
        refuse(slot, status: failure.status, message: failure.message, on: shard)
    }

    private static func write(_ text: String, _ slot: SlotIndex, _ shard: Shard) -> Bool {
        guard let buffer = shard.acquire(.small) else { return false }
        var text = text
        let count = text.withUTF8 { bytes in
            precondition(bytes.count <= EngineLimits.smallBufferBytes, "an answer to an upgrade is a few hundred bytes")
            shard.bytes(buffer).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
            return bytes.count
        }
        shard.send(slot, buffer, start: 0, count: count)
        return true
    }
}
