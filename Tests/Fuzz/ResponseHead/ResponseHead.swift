import Wire

/// A response head: the answer must not depend on the cut; bodies of those that have none are none.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzResponseHead(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let bytes = Array(input.dropFirst(2))
    let cut = (Int(input[0] & 0x7F) << 8 | Int(input[1])) % (bytes.count + 1)
    let answerToHead = input[0] & 0x80 != 0
    let limits = HTTPLimits(targetBytes: 200, headBytes: 1000, fieldCount: 8)
    var whole = ResponseHead(limits: limits)
    whole.reset(answerToHead: answerToHead)
    let outcome = whole.parse(bytes.span)
    var pieces = ResponseHead(limits: limits)
    pieces.reset(answerToHead: answerToHead)
    let early = pieces.parse(bytes.span.extracting(0..<cut))
    let late = pieces.parse(bytes.span)
    precondition(early == .needMore || early == late)
    precondition(late == outcome && pieces.body == whole.body && pieces.keepAlive == whole.keepAlive)
    guard case .complete(let headBytes) = outcome else { return 0 }
    precondition(headBytes <= bytes.count && Array(bytes[(headBytes - 4)..<headBytes]) == [13, 10, 13, 10])
    precondition((100...599).contains(whole.status) && whole.reason.upperBound < headBytes)
    if answerToHead || whole.status < 200 || whole.status == 204 || whole.status == 304 { precondition(whole.body == .none) }
    for index in 0..<whole.fieldCount {
        precondition(!whole.name(index).isEmpty && whole.value(index).upperBound < headBytes)
    }
    return 0
}
