import Wire

/// A message as a query, and as the answer to its own question: nothing reads outside, and a kept answer can be aged.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDNSMessage(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var message = Array(UnsafeBufferPointer(start: start, count: count))
    let space = UnsafeMutableRawBufferPointer.allocate(byteCount: DNSName.maximumBytes, alignment: 1)
    defer { space.deallocate() }
    var writer = ByteWriter(space)
    guard let query = DNSQuery.parse(message.span, canonicalName: &writer) else { return 0 }
    let name = Array(UnsafeRawBufferPointer(start: space.baseAddress, count: writer.count))
    precondition(query.end <= message.count)
    _ = query.traits(message.span)
    let answer = UnsafeMutableRawBufferPointer.allocate(byteCount: DNSErrorAnswer.maximumBytes, alignment: 1)
    defer { answer.deallocate() }
    var answerWriter = ByteWriter(answer)
    precondition(DNSErrorAnswer.write(query, name: name.span, code: DNSCode.serverFailure, to: &answerWriter))
    let error = Array(UnsafeRawBufferPointer(start: answer.baseAddress, count: answerWriter.count))
    func judge(_ bytes: [UInt8]) -> DNSResponse.Judgement {
        DNSResponse.judge(bytes.span, identifier: query.identifier, name: name.span, type: query.type, recordClass: query.recordClass)
    }
    guard case .answer(let own) = judge(error), own.code == DNSCode.serverFailure, own.answers == 0 else {
        preconditionFailure("an answer of our own is an answer")
    }
    guard case .answer(let response) = judge(message) else { return 0 }
    precondition(response.questionEnd == query.end)
    precondition((0...300).contains(response.lifetimeSeconds(maximum: 300, negativeDefault: 60)))
    if response.isTruncated { return 0 }
    var walk = DNSRecordWalk(message.span, from: response.questionEnd)
    while let record = walk.next(message.span) {
        precondition(record.data.upperBound <= message.count)
        _ = DNSName.text(message.span, record.name)
    }
    precondition(!walk.isMalformed)
    var span = message.mutableSpan
    DNSResponse.age(&span, questionEnd: response.questionEnd, seconds: 1)
    return 0
}
