// Values as people write them, and the numbers they stand for.
//
// A file carries units (`30s`, `64KiB`), because a bare 30 has been read as seconds, milliseconds and minutes by somebody each. The
// environment variables of the reference are bare decimal integers in the unit their name tells. Both end as the same `ConfigurationValue`.

/// A value in its final unit.
public enum ConfigurationValue: Sendable, Equatable {
    case integer(Int)
    case number(Double)
    case flag(Bool)
    case text(String)
    case list([String])
    /// In the order of the file; names are unique.
    case pairs([ConfigurationPair])
}

/// A name that is no key of ours, with its value.
public struct ConfigurationPair: Sendable, Equatable {
    /// For example the name of a header field.
    public var name: String
    /// Text; what is a list in the file is separated by blanks here.
    public var value: String
}

/// Why a text is no value of its type: what is said after the key's name.
struct ValueRefusal: Error, Equatable {
    /// For example ``: `x` is not …`` or `` entry `x`: …``, beginning with its separator.
    var message: String

    init(_ message: String) { self.message = message }
}

/// What a key accepts.
indirect enum ConfigurationType {
    /// Units that durations are kept in.
    enum DurationUnit: Int {
        case milliseconds = 1
        case seconds = 1000
        case minutes = 60_000
    }

    /// How the reference reads a switch from the environment.
    enum FlagStyle {
        /// `0` or `1`, nothing else.
        case zeroOrOne
        /// `1` is on, anything else is off.
        case oneIsOn
    }

    case integer(ClosedRange<Int>)
    case number(ClosedRange<Double>)
    /// The range counts in the unit.
    case duration(ClosedRange<Int>, DurationUnit)
    case size(ClosedRange<Int>)
    case flag(FlagStyle)
    case choice([String])
    case text
    /// Text that is never printed.
    case secret
    /// `auto` or an integer.
    case automaticOr(ClosedRange<Int>)
    /// Items are checked by the key. The text says what an item is.
    case list(String)
    /// The same, or a single item.
    case oneOrList(String)
    /// A mapping from names of the user's own. The text says what names and values are.
    case pairs(String)

    /// At most this many items, and this many characters in an environment variable (specification of the reference).
    static let maximumListItems = 1024
    static let maximumListCharacters = 65_536

    /// What is allowed, for messages and the reference.
    var allowed: String {
        switch self {
        case .integer(let range): "an integer from \(range.lowerBound) to \(range.upperBound)"
        case .number(let range): "a number from \(Quantity.number(range.lowerBound)) to \(Quantity.number(range.upperBound))"
        case .duration(let range, let unit):
            "a duration with unit (250ms, 30s, 5m, 12h, 7d) from \(Quantity.duration(range.lowerBound, unit))"
                + " to \(Quantity.duration(range.upperBound, unit))"
        case .size(let range):
            "a size with unit (512B, 64KiB, 1MiB) from \(Quantity.size(range.lowerBound)) to \(Quantity.size(range.upperBound))"
        case .flag: "true or false"
        case .choice(let names):
            names.count > 1 ? names.dropLast().joined(separator: ", ") + " or \(names[names.count - 1])" : names[0]
        case .text: "text"
        case .secret: "text; as it is a secret, better the same key with `_file` behind it and the path of a file"
        case .automaticOr(let range): "auto, or an integer from \(range.lowerBound) to \(range.upperBound)"
        case .list(let item): "a list of \(item)"
        case .oneOrList(let item): item
        case .pairs(let pair): "a mapping from \(pair)"
        }
    }

    /// What an environment variable accepts, where it differs from the file.
    var allowedInEnvironment: String {
        switch self {
        case .duration(let range, .milliseconds): "an integer from \(range.lowerBound) to \(range.upperBound) (milliseconds)"
        case .duration(let range, .seconds): "an integer from \(range.lowerBound) to \(range.upperBound) (seconds)"
        case .duration(let range, .minutes): "an integer from \(range.lowerBound) to \(range.upperBound) (minutes)"
        case .size(let range): "an integer from \(range.lowerBound) to \(range.upperBound) (bytes)"
        case .flag: "0 or 1"
        case .list(let item): "a comma-separated list of \(item)"
        default: allowed
        }
    }

    /// The value of a node of a file.
    func value(of node: YAMLNode) throws(ValueRefusal) -> ConfigurationValue {
        switch self {
        case .list: return .list(try texts(of: node))
        case .oneOrList:
            if case .scalar(let text, _) = node.content { return .list([text]) }
            return .list(try texts(of: node))
        case .pairs: return .pairs(try pairs(of: node))
        default: break
        }
        guard case .scalar(let text, _) = node.content else {
            throw ValueRefusal(": \(node.shape) where a single value belongs; allowed: \(allowed)")
        }
        return try value(ofFileText: text)
    }

    private func texts(of node: YAMLNode) throws(ValueRefusal) -> [String] {
        guard case .sequence(let items) = node.content else {
            throw ValueRefusal(": \(node.shape) where a list belongs; allowed: \(allowed)")
        }
        guard items.count <= Self.maximumListItems else { throw ValueRefusal(": more than \(Self.maximumListItems) items") }
        var texts: [String] = []
        for item in items {
            // An unquoted null is the origin of that name; an item that is not there is a slip.
            guard case .scalar(let text, _) = item.content, !item.isNull || text == "null" else {
                throw ValueRefusal(": \(item.shape) where an item belongs; allowed: \(allowed)")
            }
            texts.append(text)
        }
        return texts
    }

    private func pairs(of node: YAMLNode) throws(ValueRefusal) -> [ConfigurationPair] {
        guard case .mapping(let entries) = node.content else {
            throw ValueRefusal(": \(node.shape) where a mapping belongs; allowed: \(allowed)")
        }
        guard entries.count <= Self.maximumListItems else { throw ValueRefusal(": more than \(Self.maximumListItems) items") }
        var pairs: [ConfigurationPair] = []
        for entry in entries {
            if case .scalar(let text, _) = entry.value.content, !entry.value.isNull {
                pairs.append(ConfigurationPair(name: entry.key, value: text))
            } else {
                pairs.append(ConfigurationPair(name: entry.key, value: try texts(of: entry.value).joined(separator: " ")))
            }
        }
        return pairs
    }

    private func value(ofFileText text: String) throws(ValueRefusal) -> ConfigurationValue {
        switch self {
        case .duration(let range, let unit):
            guard let milliseconds = Quantity.milliseconds(text), milliseconds % unit.rawValue == 0,
                range.contains(milliseconds / unit.rawValue)
            else { throw refusal(text, allowed) }
            return .integer(milliseconds / unit.rawValue)
        case .size(let range):
            guard let bytes = Quantity.bytes(text), range.contains(bytes) else { throw refusal(text, allowed) }
            return .integer(bytes)
        case .flag:
            guard text == "true" || text == "false" else { throw refusal(text, allowed) }
            return .flag(text == "true")
        default:
            return try plainValue(text, allowed)
        }
    }

    /// The value of an environment variable that is not blank.
    func value(ofVariable text: String) throws(ValueRefusal) -> ConfigurationValue {
        switch self {
        case .duration(let range, _), .size(let range):
            guard let integer = Quantity.integer(text), range.contains(integer) else { throw refusal(text, allowedInEnvironment) }
            return .integer(integer)
        case .flag(.zeroOrOne):
            guard text == "0" || text == "1" else { throw refusal(text, allowedInEnvironment) }
            return .flag(text == "1")
        case .flag(.oneIsOn):
            return .flag(text == "1")
        case .list:
            guard text.utf8.count <= Self.maximumListCharacters else {
                throw ValueRefusal(": longer than \(Self.maximumListCharacters) characters")
            }
            let items = text.split(separator: ",").map { Quantity.trimmed($0) }.filter { !$0.isEmpty }
            guard items.count <= Self.maximumListItems else { throw ValueRefusal(": more than \(Self.maximumListItems) items") }
            return .list(items)
        default:
            return try plainValue(text, allowedInEnvironment)
        }
    }

    private func plainValue(_ text: String, _ allowed: String) throws(ValueRefusal) -> ConfigurationValue {
        switch self {
        case .integer(let range):
            guard let integer = Quantity.integer(text), range.contains(integer) else { throw refusal(text, allowed) }
            return .integer(integer)
        case .automaticOr(let range):
            if text == "auto" { return .integer(0) }
            guard let integer = Quantity.integer(text), range.contains(integer) else { throw refusal(text, allowed) }
            return .integer(integer)
        case .number(let range):
            guard let number = Quantity.number(text), range.contains(number) else { throw refusal(text, allowed) }
            return .number(number)
        case .choice(let names):
            guard names.contains(text) else {
                let hint = NearestName.find(text.lowercased(), among: names.map { $0.lowercased() })
                    .flatMap { near in names.first { $0.lowercased() == near } }
                throw ValueRefusal(
                    ": `\(text)` is not allowed" + (hint.map { "; did you mean `\($0)`?" } ?? "")
                        + "; allowed: \(allowed)")
            }
            return .text(text)
        default:
            return .text(text)
        }
    }

    private func refusal(_ text: String, _ allowed: String) -> ValueRefusal {
        ValueRefusal(": `\(Quantity.excerpt(text))` is not allowed; allowed: \(allowed)")
    }

    /// A value as an environment variable would have it.
    func variableText(_ value: ConfigurationValue) -> String {
        switch value {
        case .integer(let amount): "\(amount)"
        case .flag(let flag): flag ? "1" : "0"
        case .list(let items): items.joined(separator: ",")
        case .pairs: fileText(value)
        case .text(let text): isSecret && !text.isEmpty ? "***" : text
        case .number: fileText(value)
        }
    }

    private var isSecret: Bool {
        if case .secret = self { return true }
        return false
    }

    /// A value as a file would have it.
    func fileText(_ value: ConfigurationValue) -> String {
        switch (self, value) {
        case (.secret, .text(let text)): text.isEmpty ? "\"\"" : "\"***\""
        case (.duration(_, let unit), .integer(let amount)): Quantity.duration(amount, unit)
        case (.size, .integer(let amount)): Quantity.size(amount)
        case (.automaticOr, .integer(0)): "auto"
        case (_, .integer(let amount)): "\(amount)"
        case (_, .number(let number)): Quantity.number(number)
        case (_, .flag(let flag)): flag ? "true" : "false"
        case (_, .text(let text)): Quantity.quoted(text)
        case (.oneOrList, .list(let items)) where items.count == 1: Quantity.quoted(items[0])
        case (_, .pairs(let pairs)):
            "{" + pairs.map { "\(Quantity.quoted($0.name)): \(Quantity.quoted($0.value))" }.joined(separator: ", ") + "}"
        case (_, .list(let items)): "[" + items.map { Quantity.quoted($0) }.joined(separator: ", ") + "]"
        }
    }
}

/// Reading and writing of amounts.
enum Quantity {
    /// Decimal digits with an optional minus; nil for anything else and beyond 64 bits.
    static func integer(_ text: some StringProtocol) -> Int? {
        let text = trimmed(text)
        let digits = text.utf8.first == 0x2D ? text.utf8.dropFirst() : text.utf8[...]
        guard !digits.isEmpty, digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return Int(text)
    }

    /// Decimal digits with at most one point inside: no exponent, no infinity.
    static func number(_ text: String) -> Double? {
        let text = trimmed(text)
        let parts = text.utf8.split(separator: 0x2E, omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } }) else {
            return nil
        }
        return Double(text)
    }

    private static let durationUnits: [(String, Int)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]
    private static let sizeUnits: [(String, Int)] = [
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1),
    ]

    /// Milliseconds of `250ms`, `30s`, `5m`, `12h`, `7d`; a bare `0` needs no unit.
    static func milliseconds(_ text: String) -> Int? { amount(text, durationUnits) }

    /// Bytes of `512B`, `64KiB`, `1MiB`, `2GiB`; a bare `0` needs no unit.
    static func bytes(_ text: String) -> Int? { amount(text, sizeUnits) }

    private static func amount(_ text: String, _ units: [(String, Int)]) -> Int? {
        if text == "0" { return 0 }
        for (suffix, factor) in units where text.hasSuffix(suffix) {
            // `ms` ends in `s` and `KiB` in `B`: what is left decides.
            let digits = text.dropLast(suffix.count)
            guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let count = Int(digits) else { continue }
            let (product, overflow) = count.multipliedReportingOverflow(by: factor)
            return overflow ? nil : product
        }
        return nil
    }

    /// The shortest exact spelling of a duration.
    static func duration(_ amount: Int, _ unit: ConfigurationType.DurationUnit) -> String {
        let milliseconds = amount * unit.rawValue
        if milliseconds == 0 { return "0s" }
        for (suffix, factor) in durationUnits.reversed() where milliseconds % factor == 0 {
            return "\(milliseconds / factor)\(suffix)"
        }
        return "\(milliseconds)ms"
    }

    /// The shortest exact spelling of a size.
    static func size(_ bytes: Int) -> String {
        if bytes == 0 { return "0B" }
        for (suffix, factor) in sizeUnits.dropLast().reversed() where bytes % factor == 0 { return "\(bytes / factor)\(suffix)" }
        return "\(bytes)B"
    }

    /// `10` for 10.0, `0.5` for 0.5.
    static func number(_ number: Double) -> String {
        number == number.rounded() && abs(number) < 1e15 ? "\(Int(number))" : "\(number)"
    }

    /// Without blanks and line ends around it.
    static func trimmed(_ text: some StringProtocol) -> String {
        let bytes = Array(text.utf8)
        guard let first = bytes.firstIndex(where: { !isBlank($0) }), let last = bytes.lastIndex(where: { !isBlank($0) })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }

    /// The start of a long text, with control characters made visible: faults are single lines.
    static func excerpt(_ text: String, characters: Int = 80) -> String {
        var result = ""
        for scalar in text.unicodeScalars.prefix(characters) {
            if isControl(scalar) {
                result += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return text.unicodeScalars.count > characters ? result + "…" : result
    }

    /// What could end a line or drive a terminal, and what YAML does not take as it is: the controls of ASCII and Latin-1,
    /// the separators of lines and paragraphs, and the two code points at the end of the first plane.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0...0x1F, 0x7F...0x9F, 0x2028...0x2029, 0xFEFF, 0xFFFE...0xFFFF: true
        default: false
        }
    }

    /// A scalar that YAML reads back as the same text.
    static func quoted(_ text: String) -> String {
        let plain =
            !text.isEmpty
            && text.utf8.allSatisfy {
                ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x41 && $0 <= 0x5A) || ($0 >= 0x61 && $0 <= 0x7A) || $0 == 0x2E || $0 == 0x2F
                    || $0 == 0x5F
                    || $0 == 0x2D
            }
        if plain, text != "null", text != "Null", text != "NULL", text.utf8.first != 0x2D { return text }
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            default:
                if isControl(scalar) {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
