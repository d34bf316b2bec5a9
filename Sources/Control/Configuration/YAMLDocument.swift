// A YAML text as a small tree in which every node knows its line and column.
//
// Theory of operation. libyaml delivers events (CYAML); `YAMLBuilder` folds them into `YAMLNode`s by recursion whose depth is
// limited. What a configuration file has no use for is refused rather than interpreted, because each of these
// turns a small file into a large or surprising tree: aliases and anchors (expansion bombs), explicit tags (type
// juggling), a second document, the same key twice (the later one would win in silence), keys that are not scalars.
//
//     bytes ─► size limit ─► libyaml events (UTF-8 checked) ─► depth and node limits ─► YAMLNode

import CYAML

/// A place in a text. Both numbers count from 1.
public struct TextPosition: Sendable, Hashable {
    /// From 1.
    public var line: Int
    /// From 1, in characters.
    public var column: Int

    /// A place.
    public init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }
}

/// One node of a YAML document.
public struct YAMLNode: Sendable, Equatable {
    /// What the node is.
    public enum Content: Sendable, Equatable {
        /// Text. `quoted` tells `"8080"` from `8080` and `"null"` from `null`.
        case scalar(String, quoted: Bool)
        case sequence([YAMLNode])
        /// Entries in the order of the file; keys are unique.
        case mapping([YAMLEntry])
    }

    /// The value.
    public var content: Content
    /// Where it begins.
    public var position: TextPosition

    /// An absent value: nothing, `~` or `null`, unquoted.
    public var isNull: Bool {
        guard case .scalar(let text, quoted: false) = content else { return false }
        return text.isEmpty || text == "~" || text == "null" || text == "Null" || text == "NULL"
    }

    /// The name of the shape, for messages.
    public var shape: String {
        switch content {
        case .scalar: isNull ? "nothing" : "a single value"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }
}

/// A key of a mapping with its value.
public struct YAMLEntry: Sendable, Equatable {
    /// The key's text.
    public var key: String
    /// Where the key stands (the value has its own position).
    public var position: TextPosition
    /// What stands behind the key.
    public var value: YAMLNode
}

/// Why a text was refused, and where.
public struct YAMLError: Error, Sendable, Equatable {
    /// Where reading stopped.
    public var position: TextPosition
    /// What is wrong there.
    public var message: String
}

/// What `YAMLDocument.parse` accepts at most.
public struct YAMLLimits: Sendable {
    /// A configuration is written by people; a ConfigMap holds 1 MiB at most.
    public var bytes = 1 << 20
    /// The schema is five levels deep; libyaml and this builder recurse, so the stack needs a bound.
    public var depth = 32
    /// Nodes in all: bounds memory at about 100 bytes a node.
    public var nodes = 100_000

    /// The limits of a configuration file.
    public init() {}
}

/// Parsing of YAML texts.
public enum YAMLDocument {
    /// The root of the only document in `bytes`; nil when the text holds none (empty, or only comments).
    public static func parse(_ bytes: [UInt8], limits: YAMLLimits = YAMLLimits()) throws(YAMLError) -> YAMLNode? {
        guard bytes.count <= limits.bytes else {
            throw YAMLError(
                position: TextPosition(line: 1, column: 1),
                message: "the file has \(bytes.count) bytes; at most \(limits.bytes) are read")
        }
        return try bytes.withUnsafeBufferPointer { buffer throws(YAMLError) -> YAMLNode? in
            var builder = try YAMLBuilder(buffer, limits: limits)
            defer { builder.close() }
            return try builder.document()
        }
    }

    /// The same for a text in memory.
    public static func parse(_ text: String, limits: YAMLLimits = YAMLLimits()) throws(YAMLError) -> YAMLNode? {
        try parse(Array(text.utf8), limits: limits)
    }
}

/// Folds events into nodes.
private struct YAMLBuilder {
    private let parser: OpaquePointer
    private let limits: YAMLLimits
    private var nodes = 0

    init(_ buffer: UnsafeBufferPointer<UInt8>, limits: YAMLLimits) throws(YAMLError) {
        guard let parser = cyaml_open(buffer.baseAddress, buffer.count) else {
            throw YAMLError(position: TextPosition(line: 1, column: 1), message: "out of memory")
        }
        self.parser = parser
        self.limits = limits
    }

    func close() { cyaml_close(parser) }

    mutating func document() throws(YAMLError) -> YAMLNode? {
        var root: YAMLNode?
        while true {
            let event = try next()
            switch Int(event.kind) {
            case Int(CYAML_KIND_END.rawValue): return root
            case Int(CYAML_KIND_DOCUMENT.rawValue):
                if root != nil { throw refusal(event, "a second document; one file holds one configuration") }
                root = try node(try next(), depth: 1)
            default: throw refusal(event, "unexpected content outside the document")
            }
        }
    }

    private func next() throws(YAMLError) -> cyaml_event {
        var event = cyaml_event()
        cyaml_next(parser, &event)
        if event.kind == Int32(CYAML_KIND_ERROR.rawValue) { throw refusal(event, text(event)) }
        return event
    }

    private func text(_ event: cyaml_event) -> String {
        guard let value = event.value else { return "" }
        let bytes = UnsafeRawBufferPointer(start: value, count: event.length)
        return String(decoding: bytes, as: UTF8.self)
    }

    private func position(_ event: cyaml_event) -> TextPosition {
        TextPosition(line: Int(event.line), column: Int(event.column))
    }

    private func refusal(_ event: cyaml_event, _ message: String) -> YAMLError {
        YAMLError(position: position(event), message: message)
    }

    private mutating func node(_ event: cyaml_event, depth: Int) throws(YAMLError) -> YAMLNode {
        nodes += 1
        guard nodes <= limits.nodes else { throw refusal(event, "more than \(limits.nodes) values") }
        guard depth <= limits.depth else { throw refusal(event, "nested deeper than \(limits.depth) levels") }
        guard event.anchored == 0 else { throw refusal(event, "anchors (&name) are not supported; write the value out") }
        guard event.tagged == 0 else { throw refusal(event, "explicit tags (!name) are not supported") }
        let place = position(event)
        switch Int(event.kind) {
        case Int(CYAML_KIND_SCALAR.rawValue):
            return YAMLNode(content: .scalar(text(event), quoted: event.quoted != 0), position: place)
        case Int(CYAML_KIND_SEQUENCE_START.rawValue):
            return YAMLNode(content: .sequence(try items(depth: depth)), position: place)
        case Int(CYAML_KIND_MAPPING_START.rawValue):
            return YAMLNode(content: .mapping(try entries(depth: depth)), position: place)
        case Int(CYAML_KIND_ALIAS.rawValue):
            throw refusal(event, "aliases (*name) are not supported; write the value out")
        default:
            throw refusal(event, "a value is missing")
        }
    }

    private mutating func items(depth: Int) throws(YAMLError) -> [YAMLNode] {
        var items: [YAMLNode] = []
        while true {
            let event = try next()
            if event.kind == Int32(CYAML_KIND_SEQUENCE_END.rawValue) { return items }
            items.append(try node(event, depth: depth + 1))
        }
    }

    private mutating func entries(depth: Int) throws(YAMLError) -> [YAMLEntry] {
        var entries: [YAMLEntry] = []
        var first: [String: TextPosition] = [:]
        while true {
            let event = try next()
            if event.kind == Int32(CYAML_KIND_MAPPING_END.rawValue) { return entries }
            let key = try node(event, depth: depth + 1)
            guard case .scalar(let name, _) = key.content else {
                throw YAMLError(position: key.position, message: "a key must be a single value, not \(key.shape)")
            }
            if let earlier = first[name] {
                throw YAMLError(position: key.position, message: "`\(name)` appears twice; first in line \(earlier.line)")
            }
            first[name] = key.position
            let value = try node(try next(), depth: depth + 1)
            entries.append(YAMLEntry(key: name, position: key.position, value: value))
        }
    }
}
