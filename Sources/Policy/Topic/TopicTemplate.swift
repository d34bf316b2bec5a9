// Filters with places for what is known of a client: `devices/${claim:/sub}/up/#`.
//
// What is put in comes from outside and must not change what the filter means: no wildcards, no further levels, nothing
// invisible, and no `$` where a filter would then begin with one.

import Wire

/// What is known of the client of a session.
public struct TopicIdentity: Sendable, Equatable {
    /// The claims of its verified token.
    public var claims: JSONValue
    /// The user name the broker sees.
    public var username: String
    /// The client id the broker sees.
    public var clientID: String

    /// An identity.
    public init(claims: JSONValue, username: String, clientID: String) {
        self.claims = claims
        self.username = username
        self.clientID = clientID
    }
}

/// A filter with placeholders: `%u` or `${username}`, `%c` or `${clientid}`, `${claim:/pointer}`.
public struct TopicTemplate: Sendable, Equatable, CustomStringConvertible {
    /// The template as it was written.
    public let description: String
    private let parts: [Part]
    /// The text stands for itself, wildcards and all: it began with `eq `.
    let isLiteral: Bool

    private enum Part: Sendable, Equatable {
        case text([UInt8])
        case username
        case clientID
        case claim(JSONPointer)
    }

    /// Longest template.
    public static let maximumBytes = 1024
    /// Longest value that is put in: longer than any subject, short of making filters no broker takes.
    public static let maximumValueBytes = 255

    /// Why a template is refused.
    public enum Fault: Error, Equatable, CustomStringConvertible {
        case tooLong
        case unknownPlaceholder(String)
        case malformedPointer(String)
        case malformedFilter(String)

        /// One line for the operator.
        public var description: String {
            switch self {
            case .tooLong: "topic filter is empty or longer than \(TopicTemplate.maximumBytes) bytes"
            case .unknownPlaceholder(let text): "'\(text)' is no placeholder; write ${username}, ${clientid}, ${claim:/pointer}, %u or %c"
            case .malformedPointer(let text): "'\(text)' is no JSON pointer; write one such as /sub or /realm_access/roles"
            case .malformedFilter(let text): "'\(text)' is no topic filter; '+' and '#' must fill a level, and '#' the last one"
            }
        }
    }

    /// Reads a template. `allowsLiteral`: a text that begins with `eq ` is compared as it stands.
    public init(_ text: String, allowsLiteral: Bool = false) throws(Fault) {
        description = text
        isLiteral = allowsLiteral && text.utf8.starts(with: "eq ".utf8)
        let bytes = Array(text.utf8.dropFirst(isLiteral ? 3 : 0))
        guard !bytes.isEmpty, bytes.count <= Self.maximumBytes else { throw .tooLong }
        parts = try Self.split(bytes)
        // With a letter in each place, it must be a filter already.
        let sample = parts.flatMap { part in
            if case .text(let text) = part { text } else { [UInt8(ascii: "x")] }
        }
        guard isLiteral ? MQTTText.isValid(sample.span) : TopicFilter.isFilter(sample.span) else { throw .malformedFilter(text) }
    }

    private static func split(_ bytes: [UInt8]) throws(Fault) -> [Part] {
        var parts: [Part] = []
        var text: [UInt8] = []
        func flush() {
            if !text.isEmpty { parts.append(.text(text)) }
            text = []
        }
        var index = 0
        while index < bytes.count {
            let rest = bytes[index...]
            if rest.starts(with: "%u".utf8) || rest.starts(with: "%c".utf8) {
                flush()
                parts.append(rest[index + 1] == UInt8(ascii: "u") ? .username : .clientID)
                index += 2
            } else if rest.starts(with: "${".utf8) {
                guard let close = rest.firstIndex(of: UInt8(ascii: "}")) else {
                    throw .unknownPlaceholder(String(decoding: rest, as: UTF8.self))
                }
                flush()
                parts.append(try placeholder(String(decoding: rest[(index + 2)..<close], as: UTF8.self)))
                index = close + 1
            } else {
                text.append(bytes[index])
                index += 1
            }
        }
        flush()
        return parts
    }

    private static func placeholder(_ name: String) throws(Fault) -> Part {
        if name == "username" { return .username }
        if name == "clientid" { return .clientID }
        guard name.hasPrefix("claim:") else { throw .unknownPlaceholder("${\(name)}") }
        let text = String(name.dropFirst(6))
        guard let pointer = JSONPointer(text) else { throw .malformedPointer(text) }
        return .claim(pointer)
    }

    /// The filter for a client; nil when something to put in is missing, empty, too long, or would change the filter's meaning.
    func filled(_ identity: TopicIdentity, allowsSlash: Bool) -> [UInt8]? {
        var filter: [UInt8] = []
        for part in parts {
            let value: String?
            switch part {
            case .text(let text):
                filter += text
                continue
            case .username: value = identity.username
            case .clientID: value = identity.clientID
            case .claim(let pointer): value = pointer.value(in: identity.claims)?.scalarText
            }
            guard let value, Self.isHarmless(value, allowsSlash: allowsSlash) else { return nil }
            guard !filter.isEmpty || value.utf8.first != UInt8(ascii: "$") else { return nil }
            filter += value.utf8
        }
        guard filter.count <= MQTTLimits.maximumFieldBytes else { return nil }
        return filter
    }

    private static func isHarmless(_ value: String, allowsSlash: Bool) -> Bool {
        guard !value.isEmpty, value.utf8.count <= maximumValueBytes else { return false }
        return value.unicodeScalars.allSatisfy { scalar in
            switch scalar {
            case "+", "#": false
            case "/": allowsSlash
            // U+FFFD stands where a token had something that is no text.
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{FFFD}": false
            default: true
            }
        }
    }
}
