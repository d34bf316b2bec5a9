import Policy

/// Any bytes as the query of `/tcp`, and as the values of the handshake headers.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTCPQuery(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    if let query = try? TCPQuery.parse(bytes.span) {
        precondition(!query.host.isEmpty && query.host.utf16.count <= TCPQuery.maximumTargetCharacters && query.port > 0)
        // Sent in the form clients use, it means the same; a host that begins and ends with brackets loses them again.
        let escaped = query.host.utf8.map { "%" + hexadecimal($0 >> 4) + hexadecimal($0 & 15) }.joined()
        if !query.host.hasPrefix("["), !query.host.hasSuffix("]"), query.host.utf16.count <= TCPQuery.maximumHostCharacters {
            let again = try? TCPQuery.parse("v=1&host=\(escaped)&port=\(query.port)")
            precondition(again?.host.utf8.elementsEqual(query.host.utf8) == true && again?.port == query.port)
        }
    }
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    let field = HandshakeRule.Field(count: 1, value: text)
    let good = (
        upgrade: HandshakeRule.Field(count: 1, value: "websocket"), connection: HandshakeRule.Field(count: 1, value: "upgrade")
    )
    if let key = try? HandshakeRule.check(
        upgrade: good.upgrade, connection: good.connection, version: .init(count: 1, value: "13"), key: field)
    {
        precondition(
            !key.isEmpty && key.utf8.count <= HandshakeRule.maximumFieldBytes && Digest.webSocketAccept(key: key).utf8.count == 28
        )
    }
    _ = try? HandshakeRule.check(upgrade: field, connection: field, version: field, key: field)
    _ = try? HandshakeRule.checkMuxSubprotocol(lines: [text, text])
    _ = DNSUpstream(parsing: text)
    return 0
}

private func hexadecimal(_ digit: UInt8) -> String { String(digit, radix: 16) }
