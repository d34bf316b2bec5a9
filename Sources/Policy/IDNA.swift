// Internationalised host names to ASCII, after UTS #46 (non-transitional) with what the standard library knows of
// Unicode instead of the full mapping table.
//
// Mapped: case; full-width and mathematical forms of ASCII and circled or raised digits; the ideographic dots; ignorable
// code points vanish; then canonical composition (NFC). Whatever then still changes under NFKC_Casefold has a
// compatibility mapping that this code does not know and is refused, so no input ever yields a *different* name than
// the full algorithm, only sometimes none. Also refused: joiners (their context rules need tables), unassigned, private,
// control and format code points, labels starting with a mark, and labels that break the Bidi rule (RFC 5893) with
// directions taken from the script blocks.

@_spi(_Unicode) import Swift

enum IDNA {
    /// The ASCII form of a host, lower-case with `xn--` labels; nil when it has none. Empty labels are kept.
    static func toASCII(_ host: String) -> String? {
        if host.utf8.allSatisfy({ $0 < 0x80 }) {
            let lower = host.lowercased()
            return labels(of: lower).allSatisfy(isAcceptableASCII) ? lower : nil
        }
        var mapped = String.UnicodeScalarView()
        for scalar in host.unicodeScalars {
            guard appendMapped(scalar, to: &mapped) else { return nil }
        }
        var composed = String.UnicodeScalarView()
        for scalar in String(mapped)._nfc { composed.append(scalar) }
        var output: [String] = []
        var isBidirectional = false
        let parts = labels(of: String(composed))
        for label in parts where label.unicodeScalars.contains(where: BidiRule.isRightToLeft) { isBidirectional = true }
        for label in parts {
            guard let ascii = labelToASCII(label, isBidirectional: isBidirectional) else { return nil }
            output.append(ascii)
        }
        return output.joined(separator: ".")
    }

    /// Splits at every full stop, also where a combining mark follows and makes a character of both.
    private static func labels(of host: String) -> [Substring] {
        host.unicodeScalars.split(separator: ".", omittingEmptySubsequences: false).map { Substring($0) }
    }

    private static func labelToASCII(_ label: Substring, isBidirectional: Bool) -> String? {
        if label.utf8.allSatisfy({ $0 < 0x80 }) {
            guard isAcceptableASCII(label) else { return nil }
            if isBidirectional { guard BidiRule.permits(label.unicodeScalars) else { return nil } }
            return String(label)
        }
        // A label may not both claim to be encoded and hold what should have been.
        guard !label.hasPrefix("xn--"), isValid(Array(label.unicodeScalars)) else { return nil }
        if isBidirectional { guard BidiRule.permits(label.unicodeScalars) else { return nil } }
        // What is too long to be decoded again is no label either.
        guard let encoded = Punycode.encode(Array(label.unicodeScalars)), encoded.utf8.count <= Punycode.maximumScalars else { return nil }
        return "xn--" + encoded
    }

    /// An ASCII label is fine unless it begins with `xn--` and does not decode to a label that encodes to itself.
    private static func isAcceptableASCII(_ label: Substring) -> Bool {
        guard label.hasPrefix("xn--") else { return true }
        guard let scalars = Punycode.decode(label.dropFirst(4).utf8[...]) else { return false }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        guard scalars.contains(where: { !$0.isASCII }), isValid(scalars), Array(String(view)._nfc) == scalars else {
            return false
        }
        if scalars.contains(where: BidiRule.isRightToLeft) { guard BidiRule.permits(view) else { return false } }
        return Punycode.encode(scalars).map { "xn--" + $0 == label } ?? false
    }

    /// Maps one code point; false refuses the whole host.
    private static func appendMapped(_ scalar: Unicode.Scalar, to output: inout String.UnicodeScalarView) -> Bool {
        switch scalar.value {
        case 0x3002, 0xFF0E, 0xFF61:
            output.append(".")
        case 0xFF01...0xFF5E:
            return appendMapped(Unicode.Scalar(UInt8(scalar.value - 0xFEE0)), to: &output)
        case 0xB9: output.append("1")
        case 0xB2: output.append("2")
        case 0xB3: output.append("3")
        case 0x2070, 0x2074...0x2079, 0x2080...0x2089, 0x2460...0x2468, 0x24EA, 0x1D7CE...0x1D7FF, 0x1FBF0...0x1FBF9:
            guard let value = scalar.properties.numericValue, value >= 0, value <= 9 else { return false }
            output.append(Unicode.Scalar(UInt8(ascii: "0") + UInt8(value)))
        case 0xAD, 0x34F, 0x180B...0x180D, 0x200B, 0x2060, 0x2064, 0xFE00...0xFE0F, 0xFEFF, 0xE0100...0xE01EF:
            break
        case 0x1E9E:
            // Capital sharp s: versions of the standard disagree between "ss" and sharp s.
            return false
        default:
            output.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
        }
        return true
    }

    /// Whether a mapped label consists of code points with status "valid" and begins well (UTS #46 section 4.1).
    private static func isValid(_ label: [Unicode.Scalar]) -> Bool {
        guard let first = label.first, !isMark(first) else { return false }
        for scalar in label where !isValid(scalar) { return false }
        return true
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: true
        default: false
        }
    }

    private static func isValid(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII {
            // Upper case can only come out of a decoded label, where it is not canonical.
            return scalar.value > 0x20 && scalar.value != 0x7F && !(0x41...0x5A).contains(scalar.value)
        }
        let properties = scalar.properties
        // U+00DF and U+03C2 fold but are kept as they are (UTS #46 deviation characters, non-transitional).
        if properties.changesWhenNFKCCaseFolded, scalar.value != 0xDF, scalar.value != 0x3C2 { return false }
        if properties.isDefaultIgnorableCodePoint { return false }
        // Replacement characters and ideographic description characters: symbols by category, disallowed by the table.
        if (0xFFFC...0xFFFD).contains(scalar.value) || (0x2FF0...0x2FFF).contains(scalar.value) { return false }
        switch properties.generalCategory {
        case .lowercaseLetter, .otherLetter, .modifierLetter, .nonspacingMark, .spacingMark, .decimalNumber, .otherSymbol:
            return true
        default:
            // Punctuation with a function inside words of Catalan, Greek, Hebrew and Japanese.
            return [0xB7, 0x375, 0x5F3, 0x5F4, 0x30FB].contains(scalar.value)
        }
    }
}

/// The Bidi rule of RFC 5893 section 2 with directions by script block, which is stricter for symbols.
enum BidiRule {
    /// Code points of the right-to-left blocks, marks and digits included.
    private static func isInRightToLeftBlock(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x590...0x8FF, 0xFB1D...0xFDFF, 0xFE70...0xFEFF, 0x10800...0x10FFF, 0x1E800...0x1EFFF: true
        default: false
        }
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.generalCategory == .nonspacingMark }
    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.generalCategory == .decimalNumber }
    /// Arabic-Indic digits have class AN; the extended ones (U+06F0...) have class EN like ASCII digits.
    private static func isArabicDigit(_ scalar: Unicode.Scalar) -> Bool { (0x660...0x669).contains(scalar.value) }

    /// Whether a code point makes its label a right-to-left label.
    static func isRightToLeft(_ scalar: Unicode.Scalar) -> Bool {
        isInRightToLeftBlock(scalar) && !isMark(scalar) && !(0x6F0...0x6F9).contains(scalar.value)
    }

    /// Whether one label of a host that holds right-to-left text satisfies the rule.
    static func permits<Scalars: BidirectionalCollection>(_ label: Scalars) -> Bool where Scalars.Element == Unicode.Scalar {
        guard let first = label.first else { return true }
        guard let last = label.last(where: { !isMark($0) }) else { return false }
        let hyphen: Unicode.Scalar = "-"
        if label.contains(where: isRightToLeft) {
            guard isRightToLeft(first), !isDigit(first) else { return false }
            guard isRightToLeft(last) || isDigit(last) else { return false }
            let usesArabicDigits = label.contains(where: isArabicDigit)
            for scalar in label {
                if isMark(scalar) || scalar == hyphen || isRightToLeft(scalar) { continue }
                guard isDigit(scalar), !usesArabicDigits else { return false }
            }
            return true
        }
        guard !isDigit(first), first != hyphen else { return false }
        return last != hyphen
    }
}
