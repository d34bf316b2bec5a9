// Where a value stands inside a JSON text (RFC 6901), and the readings that rules about such values need.

/// A JSON pointer in its string form: empty for the whole text, else `/token/token…` with `~1` for `/` and `~0` for `~`.
/// The form of a URI fragment (`#/…`) is not read.
public struct JSONPointer: Sendable, Hashable, CustomStringConvertible {
    /// The pointer as it was written.
    public let description: String
    /// Names and indices from the outside inwards, escapes resolved.
    private let tokens: [String]

    /// Longest pointer that is read; pointers come from configuration, where such a length is a mistake.
    public static let maximumBytes = 512
    /// Most tokens: nothing stands deeper, since readers of JSON stop at `JSONReader.defaultDepth`.
    public static let maximumTokens = JSONReader.defaultDepth

    /// Reads a pointer; nil when it is malformed (it must be empty or begin with `/`, and a `~` needs `0` or `1` behind it).
    public init?(_ text: String) {
        guard text.utf8.count <= Self.maximumBytes, text.isEmpty || text.utf8.first == UInt8(ascii: "/") else { return nil }
        let parts = text.unicodeScalars.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard parts.count <= Self.maximumTokens else { return nil }
        var tokens: [String] = []
        for part in parts {
            guard let token = Self.unescaped(part) else { return nil }
            tokens.append(token)
        }
        description = text
        self.tokens = tokens
    }

    /// The value it points at; nil when there is none. Of members with the same name the last one counts, as everywhere
    /// in this reader. An index has no leading zero; `-`, which stands behind the last element, points at nothing.
    public func value(in document: JSONValue) -> JSONValue? {
        var value = document
        for token in tokens {
            switch value {
            case .object:
                guard let member = value[token] else { return nil }
                value = member
            case .array(let elements):
                guard let index = Self.index(token), index < elements.count else { return nil }
                value = elements[index]
            default: return nil
            }
        }
        return value
    }

    private static func unescaped(_ part: Substring.UnicodeScalarView) -> String? {
        var token = String.UnicodeScalarView()
        var scalars = part.makeIterator()
        while let scalar = scalars.next() {
            guard scalar == "~" else { token.append(scalar); continue }
            switch scalars.next() {
            case "0": token.append("~")
            case "1": token.append("/")
            default: return nil
            }
        }
        return String(token)
    }

    private static func index(_ token: String) -> Int? {
        guard token == "0" || token.utf8.first != UInt8(ascii: "0"), token.utf8.count <= 9,
            !token.isEmpty, token.utf8.allSatisfy(Character7.isDigit)
        else { return nil }
        return Int(token)
    }
}

extension JSONValue {
    /// The words of a claim that is a list by meaning: the strings of an array, other elements left out, or the parts
    /// between the spaces of one string, which is how OAuth 2 writes scopes (RFC 6749 section 3.3). Empty for anything else.
    public var words: [String] {
        switch self {
        case .string(let string):
            return string.unicodeScalars.split(separator: " ").map { String(Substring($0)) }
        case .array(let elements):
            return elements.compactMap(\.string)
        default:
            return []
        }
    }

    /// A scalar as text, for places that hold one: a string as it is, `true` and `false`, a whole number up to 2^53
    /// without fraction. Nil for null, lists, objects and other numbers, whose spelling would be ours and not the issuer's.
    public var scalarText: String? {
        switch self {
        case .string(let string): return string
        case .boolean(let boolean): return boolean ? "true" : "false"
        case .number(let number):
            guard number.magnitude <= 9_007_199_254_740_992, number == number.rounded(.towardZero) else { return nil }
            return String(Int64(number))
        default: return nil
        }
    }
}
