import Wire

/// What a request head looked like, copied out so that two parses can be compared.
struct ParsedRequest: Equatable {
    var outcome: HeadOutcome
    var method = HTTPMethod.get
    var minorVersion = 0
    var target = ""
    var path = ""
    var query = ""
    var fields: [[String]] = []
    var body = BodyFraming.none
    var keepAlive = false
    var expectsContinue = false
    var wantsUpgrade = false
}

func text(_ bytes: [UInt8], _ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

func describe(_ head: borrowing RequestHead, _ outcome: HeadOutcome, _ bytes: [UInt8]) -> ParsedRequest {
    guard case .complete = outcome else { return ParsedRequest(outcome: outcome) }
    var fields: [[String]] = []
    for index in 0..<head.fieldCount {
        fields.append([text(bytes, head.name(index)), text(bytes, head.value(index)), "\(head.field(index))"])
    }
    return ParsedRequest(
        outcome: outcome, method: head.method, minorVersion: head.minorVersion, target: text(bytes, head.target),
        path: text(bytes, head.path), query: text(bytes, head.query), fields: fields, body: head.body,
        keepAlive: head.keepAlive, expectsContinue: head.expectsContinue, wantsUpgrade: head.wantsUpgrade)
}

/// Parses a request given at once.
func parseRequest(_ bytes: [UInt8], limits: HTTPLimits = HTTPLimits()) -> ParsedRequest {
    var head = RequestHead(limits: limits)
    let outcome = head.parse(bytes.span)
    return describe(head, outcome, bytes)
}

func parseRequest(_ text: String, limits: HTTPLimits = HTTPLimits()) -> ParsedRequest {
    parseRequest(Array(text.utf8), limits: limits)
}

/// The status a request is refused with; 0 when it is complete, -1 when more is needed.
func refusal(_ outcome: HeadOutcome) -> Int {
    switch outcome {
    case .needMore: -1
    case .complete: 0
    case .violation(let violation): violation.status
    }
}

/// Runs `body` with a writer over a buffer of `capacity` bytes and returns what it wrote, or nil when it failed.
func written(_ capacity: Int = 4096, _ body: (inout ByteWriter) -> Void) -> [UInt8]? {
    withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        body(&writer)
        return writer.failed ? nil : Array(buffer[..<writer.count])
    }
}

/// A small reproducible generator (SplitMix64).
struct Generator: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}
