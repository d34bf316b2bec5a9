import Engine
import Wire

/// Answers written straight into the buffer that is sent, for routes that answer often: no string, no array.
extension HTTPServer {
    /// An answer whose fields are written by a function.
    public struct DirectResponse {
        /// Status code.
        public var status: Int
        /// An upper bound of the bytes `fields` writes.
        public var fieldBytes: Int
        /// The body; copied before `respond` returns. A response to HEAD sends its length only.
        public var body: UnsafeRawBufferPointer

        /// Describes an answer.
        public init(status: Int, fieldBytes: Int, body: UnsafeRawBufferPointer) {
            self.status = status
            self.fieldBytes = fieldBytes
            self.body = body
        }
    }

    /// Bytes of what is written besides fields and body: status line, Content-Length, Connection, the empty line.
    private static let frameBytes = 160

    /// Answers the present request of a connection, then goes on with `next`. `fields` writes whole lines, without
    /// Content-Length and Connection.
    public func respond(_ index: UInt32, _ response: DirectResponse, fields: (inout ByteWriter) -> Void) {
        direct(index, response, takeRequest(state.pointee.table + Int(index)), fields)
    }

    /// Answers a postponed request. False when its connection is gone; else `next` goes on with the connection.
    public func respond(to postponed: PostponedRequest, _ response: DirectResponse, fields: (inout ByteWriter) -> Void) -> Bool {
        guard isAwaited(postponed) else { return false }
        direct(postponed.index, response, state.pointee.table[Int(postponed.index)].postponedTraits, fields)
        return true
    }

    private func direct(_ index: UInt32, _ response: DirectResponse, _ traits: PostponedTraits, _ fields: (inout ByteWriter) -> Void) {
        let shard = state.pointee.shard
        let closes = traits.contains(.closes) || state.pointee.draining
        let bodyBytes = traits.contains(.bodyless) ? 0 : response.body.count
        let isSmall = Self.frameBytes + response.fieldBytes + bodyBytes <= EngineLimits.smallBufferBytes
        guard let buffer = shard.acquire(isSmall ? .small : .bulk) else { return abort(index, shard) }
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(start: shard.bytes(buffer), count: shard.capacity(buffer)))
        writer.text("HTTP/1.1 ")
        writer.decimal(UInt64(response.status))
        writer.byte(UInt8(ascii: " "))
        writer.text(HTTPStatus.reason(response.status))
        writer.text("\r\n")
        fields(&writer)
        writer.text("Content-Length: ")
        writer.decimal(UInt64(response.body.count))
        writer.text("\r\n")
        if closes {
            writer.text("Connection: close\r\n")
        } else if traits.contains(.oldClient) {
            writer.text("Connection: keep-alive\r\n")
        }
        writer.text("\r\n")
        if bodyBytes > 0 { writer.bytes(Span(_unsafeElements: response.body.assumingMemoryBound(to: UInt8.self))) }
        guard !writer.failed else {
            shard.release(buffer)
            return abort(index, shard)
        }
        shard.send(state.pointee.table[Int(index)].slot, buffer, start: 0, count: writer.count)
        finishAnswer(index, closes, shard)
    }
}
