@testable import Policy

/// Any text as a host name, and any bytes as Punycode: results are plain, stable, and the same for every spelling that
/// folds to them.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzIDNA(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    checkName(text)
    checkPunycode(text)
    return 0
}

private func checkName(_ text: String) {
    guard let ascii = IDNA.toASCII(text) else { return }
    precondition(ascii.utf8.allSatisfy { $0 < 0x80 && !(0x41...0x5A).contains($0) })
    precondition(IDNA.toASCII(ascii) == ascii)
    precondition(IDNA.toASCII(ascii.uppercased()) == ascii)
    // ASCII in its full-width form is the same name, where it has one.
    if ascii.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
        var wide = String.UnicodeScalarView()
        for byte in ascii.utf8 { wide.append(Unicode.Scalar(0xFEE0 + UInt32(byte)) ?? "?") }
        precondition(IDNA.toASCII(String(wide)) == ascii || IDNA.toASCII(String(wide)) == nil)
    }
    for label in ascii.split(separator: ".") where label.hasPrefix("xn--") {
        guard let scalars = Punycode.decode(label.dropFirst(4).utf8[...]) else { fatalError("a label that does not decode") }
        precondition(Punycode.encode(scalars) == String(label.dropFirst(4)))
        precondition(scalars.contains { !$0.isASCII })
    }
}

private func checkPunycode(_ text: String) {
    let scalars = Array(text.unicodeScalars)
    if let encoded = Punycode.encode(scalars) {
        precondition(encoded.utf8.allSatisfy { $0 < 0x80 })
        // What is too long to be a label is not decoded at all.
        let decoded = Punycode.decode(encoded.utf8[...])
        precondition(decoded == scalars || (decoded == nil && encoded.utf8.count > 63))
    }
    if let decoded = Punycode.decode(text.utf8[...]) { precondition(decoded.count <= 63) }
}
