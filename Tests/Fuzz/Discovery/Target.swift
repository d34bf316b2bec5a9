import Policy
import Wire

private let issuer = "https://id.example"

/// Any text as a discovery document, as a location and as an issuer.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDiscovery(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    if let location = try? DiscoveryDocument.keyLocation(json: bytes, issuer: issuer, allowsPlain: false) {
        let document = JSONReader.read(bytes.span)
        precondition(document?["issuer"]?.string == issuer && document?["jwks_uri"]?.string == location.description)
        precondition(location.isSecure)
        check(location)
    }
    if let location = KeyLocation(text) { check(location) }
    if let location = DiscoveryDocument.location(issuer: text) { check(location) }
    _ = try? DiscoveryDocument.keyLocation(json: bytes, issuer: text, allowsPlain: true)
    return 0
}

/// What goes into a request's head cannot break it.
private func check(_ location: KeyLocation) {
    precondition(location.port > 0 && !location.host.isEmpty && location.target.hasPrefix("/"))
    precondition((location.host + location.target).utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
    precondition(!location.host.contains("/") && !location.host.contains("@") && !location.host.contains("#"))
    precondition(KeyLocation(location.description) == location)
}
