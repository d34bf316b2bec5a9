import Policy

/// Any value of Access-Control-Request-Headers: nothing that is no list of names is echoed, and Content-Type is always
/// allowed.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCrossOrigin(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    let allowed = CrossOriginHeaders.allowHeaders(requested: text)
    precondition(allowed.utf8.allSatisfy { $0 == 0x09 || ($0 >= 0x20 && $0 < 0x7F) })
    let names = allowed.utf8.split(separator: UInt8(ascii: ",")).map { name in
        String(decoding: name.drop { $0 <= 0x20 }.reversed().drop { $0 <= 0x20 }.reversed(), as: Unicode.UTF8.self).lowercased()
    }
    precondition(names.contains("content-type"))
    let isList = !bytes.isEmpty && text.utf8.count <= 4096
        && text.utf8.allSatisfy { byte in
            byte == 0x09 || byte == 0x20 || byte == UInt8(ascii: ",") || "!#$%&'*+-.^_`|~".utf8.contains(byte)
                || (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        }
    let list = String(decoding: text.utf8.drop { $0 <= 0x20 }.reversed().drop { $0 <= 0x20 }.reversed(), as: Unicode.UTF8.self)
    if isList, !list.isEmpty { precondition(allowed == list || allowed == "Content-Type, " + list) }
    // Asking for what was granted grants the same.
    precondition(CrossOriginHeaders.allowHeaders(requested: allowed) == allowed || allowed.utf8.count > 4096)
    return 0
}
