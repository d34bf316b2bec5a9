// Queries as texts: pairs taken out, kept or masked, all else as it was.

import Wire

/// Pairs of a query by their decoded names.
public enum QueryText {
    /// Shown in place of a credential.
    public static let mask = "***"

    /// The pairs of a query as they are written, with decoded name and value.
    static func pairs(_ query: String) -> [(text: String, name: String, value: String)] {
        let bytes = Array(query.utf8)
        var reader = FormQuery(0..<bytes.count)
        var pairs: [(text: String, name: String, value: String)] = []
        while let pair = reader.pair(bytes.span) {
            let text = String(decoding: bytes[pair.name.lowerBound..<pair.value.upperBound], as: UTF8.self)
            pairs.append((text, FormQuery.string(bytes.span, pair.name), FormQuery.string(bytes.span, pair.value)))
        }
        return pairs
    }

    /// The query without pairs of these names; as it was when there is none.
    public static func removing(_ names: [String], from query: String) -> String {
        let pairs = pairs(query)
        guard pairs.contains(where: { names.contains($0.name) }) else { return query }
        return pairs.filter { !names.contains($0.name) }.map(\.text).joined(separator: "&")
    }

    /// Only the pairs of these names.
    public static func keeping(_ names: [String], in query: String) -> String {
        pairs(query).filter { names.contains($0.name) }.map(\.text).joined(separator: "&")
    }

    /// The query with the values of these names masked: fit for logs.
    public static func masking(_ names: [String], in query: String) -> String {
        let pairs = pairs(query)
        guard pairs.contains(where: { names.contains($0.name) }) else { return query }
        return pairs.map { names.contains($0.name) ? "\($0.name)=\(mask)" : $0.text }.joined(separator: "&")
    }
}
