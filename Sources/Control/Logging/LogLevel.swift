/// How important a record is. The numbers are those of the widespread JSON line format (trace 10 … fatal 60).
public enum LogLevel: UInt8, Sendable, CaseIterable, Comparable {
    case trace = 10
    case debug = 20
    case info = 30
    case warn = 40
    case error = 50
    case fatal = 60
    /// As a threshold: nothing is written.
    case silent = 70

    /// The name used in configuration: `trace` … `fatal`, `silent`.
    public var name: String { "\(self)" }

    /// The level with this name.
    public init?(name: String) {
        guard let level = LogLevel.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    /// By importance; `silent` is above everything.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}
