import Policy

@testable import Configuration

/// Any text as the public base URL and as the URL of the relay: what is accepted is a normal origin and a path that can
/// stand in front of a route, in JSON and in a header as it is.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzBaseURL(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    if let url = BaseURL(text) { check(url) } else { precondition(text.isEmpty || BaseURL.problem(text) != nil) }
    if let url = RelayURL(text) { check(url, text) } else { precondition(text.isEmpty || RelayURL.problem(text) != nil) }
    return 0
}

private func check(_ url: BaseURL) {
    precondition(Origin(url.origin)?.text == url.origin && url.text.hasPrefix(url.origin))
    precondition(url.path.isEmpty || (url.path.hasPrefix("/") && !url.path.hasSuffix("/")))
    precondition((url.origin + url.path + url.text).utf8.allSatisfy(isHarmless))
    // Normal forms are normal; trailing slashes may only become fewer.
    guard let again = BaseURL(url.text) else { fatalError("a normal form is refused") }
    precondition(again.origin == url.origin && again.path == url.path)
    // Where a client resolves `path` + route, it reaches that route: no segment changes the path's meaning.
    precondition(url.path.split(separator: "/").allSatisfy { $0 != "." && $0 != ".." })
}

private func check(_ url: RelayURL, _ text: String) {
    precondition(url.text.utf8.allSatisfy(isHarmless))
    let scheme = text.prefix { $0 != ":" }.lowercased()
    precondition(["http", "https", "ws", "wss"].contains(scheme) && url.text.hasPrefix(scheme + "://"))
    guard let again = RelayURL(url.text) else { fatalError("a normal form is refused") }
    precondition(url.text == again.text || url.text.hasPrefix(again.text))
    if scheme.hasPrefix("http"), let base = BaseURL(text) { precondition(base.text == url.text) }
}

private func isHarmless(_ byte: UInt8) -> Bool { byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\") }
