/// JSON to be written. For answers of the admin interface; nothing here is on a data path.
indirect enum JSONDocument: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    case null
    case flag(Bool)
    case number(Int)
    case count(UInt64)
    case fraction(Double)
    case string(String)
    case array([JSONDocument])
    case object([(String, JSONDocument)])

    init(stringLiteral value: String) { self = .string(value) }
    init(integerLiteral value: Int) { self = .number(value) }
    init(booleanLiteral value: Bool) { self = .flag(value) }

    /// A list of texts.
    init(_ texts: [String]) { self = .array(texts.map { .string($0) }) }

    /// The document as text, with two blanks a level, since people read it.
    var text: String {
        var text = ""
        write(to: &text, indent: "")
        return text + "\n"
    }

    private func write(to text: inout String, indent: String) {
        switch self {
        case .null: text += "null"
        case .flag(let flag): text += flag ? "true" : "false"
        case .number(let number): text += "\(number)"
        case .count(let count): text += "\(count)"
        // JSON has no infinities.
        case .fraction(let fraction): text += fraction.isFinite ? MetricsPage.number(fraction) : "null"
        case .string(let string): text += JSONText.quoted(string)
        case .array(let items):
            Self.write(items.count, "[", "]", to: &text, indent) { items[$0].write(to: &$2, indent: $1) }
        case .object(let members):
            Self.write(members.count, "{", "}", to: &text, indent) { index, inner, text in
                text += JSONText.quoted(members[index].0) + ": "
                members[index].1.write(to: &text, indent: inner)
            }
        }
    }

    private static func write(_ count: Int, _ start: String, _ end: String, to text: inout String, _ indent: String,
                              _ item: (Int, String, inout String) -> Void) {
        text += start
        for index in 0..<count {
            text += (index == 0 ? "\n" : ",\n") + indent + "  "
            item(index, indent + "  ", &text)
        }
        text += count == 0 ? end : "\n" + indent + end
    }
}
