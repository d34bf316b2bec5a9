// Punycode, RFC 3492: Unicode text in the letters, digits and hyphen of a DNS label.

enum Punycode {
    // RFC 3492 section 5.
    private static let base = 36
    private static let minimumThreshold = 1
    private static let maximumThreshold = 26
    private static let skew = 38
    private static let damp = 700
    private static let initialBias = 72
    private static let initialCodePoint = 128
    /// A label holds at most 63 bytes, so no valid label decodes to more scalars; longer input stops early, which
    /// also bounds the quadratic work of both directions.
    static let maximumScalars = 63

    /// The digits for `label` without the `xn--` prefix; nil when it holds too many scalars.
    static func encode(_ label: [Unicode.Scalar]) -> String? {
        guard label.count <= maximumScalars else { return nil }
        var output = label.filter(\.isASCII).map { UInt8(truncatingIfNeeded: $0.value) }
        let basicCount = output.count
        if basicCount > 0 { output.append(UInt8(ascii: "-")) }
        var handled = basicCount
        var next = initialCodePoint
        var delta = 0
        var bias = initialBias
        while handled < label.count {
            let smallest = label.lazy.map { Int($0.value) }.filter { $0 >= next }.min() ?? next
            delta += (smallest - next) * (handled + 1)
            next = smallest
            for scalar in label {
                if Int(scalar.value) < next { delta += 1 }
                guard Int(scalar.value) == next else { continue }
                appendVariableLength(delta, bias: bias, to: &output)
                bias = adapt(delta, points: handled + 1, first: handled == basicCount)
                delta = 0
                handled += 1
            }
            delta += 1
            next += 1
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// The scalars of an encoded label (without `xn--`), nil when it is not valid Punycode.
    static func decode(_ text: Substring.UTF8View) -> [Unicode.Scalar]? {
        guard text.count <= maximumScalars else { return nil }
        var output: [Unicode.Scalar] = []
        var input = text[...]
        if let delimiter = text.lastIndex(of: UInt8(ascii: "-")) {
            for byte in text[..<delimiter] {
                guard byte < 0x80 else { return nil }
                output.append(Unicode.Scalar(byte))
            }
            input = text[text.index(after: delimiter)...]
        }
        var next = initialCodePoint
        var position = 0
        var bias = initialBias
        while !input.isEmpty {
            let start = position
            guard let advanced = readVariableLength(&input, bias: bias, from: position) else { return nil }
            position = advanced
            bias = adapt(position - start, points: output.count + 1, first: start == 0)
            next += position / (output.count + 1)
            position %= output.count + 1
            guard next <= 0x10FFFF, let scalar = Unicode.Scalar(UInt32(next)) else { return nil }
            output.insert(scalar, at: position)
            position += 1
        }
        return output
    }

    private static func threshold(_ step: Int, bias: Int) -> Int {
        min(max(step - bias, minimumThreshold), maximumThreshold)
    }

    private static func appendVariableLength(_ value: Int, bias: Int, to output: inout [UInt8]) {
        var rest = value
        var step = base
        while true {
            let limit = threshold(step, bias: bias)
            guard rest >= limit else { break }
            output.append(digit(limit + (rest - limit) % (base - limit)))
            rest = (rest - limit) / (base - limit)
            step += base
        }
        output.append(digit(rest))
    }

    private static func readVariableLength(
        _ input: inout Substring.UTF8View.SubSequence, bias: Int, from start: Int
    ) -> Int? {
        var value = start
        var weight = 1
        var step = base
        while true {
            guard let byte = input.popFirst(), let digit = digitValue(byte) else { return nil }
            // Values above 2^40 cannot be positions in a label; stopping there keeps the arithmetic in range.
            guard weight < 1 << 40 else { return nil }
            value += digit * weight
            let limit = threshold(step, bias: bias)
            if digit < limit { return value < 1 << 40 ? value : nil }
            weight *= base - limit
            step += base
        }
    }

    private static func adapt(_ delta: Int, points: Int, first: Bool) -> Int {
        var delta = first ? delta / damp : delta / 2
        delta += delta / points
        var step = 0
        while delta > (base - minimumThreshold) * maximumThreshold / 2 {
            delta /= base - minimumThreshold
            step += base
        }
        return step + (base - minimumThreshold + 1) * delta / (delta + skew)
    }

    private static func digit(_ value: Int) -> UInt8 {
        value < 26 ? UInt8(ascii: "a") + UInt8(value) : UInt8(ascii: "0") + UInt8(value - 26)
    }

    private static func digitValue(_ byte: UInt8) -> Int? {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(byte - UInt8(ascii: "a"))
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0")) + 26
        default: nil
        }
    }
}
