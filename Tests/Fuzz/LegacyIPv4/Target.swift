import Glibc

@testable import Policy

/// Any text as an IPv4 address in an old spelling: what the C library would dial is what is judged, and the rule for URLs
/// agrees with a second reading of it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzLegacyIPv4(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    let target = LegacyIPv4.target(text)
    if !text.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7F }), text.utf8.count <= 256 {
        var address = in_addr()
        if inet_aton(text, &address) == 1 { precondition(target == IPAddress(v4: UInt32(bigEndian: address.s_addr))) }
    }
    if let target { precondition(target.family == .v4 && LegacyIPv4.target(target.description) == target) }
    precondition(LegacyIPv4.webHost(text) == expectedWebHost(text))
    return 0
}

/// WHATWG URL, sections 3.5: "ends in a number checker" and "IPv4 parser", written along its steps.
private func expectedWebHost(_ host: String) -> LegacyIPv4.HostOutcome {
    var parts = host.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map { Array($0) }
    if parts.last == [] {
        if parts.count == 1 { return .notNumeric }
        parts.removeLast()
    }
    guard let last = parts.last else { return .notNumeric }
    let isDigits = !last.isEmpty && last.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
    guard isDigits || hexadecimal(last) != nil else { return .notNumeric }
    guard parts.count <= 4 else { return .failure }
    var numbers: [Double] = []
    for part in parts {
        guard let number = number(part) else { return .failure }
        numbers.append(number)
    }
    for number in numbers.dropLast() where number > 255 { return .failure }
    var most = 1.0
    for _ in 0..<(5 - numbers.count) { most *= 256 }
    guard let final = numbers.last, final < most else { return .failure }
    var value = final
    for (index, number) in numbers.dropLast().enumerated() {
        var weight = 1.0
        for _ in 0..<(3 - index) { weight *= 256 }
        value += number * weight
    }
    return .address(UInt32(value))
}

private func hexadecimal(_ part: [UInt8]) -> Double? {
    guard part.count >= 2, part[0] == 0x30, part[1] | 0x20 == UInt8(ascii: "x") else { return nil }
    return digits(part.dropFirst(2), 16)
}

private func number(_ part: [UInt8]) -> Double? {
    guard !part.isEmpty else { return nil }
    if part.count >= 2, part[0] == 0x30 { return hexadecimal(part) ?? digits(part.dropFirst(), 8) }
    return digits(part[...], 10)
}

/// Exact up to 2^53; above, only that it is too large matters.
private func digits(_ part: ArraySlice<UInt8>, _ radix: Int) -> Double? {
    var value = 0.0
    for byte in part {
        guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80, digit < radix else { return nil }
        value = min(value * Double(radix) + Double(digit), 1e15)
    }
    return value
}
