import Engine
import Policy
import Wire

/// The body of an answer whose head is read.
struct AnswerBody {
    let status: Int
    let fields: [ClientRequest.Field]
    let framing: BodyFraming
    var chunks: ChunkedDecoder
    var bytes: [UInt8] = []
}

/// Reading answers.
extension HTTPClient {
    func received(_ ticket: Ticket, _ exchange: Exchange, _ event: Event) {
        let bytes = UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count)
        if exchange.answer != nil {
            readBody(ticket, exchange, Array(bytes))
            return shard.release(event.buffer)
        }
        // Only as much as a head may have is kept; an upgraded stream's first frames stay where they are.
        let former = exchange.input.count
        exchange.input.append(contentsOf: bytes.prefix(max(0, ClientLimits.head.headBytes - former)))
        guard let headBytes = readHead(ticket, exchange) else { return shard.release(event.buffer) }
        let start = headBytes - former
        if exchange.request.upgrade != nil {
            return upgraded(ticket, exchange, event, start)
        }
        beginBody(ticket, exchange)
        readBody(ticket, exchange, Array(bytes[start...]))
        shard.release(event.buffer)
    }

    /// Looks for a whole head, past interim ones; its end in `input`, or nil when there is none yet, or the exchange has failed.
    private func readHead(_ ticket: Ticket, _ exchange: Exchange) -> Int? {
        let input = exchange.input
        var start = 0
        for _ in 0...ClientLimits.interimAnswers {
            head.reset(answerToHead: exchange.request.method == .head)
            switch head.parse(input.span.extracting(start..<input.count)) {
            case .needMore:
                if input.count >= ClientLimits.head.headBytes { fail(ticket, .malformed) }
                return nil
            case .violation:
                fail(ticket, .malformed)
                return nil
            case .complete(let headBytes):
                if !head.isInterim {
                    exchange.input.removeFirst(start)
                    return start + headBytes
                }
                start += headBytes
            }
        }
        fail(ticket, .malformed)
        return nil
    }

    private func value(_ exchange: Exchange, _ field: KnownField) -> String? {
        head.first(field).map { String(decoding: exchange.input[head.value($0)], as: UTF8.self) }
    }

    // MARK: upgrades

    private func upgraded(_ ticket: Ticket, _ exchange: Exchange, _ event: Event, _ start: Int) {
        guard let upgrade = exchange.request.upgrade else { return }
        if let failure = judge(exchange, upgrade) {
            shard.release(event.buffer)
            return fail(ticket, failure)
        }
        var leftover = (buffer: event.buffer, start: start, count: event.count - start)
        if leftover.count == 0 {
            shard.release(event.buffer)
            leftover = (.none, 0, 0)
        }
        shard.clearTimer(exchange.slot)
        finish(ticket, exchange, .upgraded(
            ClientUpgraded(
                slot: exchange.slot, subprotocol: value(exchange, .secWebSocketProtocol),
                extensions: value(exchange, .secWebSocketExtensions), leftover: leftover)))
    }

    /// What is wrong with the answer to an upgrade (RFC 6455 section 4.1), or nil.
    private func judge(_ exchange: Exchange, _ upgrade: ClientRequest.Upgrade) -> ClientFailure? {
        guard head.status == 101 else { return .status(head.status) }
        guard head.minorVersion == 1, head.namesUpgrade, head.count(of: .upgrade) == 1, head.count(of: .secWebSocketAccept) == 1,
            let name = head.first(.upgrade), Self.isWebSocket(exchange.input[head.value(name)]),
            value(exchange, .secWebSocketAccept) == Digest.webSocketAccept(key: exchange.key)
        else { return .handshake }
        guard head.count(of: .secWebSocketProtocol) <= 1 else { return .subprotocol }
        if let chosen = value(exchange, .secWebSocketProtocol), !upgrade.subprotocols.contains(chosen) { return .subprotocol }
        guard head.count(of: .secWebSocketExtensions) <= 1 else { return .extensions }
        if let chosen = value(exchange, .secWebSocketExtensions), !chosen.isEmpty {
            guard let offer = upgrade.extensions, Self.isOffered(chosen, in: offer) else { return .extensions }
        }
        return nil
    }

    /// `websocket`, in any case.
    private static func isWebSocket(_ value: ArraySlice<UInt8>) -> Bool {
        value.count == 9 && value.elementsEqual("websocket".utf8) { $0 | 0x20 == $1 }
    }

    /// Whether every extension of an answer was offered, by its name: parameters are between the two ends.
    static func isOffered(_ answer: String, in offer: String) -> Bool {
        let offered = Set(extensionNames(offer))
        let chosen = extensionNames(answer)
        return !chosen.isEmpty && Set(chosen).count == chosen.count && chosen.allSatisfy { offered.contains($0) }
    }

    private static func extensionNames(_ list: String) -> [String] {
        list.split(separator: ",").map { element in
            String(element.prefix { $0 != ";" }).trimmingBlanks().lowercased()
        }
    }

    // MARK: bodies

    private func beginBody(_ ticket: Ticket, _ exchange: Exchange) {
        let fields = (0..<head.fieldCount).map { index in
            ClientRequest.Field(
                String(decoding: exchange.input[head.name(index)], as: UTF8.self),
                String(decoding: exchange.input[head.value(index)], as: UTF8.self))
        }
        exchange.answer = AnswerBody(
            status: head.status, fields: fields, framing: head.body,
            chunks: ChunkedDecoder(limits: ClientLimits.head, maximumBodyBytes: UInt64(exchange.request.maximumBodyBytes)))
        exchange.input = []
    }

    private func readBody(_ ticket: Ticket, _ exchange: Exchange, _ piece: [UInt8]) {
        guard var body = exchange.answer else { return }
        let maximum = exchange.request.maximumBodyBytes
        exchange.answer = nil
        var isWhole = false
        switch body.framing {
        case .none: isWhole = true
        case .length(let length):
            guard length <= UInt64(maximum) else { return fail(ticket, .tooLarge) }
            body.bytes.append(contentsOf: piece.prefix(Int(length) - body.bytes.count))
            isWhole = body.bytes.count == Int(length)
        case .chunked:
            var piece = piece
            let outcome = piece.withUnsafeMutableBytes { body.chunks.decode($0) }
            switch outcome {
            case .needMore(let data): body.bytes.append(contentsOf: piece.prefix(data))
            case .complete(let data, _):
                body.bytes.append(contentsOf: piece.prefix(data))
                isWhole = true
            case .violation(let violation): return fail(ticket, violation == .contentTooLarge ? .tooLarge : .malformed)
            }
        case .untilClose:
            guard body.bytes.count + piece.count <= maximum else { return fail(ticket, .tooLarge) }
            body.bytes.append(contentsOf: piece)
        }
        exchange.answer = body
        if isWhole { answered(ticket, exchange, body) }
    }

    private func answered(_ ticket: Ticket, _ exchange: Exchange, _ body: AnswerBody) {
        shard.close(exchange.slot)
        finish(ticket, exchange, .answered(ClientAnswer(status: body.status, fields: body.fields, body: body.bytes)))
    }

    /// The server closed its side: the end of an answer without a length, or too early.
    func ended(_ ticket: Ticket, _ exchange: Exchange) {
        if let body = exchange.answer, body.framing == .untilClose { return answered(ticket, exchange, body) }
        fail(ticket, .ended)
    }
}
