// Theory of operation
//
// A head is read line by line. Each call to `parse` goes on at the first line that was not complete before, so the
// whole head is looked at once, however it arrives. Nothing is copied: results are ranges into the caller's bytes.
//
//     GET /tcp?v=1&host=a HTTP/1.1 CRLF     requestLine   -> method, target, path, query, version
//     Host: gateway.example CRLF            fields        -> one FieldBlock entry per line
//     CRLF                                  finish        -> host, framing, connection: rules over the whole head
//
// Strictness is the defence against request smuggling: what two parsers could read differently is refused
// (RFC 9112 section 11.2). Violations are final: nothing behind one is interpreted.

/// The parser and the result for one request head. One value serves all requests of a shard, one after the other:
/// its storage is allocated by `init` and never grows.
///
/// All ranges are offsets into the bytes given to `parse`, and are valid after `.complete` until `reset`.
public struct RequestHead: ~Copyable {
    private enum Phase { case requestLine, fields, finished }

    private let limits: HTTPLimits
    private var lines = HeadLines()
    private var phase = Phase.requestLine
    private var sawEmptyLine = false
    private var outcome = HeadOutcome.needMore
    private var fields: FieldBlock
    private var line = RequestLine()

    /// How the body is delimited: `none`, `length` or `chunked`.
    public private(set) var body = BodyFraming.none
    /// Whether the connection may carry another request after this one (RFC 9112 section 9.3).
    public private(set) var keepAlive = false
    /// Whether the client waits for `100 Continue` before it sends its body.
    public private(set) var expectsContinue = false
    /// Whether there is an `Upgrade` field and `Connection` names it. The version is not considered: HTTP/1.0 is
    /// the caller's to refuse or ignore.
    public private(set) var wantsUpgrade = false

    /// Allocates the storage. `limits.headBytes` may be at most 65535, `limits.fieldCount` at most 254.
    public init(limits: HTTPLimits) {
        self.limits = limits
        fields = FieldBlock(limits: limits)
    }

    /// Forgets the current request; the next call of `parse` begins a new one.
    public mutating func reset() {
        lines = HeadLines()
        phase = .requestLine
        sawEmptyLine = false
        outcome = .needMore
        fields.reset()
        line = RequestLine()
        body = .none
        keepAlive = false
        expectsContinue = false
        wantsUpgrade = false
    }

    /// The method.
    public var method: HTTPMethod { line.method }
    /// 0 or 1.
    public var minorVersion: Int { Int(line.minorVersion) }
    /// The whole request target.
    public var target: Range<Int> { line.target }
    /// The path, never empty. An absolute-form target without a path means "/"; its range then is the slash that
    /// ends "://". `*` for the asterisk form.
    public var path: Range<Int> { line.path }
    /// What follows the first `?`, without it; empty when there is none.
    public var query: Range<Int> { line.query }
    /// Whether the target has a `?`.
    public var hasQuery: Bool { line.hasQuery }
    /// The authority of an absolute-form target, nil otherwise. It equals the `Host` field in any case.
    public var targetAuthority: Range<Int>? { line.authority.isEmpty ? nil : line.authority }

    /// Number of fields, those dropped for an underscore in their name not counted.
    public var fieldCount: Int { fields.count }
    /// Name of field `index`.
    public func name(_ index: Int) -> Range<Int> { fields.name(index) }
    /// Value of field `index` without surrounding blanks.
    public func value(_ index: Int) -> Range<Int> { fields.value(index) }
    /// Which known field field `index` is.
    public func field(_ index: Int) -> KnownField { fields.known(index) }
    /// How often a field occurs. Repetitions of what is not ambiguous here are the caller's to judge.
    public func count(of field: KnownField) -> Int { fields.count(of: field) }
    /// Index of the first occurrence of a field.
    public func first(_ field: KnownField) -> Int? { fields.first(field) }
    /// Index of the next occurrence of a field after `index`, in wire order.
    public func next(_ field: KnownField, after index: Int) -> Int? { fields.next(field, after: index) }

    /// Reads on. `bytes` starts at the first byte of the request on every call, with more bytes behind the old ones.
    public mutating func parse(_ bytes: Span<UInt8>) -> HeadOutcome {
        while true {
            switch phase {
            case .requestLine:
                switch nextRequestLine(bytes) {
                case .needMore: return .needMore
                case .overflow:
                    return refuse(RequestLine.hasMethod(bytes, from: lines.lineStart) ? .targetTooLong : .badRequest)
                case .malformed: return refuse(.badRequest)
                case .line(let start, let end):
                    if start == end {
                        // One empty line before a request is forgiven (RFC 9112 section 2.2): old clients send it.
                        if sawEmptyLine { return refuse(.badRequest) }
                        sawEmptyLine = true
                        continue
                    }
                    if let violation = line.read(bytes, start, end, targetBytes: limits.targetBytes) {
                        return refuse(violation)
                    }
                    phase = .fields
                }
            case .fields:
                switch lines.next(bytes, lineBytes: limits.headBytes, headBytes: limits.headBytes, tabAllowed: true) {
                case .needMore: return .needMore
                case .overflow: return refuse(.headTooLarge)
                case .malformed: return refuse(.badRequest)
                case .line(let start, let end):
                    if start < end {
                        if let violation = fields.append(bytes, start, end) { return refuse(violation) }
                        continue
                    }
                    if let violation = finish(bytes) { return refuse(violation) }
                    phase = .finished
                    outcome = .complete(headBytes: lines.lineStart)
                }
            case .finished: return outcome
            }
        }
    }

    private mutating func nextRequestLine(_ bytes: Span<UInt8>) -> HeadLines.Line {
        lines.next(
            bytes, lineBytes: limits.targetBytes &+ HTTPLimits.requestLineOverheadBytes,
            headBytes: limits.headBytes, tabAllowed: false)
    }

    private mutating func refuse(_ violation: HTTPViolation) -> HeadOutcome {
        phase = .finished
        outcome = .violation(violation)
        return outcome
    }

    /// The rules that need the whole head.
    private mutating func finish(_ bytes: Span<UInt8>) -> HTTPViolation? {
        if let violation = checkHost(bytes) { return violation }
        if fields.count(of: .authorization) > 1 || fields.count(of: .contentType) > 1 { return .badRequest }
        switch MessageFraming.read(fields, bytes, minorVersion: minorVersion) {
        case .absent: body = .none
        case .framed(let framing): body = framing
        case .violation(let violation): return violation
        }
        let connection = MessageFraming.connection(fields, bytes)
        keepAlive = !connection.close && (minorVersion == 1 || connection.keepAlive)
        wantsUpgrade = connection.upgrade && fields.count(of: .upgrade) > 0
        return checkExpectation(bytes)
    }

    private func checkHost(_ bytes: Span<UInt8>) -> HTTPViolation? {
        guard let index = fields.first(.host) else {
            // Without a Host an absolute target has nothing to equal.
            return minorVersion == 1 || !line.authority.isEmpty ? .badRequest : nil
        }
        let host = fields.value(index)
        guard fields.count(of: .host) == 1, HostField.isValid(bytes, host) else { return .badRequest }
        if !line.authority.isEmpty, !bytes.equalsIgnoringCase(line.authority, host) { return .badRequest }
        return nil
    }

    private mutating func checkExpectation(_ bytes: Span<UInt8>) -> HTTPViolation? {
        var next = fields.first(.expect)
        while let index = next {
            guard bytes.equalsIgnoringCase("100-continue", in: fields.value(index)) else { return .expectationFailed }
            // A 1.0 client does not know interim responses (RFC 9110 section 10.1.1).
            if minorVersion == 1, body != .none, body != .length(0) { expectsContinue = true }
            next = fields.next(.expect, after: index)
        }
        return nil
    }
}
