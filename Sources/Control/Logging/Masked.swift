/// A secret. It prints as `***` wherever it is printed, interpolated, dumped or logged; only `revealed` tells it.
public struct Masked: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The secret itself. Never pass it on to a log, a message or a metric.
    public let revealed: String

    /// Wraps a secret.
    public init(_ secret: String) { revealed = secret }

    /// Always `***`.
    public var description: String { "***" }
    /// Always `***`.
    public var debugDescription: String { "***" }
    /// No children: `dump` and the debugger's mirror see nothing.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
