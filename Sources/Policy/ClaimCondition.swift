// Conditions on the claims of a verified token.

import Wire

/// One condition on a claim.
public struct ClaimCondition: Sendable, Equatable {
    /// What is asked of the value.
    public enum Test: Sendable, Equatable {
        /// It is there, whatever it is.
        case exists
        /// It is a scalar of exactly this text: strings, whole numbers, `true` and `false` as JSON writes them.
        case equals(String)
        /// It is a list with this string, or a string with this word between spaces.
        case contains(String)
        /// It is a string that fits this pattern, in which `*` stands for any run of characters.
        case matches(String)
    }

    /// Where the claim stands.
    public var claim: JSONPointer
    /// What is asked of it.
    public var test: Test

    /// A condition.
    public init(claim: JSONPointer, _ test: Test) {
        self.claim = claim
        self.test = test
    }

    /// Whether the claims fulfil it. A claim that is not there fulfils none.
    public func holds(in claims: JSONValue) -> Bool {
        guard let value = claim.value(in: claims) else { return false }
        // Texts are compared by their bytes: two spellings of a character are two claims.
        switch test {
        case .exists: return true
        case .equals(let text): return value.scalarText.map { $0.utf8.elementsEqual(text.utf8) } ?? false
        case .contains(let word): return value.words.contains { $0.utf8.elementsEqual(word.utf8) }
        case .matches(let pattern):
            guard let text = value.string else { return false }
            return WildcardPattern(pattern).matches(Array(text.utf8).span)
        }
    }
}

/// A text in which `*` stands for any run of bytes, the empty one included.
struct WildcardPattern: Sendable, Equatable {
    /// A byte no UTF-8 text contains, in place of the `*`.
    static let anyRun: UInt8 = 0xFF

    let bytes: [UInt8]

    /// Every `*` is a wildcard.
    init(_ text: String) {
        bytes = text.utf8.map { $0 == UInt8(ascii: "*") ? Self.anyRun : $0 }
    }

    func matches(_ text: Span<UInt8>) -> Bool { Self.matches(bytes.span, text, translates: .nothing) }

    /// How a topic is read as an AMQP routing key.
    enum Translation {
        case nothing
        /// `/` as `.`.
        case topic
        /// `/` as `.`, `+` as `*`.
        case filter
    }

    /// Whether `text` fits `pattern`, in which `anyRun` marks wildcards. Only the last run seen is ever extended: if the rest can be
    /// found behind a later start, it can be found there whatever the earlier runs took.
    @inline(__always)
    static func matches(_ pattern: Span<UInt8>, _ text: Span<UInt8>, translates translation: Translation) -> Bool {
        var place = 0
        var index = 0
        var retryPlace = -1
        var retryIndex = 0
        while index < text.count {
            if place < pattern.count, pattern[place] == anyRun {
                retryPlace = place &+ 1
                retryIndex = index
                place &+= 1
            } else if place < pattern.count, pattern[place] == translated(text[index], translation) {
                place &+= 1
                index &+= 1
            } else if retryPlace >= 0 {
                retryIndex &+= 1
                place = retryPlace
                index = retryIndex
            } else {
                return false
            }
        }
        while place < pattern.count, pattern[place] == anyRun { place &+= 1 }
        return place == pattern.count
    }

    @inline(__always)
    private static func translated(_ byte: UInt8, _ translation: Translation) -> UInt8 {
        switch (translation, byte) {
        case (.topic, UInt8(ascii: "/")), (.filter, UInt8(ascii: "/")): UInt8(ascii: ".")
        case (.filter, UInt8(ascii: "+")): UInt8(ascii: "*")
        default: byte
        }
    }
}
