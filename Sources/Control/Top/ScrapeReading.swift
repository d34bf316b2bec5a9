/// Samples of a scrape in the Prometheus text format, by family.
struct ScrapeReading: Equatable {
    /// One sample.
    struct Sample: Equatable {
        /// What stands between the braces, split; empty without braces.
        var labels: [String: String]
        var value: Double
    }

    private(set) var families: [String: [Sample]] = [:]

    /// Reads what this program writes; lines that are something else are left out.
    init(_ text: String) {
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]) else { continue }
            let series = line[..<blank]
            let brace = series.firstIndex(of: "{")
            let name = String(series[..<(brace ?? series.endIndex)])
            var labels: [String: String] = [:]
            if let brace, series.hasSuffix("}") {
                for label in series[series.index(after: brace)...].dropLast().split(separator: ",") {
                    guard let equals = label.firstIndex(of: "=") else { continue }
                    labels[String(label[..<equals])] = String(label[label.index(after: equals)...].filter { $0 != "\"" })
                }
            }
            families[name, default: []].append(Sample(labels: labels, value: value))
        }
    }

    /// Sum of a family's samples that have all these labels.
    func sum(_ family: String, _ labels: [String: String] = [:]) -> Double {
        (families[family] ?? []).reduce(0) { sum, sample in
            labels.allSatisfy { sample.labels[$0.key] == $0.value } ? sum + sample.value : sum
        }
    }

    /// Sums of a family's samples by the values of one label.
    func sums(_ family: String, by label: String) -> [(value: String, sum: Double)] {
        var sums: [String: Double] = [:]
        for sample in families[family] ?? [] { sums[sample.labels[label] ?? "", default: 0] += sample.value }
        return sums.map { (value: $0.key, sum: $0.value) }.sorted { $0.value < $1.value }
    }

    /// Values of a label of a family, numbers in their order.
    func values(_ label: String, of family: String) -> [String] {
        Set((families[family] ?? []).compactMap { $0.labels[label] }).sorted { (Int($0) ?? 0, $0) < (Int($1) ?? 0, $1) }
    }
}
