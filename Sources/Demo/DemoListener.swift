import Engine
import HTTP
import Wire

extension DemoService {
    /// Answers a request of the demonstration service as the HTTP server wants it.
    public static func respond(_ request: RequestView) -> Response {
        let bytes = Span(_unsafeElements: request.bytes.assumingMemoryBound(to: UInt8.self))
        let method = "\(request.method.name)"
        switch route(method: method.utf8.span, target: bytes.extracting(request.head.pointee.target)) {
        case .index: return text(200, "\(indexText)")
        case .ping: return text(200, "\(pingText)")
        case .sink: return text(200, "\(request.body.count)\n")
        case .lookUp:
            let query = Span(_unsafeElements: request.body.assumingMemoryBound(to: UInt8.self))
            guard let answer = DemoZone.answer(query) else {
                return text(Refusal.unreadableQuery.status, "\(Refusal.unreadableQuery.text)")
            }
            return Response(status: 200, fields: [(name: "Content-Type", value: "\(messageType)")], body: answer)
        case .refuse(let refusal): return text(refusal.status, "\(refusal.text)")
        case .download(let byteCount):
            var response = Response(status: 200, fields: [(name: "Content-Type", value: "\(downloadType)")])
            response.body = .stream(count: UInt64(byteCount)) { offset, room in DemoPattern.fill(room, from: Int(offset)) }
            return response
        }
    }

    private static func text(_ status: Int, _ body: String) -> Response {
        Response(status: status, fields: [(name: "Content-Type", value: "\(textType)")], body: Array(body.utf8))
    }
}
