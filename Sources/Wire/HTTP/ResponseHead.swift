/// The parser and the result for one response head, as strict as `RequestHead` and built from the same parts. Every
/// violation is `badGateway`: the fault is the server's, and its connection must not be used again.
public struct ResponseHead: ~Copyable {
    private enum Phase { case statusLine, fields, finished }

    private let limits: HTTPLimits
    private var lines = HeadLines()
    private var phase = Phase.statusLine
    private var outcome = HeadOutcome.needMore
    private var fields: FieldBlock
    private var isAnswerToHead = false

    /// 100 to 599.
    public private(set) var status = 0
    /// 0 or 1.
    public private(set) var minorVersion = 1
    /// The reason phrase; empty when there is none.
    public private(set) var reason = 0..<0
    /// How the body is delimited. `none` for interim responses, 204, 304 and answers to HEAD, whatever the fields say.
    public private(set) var body = BodyFraming.none
    /// Whether the server keeps the connection open after the body.
    public private(set) var keepAlive = false
    /// Whether there is an `Upgrade` field and `Connection` names it.
    public private(set) var namesUpgrade = false

    /// Allocates the storage, with the same bounds as `RequestHead`.
    public init(limits: HTTPLimits) {
        self.limits = limits
        fields = FieldBlock(limits: limits)
    }

    /// Prepares for the next response. The framing depends on the request it answers (RFC 9112 section 6.3).
    public mutating func reset(answerToHead: Bool = false) {
        lines = HeadLines()
        phase = .statusLine
        outcome = .needMore
        fields.reset()
        isAnswerToHead = answerToHead
        status = 0
        minorVersion = 1
        reason = 0..<0
        body = .none
        keepAlive = false
        namesUpgrade = false
    }

    /// Whether this is an interim response: another head follows. 101 is not interim, it ends HTTP on the connection.
    public var isInterim: Bool { status < 200 && status != 101 }
    /// Number of fields.
    public var fieldCount: Int { fields.count }
    /// Name of field `index`.
    public func name(_ index: Int) -> Range<Int> { fields.name(index) }
    /// Value of field `index` without surrounding blanks.
    public func value(_ index: Int) -> Range<Int> { fields.value(index) }
    /// Which known field field `index` is.
    public func field(_ index: Int) -> KnownField { fields.known(index) }
    /// How often a field occurs.
    public func count(of field: KnownField) -> Int { fields.count(of: field) }
    /// Index of the first occurrence of a field.
    public func first(_ field: KnownField) -> Int? { fields.first(field) }
    /// Index of the next occurrence of a field after `index`.
    public func next(_ field: KnownField, after index: Int) -> Int? { fields.next(field, after: index) }

    /// Reads on. `bytes` starts at the first byte of the response on every call.
    public mutating func parse(_ bytes: Span<UInt8>) -> HeadOutcome {
        while phase != .finished {
            switch lines.next(bytes, lineBytes: limits.headBytes, headBytes: limits.headBytes, tabAllowed: true) {
            case .needMore: return .needMore
            case .overflow, .malformed: return refuse()
            case .line(let start, let end):
                if phase == .statusLine {
                    guard readStatusLine(bytes, start, end) else { return refuse() }
                    phase = .fields
                } else if start < end {
                    if fields.append(bytes, start, end) != nil { return refuse() }
                } else {
                    guard finish(bytes) else { return refuse() }
                    phase = .finished
                    outcome = .complete(headBytes: lines.lineStart)
                }
            }
        }
        return outcome
    }

    private mutating func refuse() -> HeadOutcome {
        phase = .finished
        outcome = .violation(.badGateway)
        return outcome
    }

    /// `HTTP/1.x SP 3DIGIT [SP reason]`. The space before an empty reason is often left out, and nothing hangs on it.
    private mutating func readStatusLine(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        guard end - start >= 12, bytes.equals("HTTP/1.", in: start..<start + 7), bytes[start + 7] &- 0x30 <= 1,
            bytes[start + 8] == Character7.space
        else { return false }
        var code = 0
        for index in (start + 9)..<(start + 12) {
            guard Character7.isDigit(bytes[index]) else { return false }
            code = code * 10 + Int(bytes[index] &- 0x30)
        }
        guard code >= 100, code <= 599 else { return false }
        if end > start + 12, bytes[start + 12] != Character7.space { return false }
        status = code
        minorVersion = Int(bytes[start + 7] &- 0x30)
        reason = min(start + 13, end)..<end
        return true
    }

    private mutating func finish(_ bytes: Span<UInt8>) -> Bool {
        let connection = MessageFraming.connection(fields, bytes)
        keepAlive = !connection.close && (minorVersion == 1 || connection.keepAlive)
        namesUpgrade = connection.upgrade && fields.count(of: .upgrade) > 0
        let framing = MessageFraming.read(fields, bytes, minorVersion: minorVersion)
        if case .violation = framing { return false }
        if isAnswerToHead || status < 200 || status == 204 || status == 304 {
            body = .none
        } else if case .framed(let framed) = framing {
            body = framed
        } else {
            body = .untilClose
            keepAlive = false
        }
        return true
    }
}
