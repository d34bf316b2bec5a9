/// A JSON value (RFC 8259). Numbers are doubles, as in the scripts at the other end; a number too large for one is
/// infinite.
public indirect enum JSONValue: Sendable, Equatable {
    case null
    case boolean(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Members in text order, repeated names included.
    case object([JSONMember])

    /// The member of an object; the last one when the name is repeated. Nil for anything but an object.
    public subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name == name }?.value
    }

    /// The text of a string.
    public var string: String? {
        if case .string(let string) = self { return string }
        return nil
    }

    /// The value of a number.
    public var number: Double? {
        if case .number(let number) = self { return number }
        return nil
    }

    /// The value of `true` or `false`.
    public var boolean: Bool? {
        if case .boolean(let boolean) = self { return boolean }
        return nil
    }
}

/// A member of a JSON object.
public struct JSONMember: Sendable, Equatable {
    /// The name, escapes resolved.
    public var name: String
    /// The value.
    public var value: JSONValue

    /// A member `"name": value`.
    public init(name: String, value: JSONValue) {
        self.name = name
        self.value = value
    }
}

/// A member of a JSON object and where its value stands.
public struct JSONField: Sendable, Equatable {
    /// The name, escapes resolved.
    public var name: String
    /// The value.
    public var value: JSONValue
    /// The value's place in the text, without blanks around it.
    public var text: Range<Int>

    /// The value of a number that is written as an integer, without fraction or exponent, and fits; nil for anything else.
    /// `json` is the text the field was read from.
    public func integer(in json: Span<UInt8>) -> Int64? {
        guard case .number = value else { return nil }
        var place = text.lowerBound
        let isNegative = json[place] == 0x2D
        if isNegative { place += 1 }
        var integer: Int64 = 0
        while place < text.upperBound {
            guard Character7.isDigit(json[place]) else { return nil }
            let (scaled, overflowed) = integer.multipliedReportingOverflow(by: 10)
            let digit = Int64(json[place] - 0x30)
            let (sum, carried) = scaled.addingReportingOverflow(isNegative ? -digit : digit)
            guard !overflowed, !carried else { return nil }
            integer = sum
            place += 1
        }
        return integer
    }
}
