import Wire

/// Payloads of OPEN and ERROR frames: what is accepted is exactly what the rules allow, and comes out as it went in.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMuxOpen(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 1 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    if let open = MuxOpen(input.span) {
        let host = String(validating: input[open.host], as: UTF8.self)
        let metadata = String(validating: input[open.metadata], as: UTF8.self)
        guard let host, let metadata else { preconditionFailure("not UTF-8") }
        precondition(MuxOpen.encode(host: host, port: open.port, metadata: metadata) == input)
        for scalar in host.unicodeScalars {
            precondition(scalar.value > 0x20 && scalar.value != 0x7F && !scalar.properties.isWhitespace && scalar.value != 0x85)
        }
    }
    if let error = MuxError(input.span) {
        guard let message = String(validating: input[error.message], as: UTF8.self) else { preconditionFailure("not UTF-8") }
        check(MuxError.encode(code: error.code, message: message))
    }
    check(MuxError.encode(code: 7, message: String(decoding: input, as: UTF8.self)))
    return 0
}

/// One line, within the limit, and stable.
private func check(_ payload: [UInt8]) {
    guard let error = MuxError(payload.span), let line = String(validating: payload[error.message], as: UTF8.self) else {
        preconditionFailure("an encoded error is readable")
    }
    precondition(!line.hasPrefix(" ") && !line.contains("  "))
    for scalar in line.unicodeScalars { precondition(scalar.value >= 0x20 && scalar.value != 0x7F && scalar.value != 0x85) }
    precondition(MuxError.encode(code: error.code, message: line) == payload)
}
