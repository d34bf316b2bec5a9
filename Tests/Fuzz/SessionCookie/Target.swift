import Policy

/// Any bytes as a Cookie line, against a second reading of the same rules.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSessionCookie(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let line = SessionCookie.scan(bytes.span)
    precondition(line == expected(bytes))
    // What stands before the cookie under other names changes nothing.
    precondition(SessionCookie.scan((Array("a=1;; aero_sessio=2 ;b;".utf8) + bytes).span) == line)
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    _ = ClientAddress.effective(peer: IPAddress(v4: 0), forwardedFor: text, trustProxy: true)
    _ = ClientAddress.isSecure(connectionIsTLS: false, forwardedProto: text, trustProxy: true)
    return 0
}

private func expected(_ line: [UInt8]) -> SessionCookie.Line {
    func strip(_ piece: ArraySlice<UInt8>) -> [UInt8] {
        Array(piece.drop { $0 <= 0x20 }.reversed().drop { $0 <= 0x20 }.reversed())
    }
    for pair in line.split(separator: UInt8(ascii: ";")) {
        guard let equals = pair.firstIndex(of: UInt8(ascii: "=")), strip(pair[..<equals]) == Array("aero_session".utf8) else {
            continue
        }
        let value = Array(strip(pair[(equals + 1)...]).prefix(4096))
        return .found(decoded(value) ?? String(decoding: value, as: Unicode.UTF8.self))
    }
    return .absent
}

private func decoded(_ value: [UInt8]) -> String? {
    var output: [UInt8] = []
    var rest = value[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else { output.append(byte); continue }
        let digits = Array(rest.prefix(2))
        guard digits.count == 2, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit && $0 < 0x80 }),
            let number = UInt8(String(decoding: digits, as: Unicode.UTF8.self), radix: 16)
        else { return nil }
        output.append(number)
        rest = rest.dropFirst(2)
    }
    return value.contains(UInt8(ascii: "%")) ? String(validating: output, as: Unicode.UTF8.self) : nil
}
