/// Text of a scrape in the Prometheus exposition format, version 0.0.4.
struct MetricsPage {
    private(set) var text = ""

    /// Starts a family.
    mutating func family(_ name: String, _ type: String, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    /// One sample; `labels` is `name="value",…` of values that need no escaping.
    mutating func sample(_ name: String, _ labels: String, _ value: UInt64) { text += "\(name)\(Self.braced(labels)) \(value)\n" }

    /// One sample that is not whole.
    mutating func sample(_ name: String, _ labels: String, _ value: Double) {
        text += "\(name)\(Self.braced(labels)) \(Self.number(value))\n"
    }

    private static func braced(_ labels: String) -> String { labels.isEmpty ? "" : "{\(labels)}" }

    /// One sample without labels.
    mutating func plain(_ name: String, _ value: Double) { text += "\(name) \(Self.number(value))\n" }

    /// A family of one counter without labels.
    mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        family(name, "counter", help)
        text += "\(name) \(value)\n"
    }

    /// A family of one gauge without labels.
    mutating func gauge(_ name: String, _ help: String, _ value: UInt64) {
        family(name, "gauge", help)
        text += "\(name) \(value)\n"
    }

    /// A family of one value that is not whole.
    mutating func value(_ name: String, _ type: String, _ help: String, _ value: Double) {
        family(name, type, help)
        text += "\(name) \(Self.number(value))\n"
    }

    /// Whole numbers without a fraction.
    static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }
}
