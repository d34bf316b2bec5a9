// Topic names and filters of MQTT (MQTT 5 section 4.7) as byte strings of levels between slashes.
//
// A filter stands for a language: the set of topic names it matches. Three questions are answered without building it: is a
// name in it, does it lie inside another one, do two share a name. All walk both texts once, level by level.

import Wire

/// Topic names and filters.
public enum TopicFilter {
    private static let slash = UInt8(ascii: "/")
    private static let plus = UInt8(ascii: "+")
    private static let hash = UInt8(ascii: "#")
    private static let dollar = UInt8(ascii: "$")

    /// Whether bytes are a topic name that may be published to: not empty, no wildcards, UTF-8 without U+0000.
    @inline(__always)
    public static func isName(_ bytes: Span<UInt8>) -> Bool {
        guard bytes.count > 0, bytes.count <= MQTTLimits.maximumFieldBytes else { return false }
        if isPlainName(bytes) { return true }
        for index in 0..<bytes.count where bytes[index] == plus || bytes[index] == hash { return false }
        return MQTTText.isValid(bytes)
    }

    /// Whether a name is one for sure: ASCII without U+0000 and wildcards, eight bytes at a time. Nearly all are.
    @inline(__always)
    private static func isPlainName(_ bytes: Span<UInt8>) -> Bool {
        guard bytes.count >= 8 else {
            for index in 0..<bytes.count {
                let byte = bytes[index]
                if byte == 0 || byte >= 0x80 || byte == plus || byte == hash { return false }
            }
            return true
        }
        return unsafe bytes.withUnsafeBytes { raw in
            var index = 0
            while index &+ 8 <= raw.count {
                guard unsafe isPlain(raw.loadUnaligned(fromByteOffset: index, as: UInt64.self)) else { return false }
                index &+= 8
            }
            // The last eight bytes, some of them again.
            return unsafe isPlain(raw.loadUnaligned(fromByteOffset: raw.count &- 8, as: UInt64.self))
        }
    }

    /// Whether none of eight bytes is above 0x7F, 0, `+` or `#`.
    @inline(__always)
    private static func isPlain(_ word: UInt64) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        // With the high bits clear, a byte that is 0 shows as its high bit after one is taken from it.
        let odd = word | (word &- ones) | ((word ^ 0x2B2B_2B2B_2B2B_2B2B) &- ones) | ((word ^ 0x2323_2323_2323_2323) &- ones)
        return odd & 0x8080_8080_8080_8080 == 0
    }

    /// Whether bytes are a filter: not empty, `+` and `#` only as whole levels, `#` only as the last, UTF-8 without U+0000.
    public static func isFilter(_ bytes: Span<UInt8>) -> Bool {
        guard bytes.count > 0, bytes.count <= MQTTLimits.maximumFieldBytes, MQTTText.isValid(bytes) else { return false }
        var levels = Levels()
        while let level = levels.next(bytes) {
            switch kind(bytes, level) {
            case .rest: if level.upperBound != bytes.count { return false }
            case .any: break
            case .literal: for index in level where bytes[index] == plus || bytes[index] == hash { return false }
            }
        }
        return true
    }

    /// The filter inside `$share/<group>/<filter>`, or all of `bytes` when it is no shared subscription. Nil when it begins as
    /// one and is malformed: the group empty or with wildcards, or no filter behind it (MQTT 5 section 4.8.2).
    public static func unshared(_ bytes: Span<UInt8>) -> Range<Int>? {
        let prefix = 7
        guard bytes.count >= prefix - 1, bytes.equals("$share", in: 0..<prefix - 1), bytes.count == prefix - 1 || bytes[prefix - 1] == slash
        else { return 0..<bytes.count }
        var place = prefix
        while place < bytes.count, bytes[place] != slash {
            if bytes[place] == plus || bytes[place] == hash { return nil }
            place += 1
        }
        guard place > prefix, place + 1 < bytes.count else { return nil }
        return place + 1..<bytes.count
    }

    /// Whether a filter matches a topic name; both well formed. A name that begins with `$` needs a filter that begins with
    /// the same level, not with a wildcard.
    @inline(__always)
    public static func matches(_ filter: Span<UInt8>, _ topic: Span<UInt8>) -> Bool {
        if topic[0] == dollar, filter[0] != dollar { return false }
        var place = 0
        var index = 0
        while place < filter.count {
            let byte = filter[place]
            if byte == hash { return true }
            if byte == plus {
                while index < topic.count, topic[index] != slash { index &+= 1 }
                place &+= 1
            } else if index < topic.count, topic[index] == byte {
                place &+= 1
                index &+= 1
            } else {
                // `a/#` matches `a`, too.
                return index == topic.count && byte == slash && place &+ 2 == filter.count && filter[place &+ 1] == hash
            }
        }
        return index == topic.count
    }

    /// Whether every name that `requested` matches is matched by `allowed`; both well formed.
    public static func includes(_ allowed: Span<UInt8>, _ requested: Span<UInt8>) -> Bool {
        if requested[0] == dollar, allowed[0] != dollar { return false }
        var outer = Levels()
        var inner = Levels()
        var isFirst = true
        while true {
            let outerLevel = outer.next(allowed)
            let innerLevel = inner.next(requested)
            let outerKind = outerLevel.map { kind(allowed, $0) }
            let innerKind = innerLevel.map { kind(requested, $0) }
            if outerKind == .rest { return true }
            if innerKind == .rest {
                // Everything that does not begin with `$` has a first level: `+/#` is as wide as `#`, and only there.
                return isFirst && outerKind == .any && outer.next(allowed).map { kind(allowed, $0) } == .rest
            }
            isFirst = false
            switch (outerKind, innerKind) {
            case (nil, nil): return true
            case (nil, _), (_, nil), (.literal, .any): return false
            case (.any, _): continue
            default: if !areEqual(allowed, outerLevel, requested, innerLevel) { return false }
            }
        }
    }

    /// Whether some name is matched by both filters; both well formed.
    public static func overlap(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        if (left[0] == dollar) != (right[0] == dollar) { return false }
        // `/#` matches everything below an empty first level, and not that level alone: no name is empty.
        let isEmptyFirst = left[0] == slash || right[0] == slash
        var leftLevels = Levels()
        var rightLevels = Levels()
        var depth = 0
        while true {
            let leftLevel = leftLevels.next(left)
            let rightLevel = rightLevels.next(right)
            let leftKind = leftLevel.map { kind(left, $0) }
            let rightKind = rightLevel.map { kind(right, $0) }
            if leftKind == .rest || rightKind == .rest {
                return !(depth == 1 && isEmptyFirst && (leftKind == nil || rightKind == nil))
            }
            depth += 1
            switch (leftKind, rightKind) {
            case (nil, nil): return true
            case (nil, _), (_, nil): return false
            case (.literal, .literal): if !areEqual(left, leftLevel, right, rightLevel) { return false }
            default: continue
            }
        }
    }

    private enum Kind {
        case literal, any, rest
    }

    private static func kind(_ bytes: Span<UInt8>, _ level: Range<Int>) -> Kind {
        guard level.count == 1 else { return .literal }
        switch bytes[level.lowerBound] {
        case plus: return .any
        case hash: return .rest
        default: return .literal
        }
    }

    private static func areEqual(_ left: Span<UInt8>, _ leftLevel: Range<Int>?, _ right: Span<UInt8>, _ rightLevel: Range<Int>?) -> Bool {
        guard let leftLevel, let rightLevel, leftLevel.count == rightLevel.count else { return false }
        for offset in 0..<leftLevel.count where left[leftLevel.lowerBound &+ offset] != right[rightLevel.lowerBound &+ offset] {
            return false
        }
        return true
    }

    /// The levels of a text, at least one.
    private struct Levels {
        private var start: Int? = 0

        mutating func next(_ bytes: Span<UInt8>) -> Range<Int>? {
            guard let begin = start else { return nil }
            var end = begin
            while end < bytes.count, bytes[end] != slash { end &+= 1 }
            start = end < bytes.count ? end &+ 1 : nil
            return begin..<end
        }
    }
}
