import Engine
import Policy
import Wire

/// Answers to upgrade requests, written straight to a stream that was taken from the HTTP server.
public enum UpgradeAnswer {
    /// How long a refused client may take to read its answer.
    public static let refusalMilliseconds: UInt64 = 2000

    /// Sends `101 Switching Protocols` with the accept value of the client's key (RFC 6455 section 4.2.2), and what else the feature
    /// wants said. False without buffers.
    public static func accept(_ slot: SlotIndex, key: String, subprotocol: String? = nil, fields: [(name: String, value: String)] = [],
                              on shard: Shard) -> Bool {
        var bytes = acceptBytes + (subprotocol?.utf8.count ?? 0)
        for field in fields { bytes += field.name.utf8.count + field.value.utf8.count + 4 }
        return withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 1) { area in
            var writer = ByteWriter(area)
            writer.text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
            writer.string(Digest.webSocketAccept(key: key))
            if let subprotocol {
                writer.text("\r\nSec-WebSocket-Protocol: ")
                writer.string(subprotocol)
            }
            writer.text("\r\n")
            for field in fields {
                writer.string(field.name)
                writer.text(": ")
                writer.string(field.value)
                writer.text("\r\n")
            }
            writer.text("\r\n")
            precondition(!writer.failed)
            return shard.append(slot, area.baseAddress!, writer.count)
        }
    }

    /// Bytes of a 101 without the texts it is given.
    private static let acceptBytes = 192

    private static func lines(_ fields: [(name: String, value: String)]) -> String {
        fields.map { "\($0.name): \($0.value)\r\n" }.joined()
    }

    /// Refuses an upgrade and ends the stream politely: text/plain, no-store, one line.
    public static func refuse(_ slot: SlotIndex, status: Int, message: String, fields: [(name: String, value: String)] = [],
                              on shard: Shard) {
        // The reason of 414 is the older phrase, as clients of this service know it.
        let reason = status == 414 ? "URI Too Long" : "\(HTTPStatus.reason(status))"
        end(slot, "\(status) \(reason)", "text/plain; charset=utf-8", fields + [(name: "Cache-Control", value: "no-store")], message, shard)
    }

    /// Refuses an upgrade as a feature answers errors, and ends the stream politely: application/json, one line.
    public static func refuse(_ slot: SlotIndex, status: Int, json: String, fields: [(name: String, value: String)], on shard: Shard) {
        end(slot, "\(status) \(HTTPStatus.reason(status))", "application/json", fields, json, shard)
    }

    private static func end(_ slot: SlotIndex, _ status: String, _ contentType: String, _ fields: [(name: String, value: String)],
                            _ line: String, _ shard: Shard) {
        let text = "HTTP/1.1 \(status)\r\nContent-Type: \(contentType)\r\nContent-Length: \(line.utf8.count + 1)\r\n\(lines(fields))"
            + "Connection: close\r\n\r\n\(line)\n"
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
        var text = text
        // What a client named, an origin among it, may take more than one buffer.
        return text.withUTF8 { shard.append(slot, $0.baseAddress!, $0.count) }
    }
}
