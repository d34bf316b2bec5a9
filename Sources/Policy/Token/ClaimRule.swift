// Rules about the claims of a verified token, from configuration: those of a provider hold for all its tokens, those of a route for
// its sessions.

import Wire

/// A condition on the claim at a JSON pointer. A claim that is not there meets none.
public struct ClaimRule: Sendable, Hashable {
    /// What the claim must be.
    public enum Condition: Sendable, Hashable {
        /// The claim is one of these values, strings, numbers and booleans, in JSON's sense of equal.
        case isOne(of: [Scalar])
        /// The claim is a list with this value in it, or a text whose words, parted by spaces, hold it.
        case contains(Scalar)
        /// The claim is a text, or a list with a text, of this form.
        case matches(TextPattern)
    }

    /// A value that configuration can name.
    public enum Scalar: Sendable, Hashable {
        case text(String)
        case number(Double)
        case boolean(Bool)

        /// Whether a value is this one. Texts compare by their bytes.
        func equals(_ value: JSONValue) -> Bool {
            switch (self, value) {
            case (.text(let own), .string(let other)): own.utf8.elementsEqual(other.utf8)
            case (.number(let own), .number(let other)): own == other
            case (.boolean(let own), .boolean(let other)): own == other
            default: false
            }
        }
    }

    /// Where the claim stands.
    public let pointer: JSONPointer
    /// What it must be.
    public let condition: Condition

    /// A rule.
    public init(pointer: JSONPointer, condition: Condition) {
        self.pointer = pointer
        self.condition = condition
    }

    /// Whether the claims of a token meet the rule. Linear in the claim's size; `matches` costs its length times the pattern's at most.
    public func isMet(by claims: JSONValue) -> Bool {
        guard let value = pointer.value(in: claims) else { return false }
        switch condition {
        case .isOne(let wanted): return wanted.contains { $0.equals(value) }
        case .contains(let wanted):
            if case .array(let elements) = value { return elements.contains(where: wanted.equals) }
            guard case .text = wanted, case .string = value else { return false }
            return value.words.contains { wanted.equals(.string($0)) }
        case .matches(let pattern):
            if case .array(let elements) = value { return elements.contains { $0.string.map(pattern.matches) ?? false } }
            return value.string.map(pattern.matches) ?? false
        }
    }
}

/// A text with `*` for any run of characters, none included; everything else stands for itself, and the whole text must match. Not a
/// regular expression: clients choose parts of some claims, and this cannot be made slow.
public struct TextPattern: Sendable, Hashable, CustomStringConvertible {
    /// As configured.
    public let description: String
    /// Longest pattern.
    public static let maximumBytes = 512

    /// Reads a pattern; nil when it is empty or longer than `maximumBytes`.
    public init?(_ text: String) {
        guard !text.isEmpty, text.utf8.count <= Self.maximumBytes else { return nil }
        description = text
    }

    /// Whether the whole text has the form. Only the last `*` is ever gone back to, so the time is at most the product of the lengths.
    public func matches(_ text: String) -> Bool {
        let (text, pattern, star) = (Array(text.utf8), Array(description.utf8), UInt8(ascii: "*"))
        var (place, want) = (0, 0)
        var retry: (place: Int, want: Int)?
        while place < text.count {
            if want < pattern.count, pattern[want] == star {
                want += 1
                retry = (place, want)
            } else if want < pattern.count, pattern[want] == text[place] {
                place += 1
                want += 1
            } else if let (from, again) = retry {
                place = from + 1
                want = again
                retry = (place, again)
            } else {
                return false
            }
        }
        return pattern[want...].allSatisfy { $0 == star }
    }
}

/// What provider or route ask of a token beyond being valid.
public struct ClaimRules: Sendable, Hashable {
    /// Scopes that must all be there, in `scope` or `scp` (RFC 8693 section 4.2: words of a text, or a list).
    public var requiredScopes: [String] = []
    /// `azp` or `client_id` must be one of these, when there are any.
    public var authorizedParties: [String] = []
    /// Conditions that must all be met.
    public var conditions: [ClaimRule] = []

    /// Most entries of each list.
    public static let maximumEntries = 64

    /// Rules that any token meets.
    public init() {}

    /// Whether there is nothing to ask.
    public var isEmpty: Bool { requiredScopes.isEmpty && authorizedParties.isEmpty && conditions.isEmpty }

    /// What is wrong with the claims, if anything.
    public func refusal(of claims: JSONValue) -> TokenRefusal? {
        if !requiredScopes.isEmpty {
            let granted = (claims["scope"]?.words ?? []) + (claims["scp"]?.words ?? [])
            let lacks = requiredScopes.contains { scope in !granted.contains { $0.utf8.elementsEqual(scope.utf8) } }
            if lacks { return .scope }
        }
        if !authorizedParties.isEmpty {
            let party = claims["azp"]?.string ?? claims["client_id"]?.string
            guard let party, authorizedParties.contains(where: { $0.utf8.elementsEqual(party.utf8) }) else { return .rule }
        }
        return conditions.allSatisfy { $0.isMet(by: claims) } ? nil : .rule
    }
}
