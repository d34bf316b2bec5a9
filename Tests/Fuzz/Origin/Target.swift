import Policy

/// Any text as an Origin, as a Host and as a list of requested headers.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOrigin(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    let anyOrigin = OriginAllowlist(anyOrigin: true, origins: [])
    let none = OriginAllowlist(anyOrigin: false, origins: [])
    if let origin = Origin(text) {
        // Normal forms are normal, safe to echo, and the same host as themselves.
        precondition(Origin(origin.text) == origin)
        precondition(origin.text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"%,{}\\`?#@".utf8.contains($0) })
        precondition(anyOrigin.judge(originLines: [text]) == .allowed(origin))
        if origin != .opaque, let slashes = origin.text.utf8.firstIndex(of: UInt8(ascii: "/")) {
            let host = String(origin.text[origin.text.utf8.index(slashes, offsetBy: 2)...])
            precondition(none.judge(originLines: [text], hosts: [host]) == .allowed(origin))
        }
    } else {
        precondition(anyOrigin.judge(originLines: [text]) == .refused)
    }
    let allowed = CrossOriginHeaders.allowHeaders(requested: text)
    precondition(allowed.utf8.allSatisfy { $0 == 0x09 || ($0 >= 0x20 && $0 < 0x7F) })
    precondition(allowed.lowercased().contains("content-type"))
    _ = Origin("https://a.b")?.isSameHost(as: text)
    return 0
}
