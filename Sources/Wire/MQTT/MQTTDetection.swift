/// What the first bytes of a WebSocket session are.
public enum MQTTDetection: Sendable, Equatable {
    /// They may still become either.
    case needMore
    /// An MQTT CONNECT begins here.
    case mqtt
    /// Anything else.
    case raw

    /// Judges the beginning of the binary data a client sent: `0x10`, a length, and the protocol name behind its own length
    /// (`00 04 MQTT` or `00 06 MQIsdp`). It needs 13 bytes at most. No data at all needs more.
    public static func judge(_ bytes: Span<UInt8>) -> MQTTDetection {
        guard bytes.count > 0 else { return .needMore }
        guard bytes[0] == 0x10 else { return .raw }
        var place = 1
        while true {
            guard place <= 4 else { return .raw }
            guard place < bytes.count else { return .needMore }
            place += 1
            if bytes[place - 1] < 0x80 { break }
        }
        let present = min(bytes.count - place, 8)
        if begins(bytes, place, present, "\0\u{4}MQTT") { return present >= 6 ? .mqtt : .needMore }
        if begins(bytes, place, present, "\0\u{6}MQIsdp") { return present >= 8 ? .mqtt : .needMore }
        return .raw
    }

    /// Whether what is there of the name, at most all of it, is the beginning of `name`.
    private static func begins(_ bytes: Span<UInt8>, _ start: Int, _ present: Int, _ name: StaticString) -> Bool {
        for offset in 0..<min(present, name.utf8CodeUnitCount) {
            if unsafe bytes[start + offset] != name.utf8Start[offset] { return false }
        }
        return true
    }
}
