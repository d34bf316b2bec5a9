// Theory of operation
//
// One pass of recursive descent over a span, bounded in depth. The same code validates and reads: `Output` says whether
// values are built. Strings are compared as bytes by the caller after reading; here they become Swift strings.
//
// Strict: one value with optional blanks around it, no byte order mark, UTF-8 only, no control characters in strings, no
// leading zeros, no comments, no trailing commas. An escaped surrogate without its partner is grammatical
// (RFC 8259 section 8.2) and becomes U+FFFD, since a Swift string cannot hold it.

/// A strict JSON reader for small texts on cold paths: tokens, request bodies.
public struct JSONReader {
    /// Deepest nesting of arrays and objects; more is an error. Tokens and bodies need two or three.
    public static let defaultDepth = 32

    private var index = 0
    private var depth: Int
    private let builds: Bool
    private let hasUniqueNames: Bool

    private init(depth: Int, builds: Bool, uniqueNames: Bool = false) {
        self.depth = depth
        self.builds = builds
        hasUniqueNames = uniqueNames
    }

    /// The value of a text, or nil when it is not exactly one JSON value. With `uniqueNames`, an object that repeats a name is an error
    /// too: two readers could take different members for the one that counts.
    public static func read(_ text: Span<UInt8>, depth: Int = defaultDepth, uniqueNames: Bool = false) -> JSONValue? {
        run(text, JSONReader(depth: depth, builds: true, uniqueNames: uniqueNames))
    }

    /// Whether a text is exactly one JSON value.
    public static func isValid(_ text: Span<UInt8>, depth: Int = defaultDepth) -> Bool {
        run(text, JSONReader(depth: depth, builds: false)) != nil
    }

    /// The members of a text that is exactly one JSON object, each with the place of its value; nil for anything else. Where it matters
    /// how a number was written, the text is asked.
    public static func fields(_ text: Span<UInt8>, depth: Int = defaultDepth) -> [JSONField]? {
        guard isUTF8(text) else { return nil }
        var reader = JSONReader(depth: depth, builds: true)
        reader.skipBlanks(text)
        guard reader.index < text.count, text[reader.index] == 0x7B, let fields = reader.fields(text) else { return nil }
        reader.skipBlanks(text)
        return reader.index == text.count ? fields : nil
    }

    private static func isUTF8(_ text: Span<UInt8>) -> Bool {
        var utf8 = UTF8Validator()
        return utf8.validate(text) && utf8.isComplete
    }

    private static func run(_ text: Span<UInt8>, _ reader: JSONReader) -> JSONValue? {
        guard isUTF8(text) else { return nil }
        var reader = reader
        reader.skipBlanks(text)
        guard let value = reader.value(text) else { return nil }
        reader.skipBlanks(text)
        return reader.index == text.count ? value : nil
    }

    private mutating func skipBlanks(_ text: Span<UInt8>) {
        while index < text.count {
            switch text[index] {
            case 0x20, 0x09, 0x0A, 0x0D: index += 1
            default: return
            }
        }
    }

    /// Takes `byte` if it is next.
    private mutating func take(_ byte: UInt8, _ text: Span<UInt8>) -> Bool {
        guard index < text.count, text[index] == byte else { return false }
        index += 1
        return true
    }

    private mutating func value(_ text: Span<UInt8>) -> JSONValue? {
        guard index < text.count else { return nil }
        switch text[index] {
        case 0x7B: return object(text)
        case 0x5B: return array(text)
        case 0x22: return string(text).map { .string($0) }
        case 0x74: return literal("true", .boolean(true), text)
        case 0x66: return literal("false", .boolean(false), text)
        case 0x6E: return literal("null", .null, text)
        default: return number(text)
        }
    }

    private mutating func literal(_ word: StaticString, _ value: JSONValue, _ text: Span<UInt8>) -> JSONValue? {
        let end = index + word.utf8CodeUnitCount
        guard end <= text.count, text.equals(word, in: index..<end) else { return nil }
        index = end
        return value
    }

    private mutating func object(_ text: Span<UInt8>) -> JSONValue? {
        fields(text).map { .object($0.map { JSONMember(name: $0.name, value: $0.value) }) }
    }

    private mutating func fields(_ text: Span<UInt8>) -> [JSONField]? {
        guard depth > 0 else { return nil }
        depth -= 1
        defer { depth += 1 }
        var fields: [JSONField] = []
        var names: Set<String> = []
        index += 1
        skipBlanks(text)
        if take(0x7D, text) { return fields }
        while true {
            skipBlanks(text)
            guard index < text.count, text[index] == 0x22, let name = string(text) else { return nil }
            if hasUniqueNames, !names.insert(name).inserted { return nil }
            skipBlanks(text)
            guard take(0x3A, text) else { return nil }
            skipBlanks(text)
            let start = index
            guard let value = value(text) else { return nil }
            if builds { fields.append(JSONField(name: name, value: value, text: start..<index)) }
            skipBlanks(text)
            if take(0x7D, text) { return fields }
            guard take(0x2C, text) else { return nil }
        }
    }

    private mutating func array(_ text: Span<UInt8>) -> JSONValue? {
        guard depth > 0 else { return nil }
        depth -= 1
        defer { depth += 1 }
        var elements: [JSONValue] = []
        index += 1
        skipBlanks(text)
        if take(0x5D, text) { return .array(elements) }
        while true {
            skipBlanks(text)
            guard let value = value(text) else { return nil }
            if builds { elements.append(value) }
            skipBlanks(text)
            if take(0x5D, text) { return .array(elements) }
            guard take(0x2C, text) else { return nil }
        }
    }

    /// `[ "-" ] ( "0" / digit1-9 *DIGIT ) [ "." 1*DIGIT ] [ ("e" / "E") [ "+" / "-" ] 1*DIGIT ]`
    private mutating func number(_ text: Span<UInt8>) -> JSONValue? {
        let start = index
        _ = take(0x2D, text)
        if !take(0x30, text) {
            guard digits(text) else { return nil }
        }
        if take(0x2E, text) {
            guard digits(text) else { return nil }
        }
        if take(0x65, text) || take(0x45, text) {
            if !take(0x2B, text) { _ = take(0x2D, text) }
            guard digits(text) else { return nil }
        }
        guard builds else { return .null }
        let characters = unsafe text.extracting(start..<index).withUnsafeBufferPointer {
            unsafe String(decoding: $0, as: UTF8.self)
        }
        return Double(characters).map { .number($0) }
    }

    /// Takes one or more digits.
    private mutating func digits(_ text: Span<UInt8>) -> Bool {
        let start = index
        while index < text.count, Character7.isDigit(text[index]) { index += 1 }
        return index > start
    }

    private mutating func string(_ text: Span<UInt8>) -> String? {
        index += 1
        var bytes: [UInt8] = []
        while index < text.count {
            let byte = text[index]
            index += 1
            switch byte {
            case 0x22: return builds ? String(decoding: bytes, as: UTF8.self) : ""
            case 0x5C:
                guard let scalar = escape(text) else { return nil }
                if builds { bytes.append(contentsOf: Unicode.UTF8.encode(scalar) ?? Unicode.UTF8.encodedReplacementCharacter) }
            case 0..<0x20: return nil
            default: if builds { bytes.append(byte) }
            }
        }
        return nil
    }

    /// What stands behind a backslash.
    private mutating func escape(_ text: Span<UInt8>) -> Unicode.Scalar? {
        guard index < text.count else { return nil }
        let byte = text[index]
        index += 1
        switch byte {
        case 0x22, 0x5C, 0x2F: return Unicode.Scalar(byte)
        case 0x62: return "\u{08}"
        case 0x66: return "\u{0C}"
        case 0x6E: return "\n"
        case 0x72: return "\r"
        case 0x74: return "\t"
        case 0x75: return codePoint(text)
        default: return nil
        }
    }

    /// Four hexadecimal digits, and a second escape when the first is a high surrogate.
    private mutating func codePoint(_ text: Span<UInt8>) -> Unicode.Scalar? {
        guard let first = fourDigits(text, at: index) else { return nil }
        index += 4
        if first & 0xFC00 == 0xD800, index + 6 <= text.count, text[index] == 0x5C, text[index + 1] == 0x75,
            let second = fourDigits(text, at: index + 2), second & 0xFC00 == 0xDC00
        {
            index += 6
            return Unicode.Scalar(0x10000 + ((first & 0x3FF) << 10) + (second & 0x3FF))
        }
        return Unicode.Scalar(first) ?? "\u{FFFD}"
    }

    private func fourDigits(_ text: Span<UInt8>, at start: Int) -> UInt32? {
        guard start + 4 <= text.count else { return nil }
        var value: UInt32 = 0
        for position in start..<(start + 4) {
            guard let digit = Character7.hexValue(text[position]) else { return nil }
            value = value << 4 | UInt32(digit)
        }
        return value
    }
}
