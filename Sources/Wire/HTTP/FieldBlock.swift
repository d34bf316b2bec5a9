/// One field line: where its name and value stand, relative to the first byte of the head.
private struct FieldEntry {
    var nameStart: UInt16
    var nameBytes: UInt16
    var valueStart: UInt16
    var valueBytes: UInt16
    var known: KnownField
}

/// The field lines of one head. Storage is allocated once and used again for every message of a shard.
@safe struct FieldBlock: ~Copyable {
    private static let none: UInt8 = 255

    private let entries: UnsafeMutablePointer<FieldEntry>
    private let capacity: Int
    /// Fields kept.
    private(set) var count = 0
    /// Field lines seen, dropped ones included.
    private var lines = 0
    private var counts = InlineArray<64, UInt8>(repeating: 0)
    private var firsts = InlineArray<64, UInt8>(repeating: FieldBlock.none)

    init(limits: HTTPLimits) {
        precondition(limits.headBytes <= HTTPLimits.largestHeadBytes && limits.headBytes > 0)
        precondition(limits.fieldCount <= HTTPLimits.largestFieldCount && limits.fieldCount > 0)
        capacity = limits.fieldCount
        unsafe entries = .allocate(capacity: capacity)
        let empty = FieldEntry(nameStart: 0, nameBytes: 0, valueStart: 0, valueBytes: 0, known: .other)
        unsafe entries.initialize(repeating: empty, count: capacity)
    }

    deinit { unsafe entries.deallocate() }

    mutating func reset() {
        guard lines > 0 else { return }
        count = 0
        lines = 0
        counts = InlineArray(repeating: 0)
        firsts = InlineArray(repeating: Self.none)
    }

    private func entry(_ index: Int) -> FieldEntry {
        precondition(index >= 0 && index < count)
        return unsafe entries[index]
    }

    func name(_ index: Int) -> Range<Int> {
        let entry = entry(index)
        return Int(entry.nameStart)..<Int(entry.nameStart) &+ Int(entry.nameBytes)
    }

    func value(_ index: Int) -> Range<Int> {
        let entry = entry(index)
        return Int(entry.valueStart)..<Int(entry.valueStart) &+ Int(entry.valueBytes)
    }

    func known(_ index: Int) -> KnownField { entry(index).known }

    func count(of field: KnownField) -> Int { Int(counts[Int(field.rawValue)]) }

    func first(_ field: KnownField) -> Int? {
        let index = firsts[Int(field.rawValue)]
        return index == Self.none ? nil : Int(index)
    }

    func next(_ field: KnownField, after index: Int) -> Int? {
        var index = index &+ 1
        while index < count {
            if known(index) == field { return index }
            index &+= 1
        }
        return nil
    }

    /// Takes the line `bytes[start..<end]` apart: `name ":" OWS value OWS`. The line holds no control character but tab.
    mutating func append(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> HTTPViolation? {
        let colon = ByteScan.first(0x3A, in: bytes, from: start, to: end)
        // No colon, or an empty name. A folded or indented line fails below: a blank is no token character.
        guard colon < end, colon > start else { return .badRequest }
        let known = KnownField.match(bytes, start, colon &- start)
        var dropped = false
        if known == .other {
            for index in start..<colon {
                let byte = bytes[index]
                guard Character7.isToken(byte) else { return .badRequest }
                if byte == 0x5F { dropped = true }
            }
        }
        guard lines < capacity else { return .headTooLarge }
        lines &+= 1
        // `_` and `-` become the same character in CGI-like environments behind us: such names are not passed on.
        if dropped { return nil }
        let value = bytes.trimmed((colon &+ 1)..<end)
        unsafe entries[count] = FieldEntry(
            nameStart: UInt16(truncatingIfNeeded: start), nameBytes: UInt16(truncatingIfNeeded: colon &- start),
            valueStart: UInt16(truncatingIfNeeded: value.lowerBound), valueBytes: UInt16(truncatingIfNeeded: value.count),
            known: known)
        let slot = Int(known.rawValue)
        if counts[slot] == 0 { firsts[slot] = UInt8(truncatingIfNeeded: count) }
        counts[slot] &+= 1
        count &+= 1
        return nil
    }
}
