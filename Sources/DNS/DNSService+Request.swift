import Engine
import HTTP
import Policy
import Wire

/// The requests of `/dns-query` and `/dns-json`, from their limiter to an answer or an exchange.
extension DNSService {
    /// Answers a request of `/dns-query`, whose session is good: rows 2 to 11 of its table.
    public func answerQuery(_ request: RequestView, from client: DNSClient) -> DNSOutcome {
        guard shared.admits(client.address, nowNanoseconds: shard.nowNanoseconds) else {
            return .answer(failure(429, DNSCode.serverFailure, [UInt8]().span))
        }
        let message: UnsafeRawBufferPointer
        if request.method == .post {
            guard isMessage(request) else { return .answer(failure(415, DNSCode.formatError, [UInt8]().span)) }
            message = request.body
        } else {
            switch decode(request) {
            case .message(let decoded): message = decoded
            case .answer(let answer): return .answer(answer)
            }
        }
        let bytes = Span(_unsafeElements: message.octets)
        guard message.count <= queryBytesMaximum else { return .answer(failure(413, DNSCode.formatError, bytes)) }
        var nameWriter = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: key[..<DNSName.maximumBytes]))
        guard let question = DNSQuery.parse(bytes, canonicalName: &nameWriter) else {
            return .answer(failure(400, DNSCode.formatError, bytes))
        }
        return resolve(message, question, nameBytes: nameWriter.count, client, request)
    }

    /// Cache, policy, exchange: what both endpoints share. The canonical name stands in `key`.
    private func resolve(_ message: UnsafeRawBufferPointer, _ question: DNSQuery, nameBytes: Int, _ client: DNSClient,
                         _ request: RequestView) -> DNSOutcome {
        let isDocument = client.isDocument
        let bytes = Span(_unsafeElements: message.octets)
        let name = UnsafeRawBufferPointer(rebasing: key[..<nameBytes])
        if shared.policy.refuses(type: question.type, name: Span(_unsafeElements: name.octets)) {
            if isDocument { return .answer(problem(Problem(403, "forbidden", "Query refused by policy"))) }
            metrics.answered(type: question.type, code: DNSCode.refused, .policy)
            return .answer(error(question, name, DNSCode.refused))
        }
        let traits = question.traits(bytes)
        if let traits, let answer = cached(bytes, question, traits, nameBytes, isDocument: isDocument) { return .answer(answer) }
        metrics.looked(type: question.type, hit: false)
        guard let ticket = wait(message, question, traits, name, client, request) else {
            metrics.add(.overloaded)
            return .answer(unanswered(question, name, isDocument: isDocument))
        }
        return .waiting(ticket)
    }

    /// The cached answer as this client gets it: its identifier, its RD and CD, its spelling of the name, lowered TTLs.
    private func cached(_ query: Span<UInt8>, _ question: DNSQuery, _ traits: DNSQuery.Traits, _ nameBytes: Int, isDocument: Bool)
        -> DNSAnswer?
    {
        let now = shard.nowNanoseconds
        let room = UnsafeMutableRawBufferPointer(rebasing: scratch[DNSErrorAnswer.maximumBytes...])
        // An answer that was recursed and checked serves those who did not insist on either.
        let common = traits.subtracting([.unchecked, .unrecursed])
        var hit = shared.cache.find(DNSKey.complete(key, nameBytes: nameBytes, question, common), nowNanoseconds: now, to: room)
        if hit == nil, common != traits {
            hit = shared.cache.find(DNSKey.complete(key, nameBytes: nameBytes, question, traits), nowNanoseconds: now, to: room)
        }
        guard let hit else { return nil }
        let message = UnsafeMutableRawBufferPointer(rebasing: room[..<hit.count])
        DNSMessageEdit.address(message, to: query, question, questionEnd: hit.questionEnd)
        if hit.ageSeconds > 0 {
            var span = MutableSpan<UInt8>(_unsafeElements: message.assumingMemoryBound(to: UInt8.self))
            DNSResponse.age(&span, questionEnd: hit.questionEnd, seconds: hit.ageSeconds)
        }
        let code = UInt16(message[3]) & DNSHeader.codeMask
        metrics.looked(type: question.type, hit: true)
        metrics.answered(type: question.type, code: code, .cache)
        let name = UnsafeRawBufferPointer(rebasing: key[..<nameBytes])
        let record = DNSRecordOfAnswer(type: question.type, code: code, isCacheHit: true, name: name)
        return answered(UnsafeRawBufferPointer(message), record, isDocument: isDocument)
    }

    /// An answer with a message, or the document made of it.
    func answered(_ message: UnsafeRawBufferPointer, _ record: DNSRecordOfAnswer, isDocument: Bool) -> DNSAnswer {
        guard isDocument else { return DNSAnswer(status: 200, contentType: DNSAnswer.message, body: message, record: record) }
        var text: [UInt8] = []
        DNSDocument.write(Span(_unsafeElements: message.octets), name: record.nameText, type: record.type, to: &text)
        return DNSAnswer(status: 200, contentType: DNSAnswer.document, body: keep(text), record: record)
    }

    /// Moves text to where it stays until the next call.
    private func keep(_ text: [UInt8]) -> UnsafeRawBufferPointer {
        document.deallocate()
        document = .allocate(byteCount: text.count, alignment: 1)
        document.copyBytes(from: text)
        return UnsafeRawBufferPointer(document)
    }

    func problem(_ problem: Problem) -> DNSAnswer {
        guard case .bytes(let bytes) = problem.response.body else { preconditionFailure("a problem has a body") }
        return DNSAnswer(status: problem.status, contentType: DNSAnswer.problem, body: keep(bytes))
    }

    /// Rows 10 and 8 of the two tables: nobody answered.
    func unanswered(_ question: DNSQuery, _ name: UnsafeRawBufferPointer, isDocument: Bool) -> DNSAnswer {
        if isDocument { return problem(Problem(502, "bad_gateway", "DNS resolution failed")) }
        metrics.answered(type: question.type, code: DNSCode.serverFailure, .error)
        return error(question, name, DNSCode.serverFailure)
    }

    /// An error message with the question, status 200.
    private func error(_ question: DNSQuery, _ name: UnsafeRawBufferPointer, _ code: UInt16) -> DNSAnswer {
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: scratch[..<DNSErrorAnswer.maximumBytes]))
        DNSErrorAnswer.write(question, name: Span(_unsafeElements: name.octets), code: code, to: &writer)
        return DNSAnswer(
            status: 200, contentType: DNSAnswer.message, body: UnsafeRawBufferPointer(rebasing: scratch[..<writer.count]),
            record: DNSRecordOfAnswer(type: question.type, code: code, isCacheHit: false, name: name))
    }

    /// An error message without a question; identifier and flags as far as `query` has them.
    private func failure(_ status: Int, _ code: UInt16, _ query: Span<UInt8>) -> DNSAnswer {
        let (identifier, flags) = (DNSHeader.identifier(query), DNSHeader.flags(query))
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: scratch[..<DNSHeader.bytes]))
        DNSErrorAnswer.write(identifier: identifier, queryFlags: flags, code: code, to: &writer)
        return DNSAnswer(
            status: status, contentType: DNSAnswer.message, body: UnsafeRawBufferPointer(rebasing: scratch[..<writer.count]))
    }

    // MARK: - /dns-query

    /// Row 6: the media type, whatever its parameters.
    private func isMessage(_ request: RequestView) -> Bool {
        guard let index = request.head.pointee.first(.contentType) else { return false }
        return DNSMediaType.isMessage(UnsafeRawBufferPointer(rebasing: request.bytes[request.head.pointee.value(index)]))
    }

    private enum Decoded {
        case message(UnsafeRawBufferPointer)
        case answer(DNSAnswer)
    }

    /// Rows 3 to 5: the parameter `dns`.
    private func decode(_ request: RequestView) -> Decoded {
        let bytes = Span(_unsafeElements: request.bytes.octets)
        var query = FormQuery(request.query)
        var found: Range<Int>?
        while let pair = query.pair(bytes) {
            guard FormQuery.first("dns", in: bytes, pair.name.lowerBound..<pair.value.upperBound) != nil else { continue }
            if found != nil { return .answer(failure(400, DNSCode.formatError, [UInt8]().span)) }
            found = pair.value
        }
        guard let found, !found.isEmpty else { return .answer(failure(400, DNSCode.formatError, [UInt8]().span)) }
        let escaped = request.bytes[found].contains { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }
        if escaped {
            let text = Array(FormQuery.string(bytes, found).utf8)
            return text.withUnsafeBytes { decode($0) }
        }
        return decode(UnsafeRawBufferPointer(rebasing: request.bytes[found]))
    }

    private func decode(_ text: UnsafeRawBufferPointer) -> Decoded {
        let span = Span(_unsafeElements: text.octets)
        var writer = ByteWriter(scratch)
        if text.count > Base64.encodedURLBytes(queryBytesMaximum) {
            // The first twelve bytes tell whom to answer.
            let front = Base64.decodeURLTolerantly(span.extracting(0..<min(16, text.count)), to: &writer) == nil ? 0 : writer.count
            let header = [UInt8](UnsafeRawBufferPointer(rebasing: scratch[..<front]))
            return .answer(failure(413, DNSCode.formatError, header.span))
        }
        guard Base64.decodeURLTolerantly(span, to: &writer) != nil else {
            return .answer(failure(400, DNSCode.formatError, [UInt8]().span))
        }
        return .message(UnsafeRawBufferPointer(rebasing: scratch[..<writer.count]))
    }

    // MARK: - /dns-json

    /// Answers a request of `/dns-json`, whose session is good: rows 2 to 8 of its table.
    public func answerDocument(_ request: RequestView, from client: DNSClient) -> DNSOutcome {
        guard shared.admits(client.address, nowNanoseconds: shard.nowNanoseconds) else {
            return .answer(problem(Problem(429, "too_many_requests", "Rate limit exceeded")))
        }
        let asked: DNSDocument.Question
        do { asked = try DNSDocument.parse(Span(_unsafeElements: request.bytes.octets), request.query) } catch {
            return .answer(problem(Problem(400, "bad_request", error.message)))
        }
        var writer = ByteWriter(scratch)
        _ = DNSQuery.write(name: asked.name.span, type: asked.type, to: &writer)
        guard writer.count <= queryBytesMaximum else { return .answer(problem(Problem(413, "payload_too_large", "DNS query too large"))) }
        let message = UnsafeRawBufferPointer(rebasing: scratch[..<writer.count])
        var nameWriter = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: key[..<DNSName.maximumBytes]))
        guard let question = DNSQuery.parse(Span(_unsafeElements: message.octets), canonicalName: &nameWriter) else {
            return .answer(problem(Problem(400, "bad_request", DNSDocument.Fault.name.message)))
        }
        return resolve(message, question, nameBytes: nameWriter.count, client, request)
    }
}

/// Whose query it is.
public struct DNSClient {
    /// Effective address: the limiter's key.
    let address: IPAddress
    /// The session whose share of waiting queries it takes one of.
    let sessionID: String
    /// It asked `/dns-json`.
    let isDocument: Bool

    /// Collects the parts.
    public init(address: IPAddress, sessionID: String, isDocument: Bool) {
        self.address = address
        self.sessionID = sessionID
        self.isDocument = isDocument
    }
}

/// The media type of DNS messages.
enum DNSMediaType {
    /// Whether a `Content-Type` names it: what is before `;`, trimmed, in any case.
    static func isMessage(_ value: UnsafeRawBufferPointer) -> Bool {
        guard value.count <= DNSLimits.contentTypeBytes else { return false }
        var end = value.firstIndex(of: UInt8(ascii: ";")) ?? value.count
        var start = 0
        while start < end, value[start] <= 0x20 { start += 1 }
        while end > start, value[end - 1] <= 0x20 { end -= 1 }
        let name: StaticString = "application/dns-message"
        guard end - start == name.utf8CodeUnitCount else { return false }
        for index in 0..<name.utf8CodeUnitCount {
            let byte = value[start + index]
            guard (byte &- 0x41 < 26 ? byte | 0x20 : byte) == name.utf8Start[index] else { return false }
        }
        return true
    }
}

/// Making an answer of somebody else's the answer of this client.
enum DNSMessageEdit {
    /// Sets identifier, RD and CD, and the question bytes where they have the same place in both.
    static func address(_ message: UnsafeMutableRawBufferPointer, to query: Span<UInt8>, _ question: DNSQuery, questionEnd: Int) {
        setIdentifier(message, question.identifier)
        let bits = DNSHeader.recursionDesired | DNSHeader.checkingDisabled
        message[2] = message[2] & ~UInt8(truncatingIfNeeded: bits >> 8) | UInt8(truncatingIfNeeded: (question.flags & bits) >> 8)
        message[3] = message[3] & ~UInt8(truncatingIfNeeded: bits) | UInt8(truncatingIfNeeded: question.flags & bits)
        guard question.end == questionEnd else { return }
        for index in DNSHeader.bytes..<questionEnd { message[index] = query[index] }
    }

    static func setIdentifier(_ message: UnsafeMutableRawBufferPointer, _ identifier: UInt16) {
        message[0] = UInt8(truncatingIfNeeded: identifier >> 8)
        message[1] = UInt8(truncatingIfNeeded: identifier)
    }
}
