import Glibc
import Policy

/// Any text as a target host and as an address.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTargetHost(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    checkAddress(text)
    checkHost(text)
    checkPattern(text)
    return 0
}

/// The C library reads the same addresses.
private func checkAddress(_ text: String) {
    let address = IPAddress(text)
    guard !text.utf8.contains(0) else { return precondition(address == nil) }
    var bytes = [UInt8](repeating: 0, count: 16)
    let expected: IPAddress?
    if inet_pton(AF_INET, text, &bytes) == 1 {
        expected = IPAddress(bytes: Array(bytes[..<4]))
    } else if inet_pton(AF_INET6, text, &bytes) == 1 {
        expected = IPAddress(bytes: bytes)
    } else {
        expected = nil
    }
    precondition(address == expected)
    if let address {
        precondition(IPAddress(address.description) == address && IPAddress(address.compressedHexadecimal) == address)
        precondition(AddressRules.isPublic(address) == AddressRules.isPublic(address.normalized))
    }
}

/// Judged and dialled are the same thing: the result classifies as itself, and no private address gets through.
private func checkHost(_ text: String) {
    let host = TargetHost(classifying: text)
    switch host {
    case .malformed: break
    case .address(let address): precondition(TargetHost(classifying: address.description) == host)
    case .name(let name):
        precondition(TargetHost(classifying: name) == host && TargetHost(classifying: name.uppercased() + ".") == host)
        precondition(
            name.utf8.count <= 253 && name.utf8.allSatisfy { $0 == 0x2D || $0 == 0x2E || $0 &- 0x30 < 10 || $0 &- 0x61 < 26 })
        // What inet_aton reads as an address must not be taken for a name: a resolver would not ask the DNS for it.
        var ignored = in_addr()
        precondition(inet_aton(name, &ignored) == 0)
    }
    switch EgressPolicy().judge(host: text, port: 80) {
    case .address(let address): precondition(AddressRules.isPublic(address) && address.normalized == address)
    case .resolve(let name): precondition(host == .name(name))
    case .refused(let refusal): precondition(refusal == (host == .malformed ? .hostMalformed : .addressNotPublic))
    }
}

/// A host matches the pattern it makes.
private func checkPattern(_ text: String) {
    guard let pattern = try? HostPattern(parsing: text) else { return }
    switch pattern {
    case .exact, .address: precondition(pattern.matches(TargetHost(classifying: text)))
    case .subdomains(let parent): precondition(pattern.matches(.name("a." + parent)) && !pattern.matches(.name(parent)))
    }
}
