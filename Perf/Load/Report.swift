// Results, for people and for programs.

/// An ordered list of named figures; nested ones are written as objects.
struct Report {
    enum Value {
        case text(String)
        case integer(Int)
        case number(Double)
        case group([(String, Value)])
    }

    private(set) var fields: [(String, Value)] = []

    mutating func add(_ name: String, _ value: Value) { fields.append((name, value)) }

    /// One JSON object.
    var json: String { Report.json(.group(fields)) }

    private static func json(_ value: Value) -> String {
        switch value {
        case .text(let text):
            let escaped = text.unicodeScalars.map { scalar -> String in
                switch scalar {
                case "\"": "\\\""
                case "\\": "\\\\"
                case _ where scalar.value < 0x20: " "
                default: String(scalar)
                }
            }
            return "\"\(escaped.joined())\""
        case .integer(let number): return String(number)
        case .number(let number): return number.isFinite ? fixed(number, 6) : "null"
        case .group(let fields): return "{" + fields.map { "\"\($0.0)\": \(json($0.1))" }.joined(separator: ", ") + "}"
        }
    }

    /// Lines of name and value, groups indented.
    var human: String { Report.human(fields, indent: 0) }

    private static func human(_ fields: [(String, Value)], indent: Int) -> String {
        fields.map { name, value in
            let label = String(repeating: " ", count: indent) + name
            let padded = label + String(repeating: " ", count: max(1, 34 - label.count))
            switch value {
            case .text(let text): return padded + text
            case .integer(let number): return padded + String(number)
            case .number(let number): return padded + fixed(number, abs(number) < 10 ? 3 : 1)
            case .group(let inner): return label + "\n" + human(inner, indent: indent + 2)
            }
        }.joined(separator: "\n")
    }

    /// The usual percentiles of a histogram, in microseconds.
    static func latency(_ histogram: Histogram) -> Value {
        let shares: [(String, Double)] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)]
        var fields: [(String, Value)] = [("count", .integer(Int(histogram.count))), ("mean", .number(histogram.mean / 1000))]
        fields += shares.map { ($0.0, .number(Double(histogram.value(atShare: $0.1)) / 1000)) }
        return .group(fields + [("max", .number(Double(histogram.maximum) / 1000))])
    }
}

/// A decimal number with a fixed number of places.
func fixed(_ value: Double, _ places: Int) -> String {
    guard value.isFinite else { return "-" }
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 9e18 else { return "\(value)" }
    let digits = String(Int64(scaled))
    let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    let sign = value < 0 && scaled > 0 ? "-" : ""
    return places == 0 ? sign + padded : sign + padded.dropLast(places) + "." + padded.suffix(places)
}
