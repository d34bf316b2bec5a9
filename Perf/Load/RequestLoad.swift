// Plain requests over connections that stay open: one in flight on each, an answer releases the next.

import Glibc

/// Sends the same request again and again and checks that each answer is complete and has status 200.
final class RequestLoad {
    private struct Place {
        var descriptor: Int32 = -1
        var isConnected = false
        var started: UInt64 = 0
        /// Bytes of the present answer that have arrived, and how many it has; 0 until its head is there.
        var received = 0
        var expected = 0
        var head: [UInt8] = []
    }

    private let options: Options
    private let requests: [[UInt8]]
    private let poller = Poller()
    private var places: [Place]
    private var input = [UInt8](repeating: 0, count: 65536)
    private(set) var answered = 0
    private(set) var failures = 0
    private(set) var firstFailure: String?
    private(set) var bodyBytes = 0
    var histogram = Histogram()

    init(options: Options, cookies: [String]) {
        self.options = options
        places = Array(repeating: Place(), count: options.connections)
        requests = (cookies.isEmpty ? [nil] : cookies.map { Optional($0) }).map { options.endpoint.plainRequest(options, cookie: $0) }
    }

    func begin() throws {
        for index in places.indices {
            let descriptor = options.endpoint.startConnecting(blocking: false)
            guard descriptor >= 0 else { throw LoadError("connection \(index): \(String(cString: strerror(errno)))") }
            places[index].descriptor = descriptor
            poller.add(descriptor, .writable, data: UInt64(index))
        }
    }

    func turn(timeoutNanoseconds: Int64) {
        for position in 0..<poller.wait(nanoseconds: timeoutNanoseconds) {
            let index = Int(poller.event(position).data)
            if places[index].descriptor < 0 { continue }
            if places[index].isConnected { read(index) } else { ask(index, first: true) }
        }
    }

    private func ask(_ index: Int, first: Bool) {
        let request = requests[index / options.connectionsPerSession % requests.count]
        places[index].started = nowNanoseconds()
        let sent = request.withUnsafeBytes { send(places[index].descriptor, $0.baseAddress!, $0.count, sendFlags) }
        guard sent == request.count else { return fail(index, "the request did not leave: \(String(cString: strerror(errno)))") }
        if first {
            places[index].isConnected = true
            poller.change(places[index].descriptor, .readable, data: UInt64(index))
        }
    }

    private func read(_ index: Int) {
        let count = recv(places[index].descriptor, &input, input.count, 0)
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        guard count > 0 else { return fail(index, "closed by the server") }
        places[index].received += count
        if places[index].expected == 0 {
            places[index].head += input[..<count]
            guard let answer = PlainAnswer(places[index].head) else { return }
            guard answer.status == 200 else { return fail(index, "status \(answer.status)") }
            places[index].expected = answer.headBytes + answer.bodyBytes
            bodyBytes = answer.bodyBytes
        }
        guard places[index].received >= places[index].expected else { return }
        guard places[index].received == places[index].expected, bodyBytes >= options.leastAnswerBytes else {
            return fail(index, "an answer of the wrong length")
        }
        histogram.record(nowNanoseconds() - places[index].started)
        answered += 1
        places[index].received = 0
        places[index].expected = 0
        places[index].head.removeAll(keepingCapacity: true)
        ask(index, first: false)
    }

    private func fail(_ index: Int, _ reason: String) {
        failures += 1
        if firstFailure == nil { firstFailure = "connection \(index): \(reason)" }
        close(places[index].descriptor)
        places[index].descriptor = -1
    }

    var aliveCount: Int { places.count { $0.descriptor >= 0 } }

    func reset() {
        answered = 0
        histogram = Histogram()
    }
}

/// Status and lengths of an answer with a Content-Length, once its head is complete.
struct PlainAnswer {
    let status: Int
    let headBytes: Int
    let bodyBytes: Int

    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 16, let end = bytes.indices.dropLast(3).first(where: {
            bytes[$0] == 13 && bytes[$0 + 1] == 10 && bytes[$0 + 2] == 13 && bytes[$0 + 3] == 10
        }) else { return nil }
        headBytes = end + 4
        status = bytes[9..<12].reduce(0) { $0 * 10 + Int($1) - 48 }
        let name = Array("content-length:".utf8)
        var length = 0
        var start = 0
        while start < end {
            let lineEnd = bytes[start...].firstIndex(of: 13) ?? end
            if lineEnd - start > name.count, zip(bytes[start...], name).allSatisfy({ $0 | 0x20 == $1 | 0x20 }) {
                for byte in bytes[(start + name.count)..<lineEnd] where byte >= 48 && byte <= 57 { length = length * 10 + Int(byte) - 48 }
            }
            start = lineEnd + 2
        }
        bodyBytes = length
    }
}

extension Endpoint {
    /// A request that keeps its connection.
    func plainRequest(_ options: Options, cookie: String?) -> [UInt8] {
        var text = "\(options.method) \(path) HTTP/1.1\r\nHost: \(host):\(port)\r\n"
        if !options.contentType.isEmpty { text += "Content-Type: \(options.contentType)\r\nAccept: \(options.contentType)\r\n" }
        if options.method != "GET" { text += "Content-Length: \(options.body.count)\r\n" }
        if let cookie { text += "Cookie: \(cookie)\r\n" }
        return Array((text + "\r\n").utf8) + options.body
    }
}
