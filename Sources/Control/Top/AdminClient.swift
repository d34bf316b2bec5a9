import CSocket
import Engine
import Glibc

/// A blocking client of the admin interface, for `sluice top`: one request a connection.
struct AdminClient {
    /// Why an instance could not be asked. One line, with the remedy where there is one.
    struct Failure: Error, Equatable {
        var message: String
    }

    /// How long an answer may take.
    static let patienceSeconds = 5
    /// Most bytes of an answer that are taken: a scrape of hundreds of shards is far below.
    static let answerBytesMaximum = 64 << 20

    /// As it is shown: `http://127.0.0.1:9901`.
    let text: String
    private let address: ListenAddress
    private let token: Masked?

    /// - Parameter url: `http://IP:PORT`, or without the scheme; nil when it is something else.
    init?(url: String, token: Masked?) {
        var rest = url.hasPrefix("http://") ? String(url.dropFirst(7)) : url
        if rest.hasSuffix("/") { rest.removeLast() }
        guard !rest.hasPrefix(":"), let address = ListenAddress(rest), address.port != 0 else { return nil }
        self.address = address
        self.token = token
        text = "http://\(address)"
    }

    /// The body of a 200 answer to `GET path`.
    func get(_ path: String) throws(Failure) -> String {
        var authorization = ""
        if let token { authorization = "Authorization: Bearer \(token.revealed)\r\n" }
        let answer = try exchange("GET \(path) HTTP/1.1\r\nHost: \(address)\r\n\(authorization)Connection: close\r\n\r\n")
        return try Self.body(answer, text)
    }

    /// Takes an answer apart.
    static func body(_ answer: [UInt8], _ url: String) throws(Failure) -> String {
        let text = String(decoding: answer, as: UTF8.self)
        guard text.hasPrefix("HTTP/1.1 "), let status = Int(text.dropFirst(9).prefix(3)), let end = text.firstRange(of: "\r\n\r\n") else {
            throw Failure(message: "\(url) answers something that is not HTTP; is this the admin address?")
        }
        switch status {
        case 200: return String(text[end.upperBound...])
        case 401: throw Failure(message: "\(url) wants a token; give --token-file FILE, or SLUICE_ADMIN_TOKEN in the environment")
        case 404: throw Failure(message: "\(url) has no such resource; is this the admin address (admin.address of the configuration)?")
        default: throw Failure(message: "\(url) answers with status \(status)")
        }
    }

    private func exchange(_ request: String) throws(Failure) -> [UInt8] {
        guard var socketAddress = SocketAddress(address.host, port: address.port) else { throw Failure(message: "\(text): no address") }
        let descriptor = socket_connect(&socketAddress.storage, socketAddress.byteCount)
        guard descriptor >= 0 else {
            throw Failure(message: "\(text): \(String(cString: strerror(-descriptor))); is admin.address set, and the gateway running?")
        }
        defer { descriptor_close(descriptor) }
        var patience = timeval(tv_sec: Self.patienceSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
        let bytes = Array(request.utf8)
        guard Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw Failure(message: "\(text): the request could not be sent")
        }
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Failure(message: "\(text): no answer within \(Self.patienceSeconds) s") }
            if count == 0 { return answer }
            answer += chunk[..<count]
            guard answer.count <= Self.answerBytesMaximum else { throw Failure(message: "\(text): the answer is too large") }
        }
    }
}
