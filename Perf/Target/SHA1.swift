// SHA-1 (FIPS 180-4), for the one place that needs it: the accept value of a WebSocket handshake.

/// The SHA-1 digest of a short message, 20 bytes.
func sha1(_ message: [UInt8]) -> [UInt8] {
    var padded = message + [0x80]
    while padded.count % 64 != 56 { padded.append(0) }
    let bits = UInt64(message.count) * 8
    padded += (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) }

    var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    var schedule = [UInt32](repeating: 0, count: 80)
    for block in stride(from: 0, to: padded.count, by: 64) {
        for word in 0..<16 {
            schedule[word] = (0..<4).reduce(0) { $0 << 8 | UInt32(padded[block + 4 * word + $1]) }
        }
        for word in 16..<80 {
            schedule[word] = rotate(schedule[word - 3] ^ schedule[word - 8] ^ schedule[word - 14] ^ schedule[word - 16], 1)
        }
        mix(schedule, into: &state)
    }
    return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
}

private func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 { value << count | value >> (32 - count) }

private func mix(_ schedule: [UInt32], into state: inout [UInt32]) {
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for round in 0..<80 {
        let (function, constant): (UInt32, UInt32) =
            switch round {
            case 0..<20: ((b & c) | (~b & d), 0x5A82_7999)
            case 20..<40: (b ^ c ^ d, 0x6ED9_EBA1)
            case 40..<60: ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC)
            default: (b ^ c ^ d, 0xCA62_C1D6)
            }
        (a, b, c, d, e) = (rotate(a, 5) &+ function &+ e &+ constant &+ schedule[round], a, rotate(b, 30), c, d)
    }
    for (index, value) in [a, b, c, d, e].enumerated() { state[index] &+= value }
}

/// Base64 (RFC 4648, section 4) with padding.
func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = (0..<3).map { start + $0 < bytes.count ? UInt32(bytes[start + $0]) : 0 }
        let word = group[0] << 16 | group[1] << 8 | group[2]
        let present = bytes.count - start
        text.append(alphabet[Int(word >> 18 & 63)])
        text.append(alphabet[Int(word >> 12 & 63)])
        text.append(present > 1 ? alphabet[Int(word >> 6 & 63)] : UInt8(ascii: "="))
        text.append(present > 2 ? alphabet[Int(word & 63)] : UInt8(ascii: "="))
    }
    return String(decoding: text, as: UTF8.self)
}

/// The value of Sec-WebSocket-Accept for a key (RFC 6455, section 4.2.2).
func acceptValue(key: String) -> String {
    base64(sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
}
