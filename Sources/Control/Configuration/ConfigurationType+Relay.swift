// Values as the variables and flags of the UDP relay have them. They differ from the gateway's: durations carry units and may be
// compound, a plus sign is a sign, switches have six spellings each, and choices are read in any case.

extension ConfigurationType {
    /// What a variable or flag of the relay accepts.
    var allowedInRelayVariables: String {
        switch self {
        case .duration(let range, let unit):
            "a duration with units (700ms, 1.5s, 1m30s) from \(Quantity.duration(range.lowerBound, unit)) to "
                + Quantity.duration(range.upperBound, unit)
        case .flag: "1, t, true, 0, f or false"
        default: allowedInEnvironment
        }
    }

    /// The value of a variable or flag of the relay; `text` is trimmed.
    func value(ofRelayText text: String) throws(ValueRefusal) -> ConfigurationValue {
        switch self {
        case .duration(let range, let unit):
            guard let milliseconds = Quantity.compoundMilliseconds(text), range.contains(milliseconds / unit.rawValue) else {
                throw ValueRefusal(": `\(Quantity.excerpt(text))` is not allowed; allowed: \(allowedInRelayVariables)")
            }
            return .integer(milliseconds / unit.rawValue)
        case .flag:
            switch text {
            case "1", "t", "T", "true", "TRUE", "True": return .flag(true)
            case "0", "f", "F", "false", "FALSE", "False": return .flag(false)
            default: throw ValueRefusal(": `\(Quantity.excerpt(text))` is not allowed; allowed: \(allowedInRelayVariables)")
            }
        case .integer, .size: return try value(ofVariable: Quantity.withoutPlus(text))
        case .choice(let names): return try value(ofVariable: names.contains(text.lowercased()) ? text.lowercased() : text)
        default: return try value(ofVariable: text)
        }
    }
}

extension Quantity {
    /// A number without the plus sign before it.
    static func withoutPlus(_ text: String) -> String {
        text.hasPrefix("+") && text.dropFirst().utf8.first.map { $0 >= 0x30 && $0 <= 0x39 } == true ? String(text.dropFirst()) : text
    }

    private static let compoundUnits: [(String, Double)] = [
        ("ns", 1e-6), ("us", 1e-3), ("µs", 1e-3), ("μs", 1e-3), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000),
    ]

    /// Milliseconds of `1m30s`, `1.5s`, `.5s`, `700ms`; a bare `0` needs no unit. What is above 0 is at least 1. Nil for anything
    /// else, a sign among it, and beyond 100 years.
    static func compoundMilliseconds(_ text: String) -> Int? {
        if text == "0" { return 0 }
        var rest = Substring(text)
        var total = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0 == "." || ($0.isASCII && $0.isNumber) }
            guard digits.contains(where: { $0 != "." }), digits.count(where: { $0 == "." }) <= 1,
                let amount = Double("0" + digits + (digits.contains(".") ? "0" : ""))
            else { return nil }
            rest = rest.dropFirst(digits.count)
            let name = rest.prefix { $0 != "." && !($0.isASCII && $0.isNumber) }
            guard let unit = compoundUnits.first(where: { $0.0 == name }) else { return nil }
            rest = rest.dropFirst(name.count)
            total += amount * unit.1
        }
        guard total < Double(ConfigurationSchema.longestLifetimeSeconds) * 1000 else { return nil }
        return total > 0 ? max(1, Int(total.rounded())) : 0
    }
}
