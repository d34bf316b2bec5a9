/// Domain names on the wire: labels, each behind its length, up to the empty one; or a pointer to where the rest of the
/// name stands (RFC 1035 sections 3.1 and 4.1.4).
///
/// The *canonical* form used for comparing is uncompressed with ASCII letters in lower case (RFC 4343): one name, one
/// sequence of bytes.
public enum DNSName {
    /// Longest name, the empty label included.
    public static let maximumBytes = 255
    /// Longest label.
    public static let maximumLabelBytes = 63
    /// Pointers followed in one name. A name of 255 bytes cannot need more, and a loop ends here.
    public static let maximumHops = 64

    /// Checks the name at `start` and returns the offset behind it, or nil when it is malformed.
    public static func end(_ message: Span<UInt8>, _ start: Int) -> Int? {
        var walk = Walk(start)
        while let label = walk.next(message) {
            if label.isEmpty { return walk.end }
        }
        return nil
    }

    /// Writes the canonical form of the name at `start` and returns the offset behind the name; nil when it is malformed
    /// or does not fit.
    public static func canonical(_ message: Span<UInt8>, _ start: Int, to writer: inout ByteWriter) -> Int? {
        var walk = Walk(start)
        while let label = walk.next(message) {
            writer.byte(UInt8(truncatingIfNeeded: label.count))
            for index in label { writer.byte(lowercase(message[index])) }
            if label.isEmpty { return writer.failed ? nil : walk.end }
        }
        return nil
    }

    /// Whether the name at `start` is the canonical name `name`; malformed names are no name.
    public static func equals(_ message: Span<UInt8>, _ start: Int, _ name: Span<UInt8>) -> Bool {
        var walk = Walk(start)
        var offset = 0
        while let label = walk.next(message) {
            guard offset &+ label.count < name.count, Int(name[offset]) == label.count else { return false }
            offset &+= 1
            for index in label {
                if lowercase(message[index]) != name[offset] { return false }
                offset &+= 1
            }
            if label.isEmpty { return offset == name.count }
        }
        return false
    }

    /// The name at `start` as text: lower case, no trailing dot, empty for the root. A dot or a backslash in a label
    /// stands behind a backslash, other bytes that are not printable ASCII as three decimal digits (RFC 1035 section 5.1).
    public static func text(_ message: Span<UInt8>, _ start: Int) -> String? {
        var walk = Walk(start)
        var text: [UInt8] = []
        while let label = walk.next(message) {
            if label.isEmpty { return String(decoding: text, as: UTF8.self) }
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            for index in label { append(lowercase(message[index]), &text) }
        }
        return nil
    }

    private static func append(_ byte: UInt8, _ text: inout [UInt8]) {
        switch byte {
        case UInt8(ascii: "."), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
        case 0x21..<0x7F: text.append(byte)
        default: text += [UInt8(ascii: "\\"), 0x30 + byte / 100, 0x30 + byte / 10 % 10, 0x30 + byte % 10]
        }
    }

    /// Writes the wire form of a dotted name: no trailing dot, no empty label, empty for the root. False when a label or
    /// the name is too long, or empty where it may not be.
    public static func encode(_ text: Span<UInt8>, to writer: inout ByteWriter) -> Bool {
        guard text.count <= maximumBytes - 2 else { return false }
        var start = 0
        while start < text.count {
            let end = ByteScan.first(UInt8(ascii: "."), in: text, from: start, to: text.count)
            guard end > start, end - start <= maximumLabelBytes, end + 1 != text.count else { return false }
            writer.byte(UInt8(end - start))
            writer.bytes(text.extracting(start..<end))
            start = end + 1
        }
        return writer.byte(0)
    }

    @inline(__always)
    static func lowercase(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// The labels of one name, pointers followed.
    private struct Walk {
        private var place: Int
        private var bytes = 0
        private var hops = 0
        /// Behind the name, or behind its first pointer; valid once the empty label came.
        private(set) var end = 0

        init(_ start: Int) { place = start }

        /// The next label, empty at the end of the name; nil when the name is malformed.
        @inline(__always)
        mutating func next(_ message: Span<UInt8>) -> Range<Int>? {
            while true {
                guard place < message.count else { return nil }
                let length = Int(message[place])
                if length & 0xC0 == 0xC0 {
                    guard place &+ 1 < message.count, hops < DNSName.maximumHops else { return nil }
                    if hops == 0 { end = place &+ 2 }
                    hops &+= 1
                    place = (length & 0x3F) &<< 8 | Int(message[place &+ 1])
                    continue
                }
                // The prefixes 01 and 10 were never put to use (RFC 6891 section 5).
                guard length <= DNSName.maximumLabelBytes, length < message.count &- place else { return nil }
                bytes &+= length &+ 1
                guard bytes <= DNSName.maximumBytes else { return nil }
                let start = place &+ 1
                place = start &+ length
                if length == 0, hops == 0 { end = place }
                return start..<place
            }
        }
    }
}
