/// What may stand in a field of a head that is written (RFC 9110 sections 5.1 and 5.5).
enum FieldRule {
    /// Whether a name is a token: not empty, no blank, no separator.
    static func isName(_ name: Span<UInt8>) -> Bool {
        for index in 0..<name.count where !Character7.isToken(name[index]) { return false }
        return !name.isEmpty
    }

    /// Whether a value has no control character but tab: another could end the field, or the head.
    static func isValue(_ value: Span<UInt8>) -> Bool {
        var index = ByteScan.firstControl(value, from: 0, to: value.count)
        while index < value.count {
            guard value[index] == Character7.tab else { return false }
            index = ByteScan.firstControl(value, from: index &+ 1, to: value.count)
        }
        return true
    }
}
