import Wire

/// Any text as a control message, and any text as the credential in one.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRelayControl(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let message = RelayControlMessage.read(bytes.span)
    precondition(message.isAuthentication == (JSONReader.read(bytes.span)?["type"]?.string == "auth"))
    if case .credential(let credential) = message { precondition(!credential.isEmpty) }
    precondition((RelayEnding(message) == nil) == { if case .credential = message { true } else { false } }())
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    let quoted = withUnsafeTemporaryAllocation(byteCount: count * 18 + 2, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        writer.jsonString(text)
        return Array(buffer[..<writer.count])
    }
    let both = Array("{\"type\":\"auth\",\"token\":".utf8) + quoted + Array(",\"apiKey\":".utf8) + quoted + Array("}".utf8)
    let isBlank = text.utf8.allSatisfy { $0 == 0x20 || (9...13).contains($0) }
    precondition(RelayControlMessage.read(both.span) == (isBlank ? .noCredential : .credential(text)))
    return 0
}
