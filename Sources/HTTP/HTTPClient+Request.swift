import Engine
import Policy
import Wire

/// Writing requests.
extension HTTPClient {
    /// The whole request in a buffer; nil when it may not be written, or there is no buffer.
    func write(_ exchange: Exchange) -> (index: BufferIndex, count: Int)? {
        let request = exchange.request
        let needed = Self.bytes(of: request)
        guard let buffer = shard.acquire(needed <= EngineLimits.smallBufferBytes ? .small : .bulk) else { return nil }
        var writer = HeadWriter(UnsafeMutableRawBufferPointer(start: shard.bytes(buffer), count: shard.capacity(buffer)))
        writer.request(request.method, target: request.target.utf8.span)
        writer.field("Host", string: request.host ?? request.endpoint.authority)
        if let upgrade = request.upgrade {
            exchange.key = Digest.webSocketKey(random.nextWord(), random.nextWord())
            writer.field("Upgrade", "websocket")
            writer.field("Connection", "Upgrade")
            writer.field("Sec-WebSocket-Version", "13")
            writer.field("Sec-WebSocket-Key", string: exchange.key)
            if !upgrade.subprotocols.isEmpty {
                writer.field("Sec-WebSocket-Protocol", string: upgrade.subprotocols.joined(separator: ", "))
            }
            if let extensions = upgrade.extensions { writer.field("Sec-WebSocket-Extensions", string: extensions) }
        } else {
            writer.field("Connection", "close")
            if !request.body.isEmpty || request.method == .post { writer.field("Content-Length", UInt64(request.body.count)) }
        }
        for field in request.fields { writer.field(field.name.utf8.span, field.value.utf8.span) }
        writer.lines(request.lines)
        writer.endHead()
        if !request.body.isEmpty { writer.body(request.body.span) }
        guard !writer.failed else {
            shard.release(buffer)
            return nil
        }
        return (buffer, writer.count)
    }

    /// An upper bound of the request's bytes.
    private static func bytes(of request: ClientRequest) -> Int {
        var bytes = ClientLimits.requestOverheadBytes + request.target.utf8.count + request.endpoint.host.utf8.count + request.body.count
        bytes += (request.host?.utf8.count ?? 0) + request.lines.bytes.count
        for field in request.fields { bytes += field.name.utf8.count + field.value.utf8.count + 4 }
        for name in request.upgrade?.subprotocols ?? [] { bytes += name.utf8.count + 2 }
        return bytes + (request.upgrade?.extensions?.utf8.count ?? 0)
    }
}
