import Wire

/// Any bytes as a `traceparent`: what is accepted has the shape of the recommendation, and is read back as it was.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTraceContext(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let context = TraceContext(bytes.span) else { return 0 }
    precondition(bytes.count >= TraceContext.fieldBytes)
    precondition(bytes[0] != UInt8(ascii: "f") || bytes[1] != UInt8(ascii: "f"))
    for index in 0..<TraceContext.fieldBytes {
        let isSeparator = index == 2 || index == 35 || index == 52
        precondition(isSeparator ? bytes[index] == UInt8(ascii: "-") : "0123456789abcdef".utf8.contains(bytes[index]))
    }
    let isLater = !bytes.starts(with: "00".utf8)
    precondition(bytes.count == TraceContext.fieldBytes || (isLater && bytes[TraceContext.fieldBytes] == UInt8(ascii: "-")))
    precondition(Array(context.traceID.utf8) == Array(bytes[3..<35]))
    precondition(TraceContext(context.field.utf8.span) == context)
    precondition(context.parent != 0 && context.traceHigh | context.traceLow != 0)
    return 0
}
