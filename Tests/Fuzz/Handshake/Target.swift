import Policy

/// Lines of the form `U…`, `C…`, `V…`, `K…`, `P…`: values of Upgrade, Connection, Sec-WebSocket-Version, -Key and
/// -Protocol. Accepted is what a second reading of the rules accepts, with the same key.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHandshake(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var values: [UInt8: [String]] = [:]
    for line in UnsafeBufferPointer(start: start, count: count).split(separator: 10) {
        guard let kind = line.first else { continue }
        values[kind, default: []].append(String(decoding: line.dropFirst(), as: Unicode.UTF8.self))
    }
    let (upgrade, connection) = (values[UInt8(ascii: "U")] ?? [], values[UInt8(ascii: "C")] ?? [])
    let (version, key) = (values[UInt8(ascii: "V")] ?? [], values[UInt8(ascii: "K")] ?? [])
    checkHeaders(upgrade, connection, version, key)
    checkProtocols(values[UInt8(ascii: "P")] ?? [])
    return 0
}

private func checkHeaders(_ upgrade: [String], _ connection: [String], _ version: [String], _ key: [String]) {
    var found: String?
    var fault: HandshakeRule.Fault?
    do {
        found = try HandshakeRule.check(upgrade: field(upgrade), connection: field(connection), version: field(version), key: field(key))
    } catch {
        fault = error
    }
    let isUpgrade =
        upgrade.count == 1 && names("websocket", upgrade[0]) && connection.count == 1 && names("upgrade", connection[0])
        && version.count == 1 && version[0].utf8.count <= 32 && Array(stripped(version[0].utf8)) == Array("13".utf8)
    guard isUpgrade, key.count <= 1, (key.first ?? "").utf8.count <= 256 else { return precondition(fault == .invalidUpgrade) }
    guard let found else { return precondition(fault == .keyMissing) }
    precondition(!found.isEmpty && key[0].contains(found) && HandshakeRule.Field(count: 1, value: found).value == found)
}

private func field(_ lines: [String]) -> HandshakeRule.Field { HandshakeRule.Field(count: lines.count, value: lines.first ?? "") }

/// Whether `token` is a whole element of a comma list of at most 256 bytes.
private func names(_ token: String, _ value: String) -> Bool {
    value.utf8.count <= 256
        && value.utf8.split(separator: UInt8(ascii: ",")).contains { element in
            stripped(element).map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 } == Array(token.utf8)
        }
}

/// Without surrounding spaces and tabs.
private func stripped(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    Array(Array(bytes).drop { $0 == 0x20 || $0 == 0x09 }.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed())
}

private func checkProtocols(_ lines: [String]) {
    var fault: HandshakeRule.Fault?
    do { try HandshakeRule.checkMuxSubprotocol(lines: lines) } catch { fault = error }
    let joined = lines.joined(separator: ",")
    let tokens = joined.utf8.split(separator: UInt8(ascii: ",")).map { stripped($0) }.filter { !$0.isEmpty }
    let isToken = { (token: [UInt8]) in
        token.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
    if joined.utf8.count > 4096 || tokens.count > 32 || !tokens.allSatisfy(isToken) {
        precondition(fault == .protocolInvalid)
    } else {
        precondition(fault == (tokens.contains(Array("aero-tcp-mux-v1".utf8)) ? nil : .subprotocolMissing))
    }
}
