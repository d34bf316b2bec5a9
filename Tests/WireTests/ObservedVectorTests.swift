import Foundation
import Testing
import Wire

/// Vectors observed at a reference implementation. They are not part of the repository: they are looked for beside it.
private let observed: JSONValue? = {
    let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let file = root.appendingPathComponent("../shared/vectors/aero/observed-gateway.json").standardizedFileURL
    guard let data = try? Data(contentsOf: file) else {
        print("observed vectors skipped: \(file.path) is not there")
        return nil
    }
    return JSONReader.read([UInt8](data).span)
}()

private func entries(_ name: String) -> [JSONValue] {
    guard case .array(let entries)? = observed?[name] else { return [] }
    return entries
}

@Suite(.enabled(if: observed != nil, "observed vectors are not beside the repository"))
struct ObservedVectorTests {
    @Test func queries() {
        #expect(entries("tcp_query").count > 20)
        for entry in entries("tcp_query") {
            guard let query = entry["query"]?.string, let host = entry["host"]?.string else { continue }
            let bytes = Array(query.utf8)
            if FormQuery.first("target", in: bytes.span, 0..<bytes.count) != nil { continue }
            var read = FormQuery.string("host", in: bytes.span, 0..<bytes.count) ?? ""
            if read.hasPrefix("["), read.hasSuffix("]") { read = String(read.dropFirst().dropLast()) }
            #expect(read == host, "\(query)")
        }
    }

    @Test func handshakes() {
        #expect(!entries("ws_handshake").isEmpty)
        for entry in entries("ws_handshake") {
            guard let response = entry["response"]?.string, let key = entry["key"]?.string else { continue }
            let accept =
                response.components(separatedBy: "Sec-WebSocket-Accept: ").last?.components(separatedBy: "\r\n").first ?? ""
            #expect(accept.utf8.count == WebSocketHandshake.acceptBytes, "\(key)")
            let head = withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { buffer in
                var writer = HeadWriter(buffer)
                writer.status(101)
                writer.field("Upgrade", "websocket")
                writer.field("Connection", "Upgrade")
                writer.field("Sec-WebSocket-Accept", string: accept)
                writer.endHead()
                return String(decoding: buffer[..<writer.count], as: UTF8.self)
            }
            #expect(head == response)
            let bytes = Array(response.utf8)
            var parsed = ResponseHead(limits: HTTPLimits())
            #expect(parsed.parse(bytes.span) == .complete(headBytes: bytes.count))
            #expect(parsed.status == 101 && parsed.namesUpgrade && parsed.count(of: .secWebSocketAccept) == 1)
        }
    }

    @Test func sessionTokens() {
        guard case .array(let sessions)? = observed?["mint"]?["session"] else { return }
        for session in sessions {
            let parts = (session["token"]?.string ?? "").split(separator: ".")
            #expect(parts.count == 2)
            let payload = Base64.decodeURL(Array(parts[0].utf8).span) ?? []
            let value = JSONReader.read(payload.span)
            #expect(value?["v"]?.number == 1)
            #expect(value?["sid"] == session["sid"] && value?["exp"] == session["exp"])
            let text = written { writer in
                writer.text("{\"v\":1,\"sid\":")
                writer.jsonString(session["sid"]?.string ?? "")
                writer.text(",\"exp\":")
                writer.decimal(UInt64(session["exp"]?.number ?? 0))
                writer.text("}")
            }
            let bytes = text ?? []
            let encoded = written { Base64.encodeURL(bytes.span, to: &$0) }
            let mac = Base64.decodeURL(Array(parts[1].utf8).span)
            #expect(encoded == Array(parts[0].utf8) && mac?.count == 32)
        }
    }
}
