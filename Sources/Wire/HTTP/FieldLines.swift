/// Fields as they stand in a head, each as `<name>: <value> CRLF`: put together once, and copied into the head as a whole.
///
/// What does not belong in a head is not appended, and the lines are unsound from then on: a head that would carry them fails.
public struct FieldLines: Sendable, Equatable {
    /// The lines so far.
    public private(set) var bytes: [UInt8] = []
    /// Whether every name was a token and no value had a control character other than tab (`FieldRule`).
    public private(set) var isSound = true

    /// No lines, with room for so many bytes.
    public init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// Appends a field, whose bytes are copied.
    public mutating func append(_ name: Span<UInt8>, _ value: Span<UInt8>) {
        isSound = isSound && FieldRule.isName(name) && FieldRule.isValue(value)
        guard isSound else { return }
        unsafe name.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
        bytes.append(0x3A)
        bytes.append(0x20)
        unsafe value.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
        bytes.append(0x0D)
        bytes.append(0x0A)
    }

    /// The same from texts, in UTF-8.
    public mutating func append(_ name: String, _ value: String) { append(name.utf8.span, value.utf8.span) }

    /// Appends the lines of others.
    public mutating func append(_ others: FieldLines) {
        isSound = isSound && others.isSound
        guard isSound else { return }
        bytes.append(contentsOf: others.bytes)
    }
}
