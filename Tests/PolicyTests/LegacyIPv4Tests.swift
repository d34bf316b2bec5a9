import Testing

@testable import Policy

@Suite struct LegacyIPv4Tests {
    /// U+0605 joins the character behind it, a full stop included: labels are cut at code points all the same.
    @Test func aNeighbourOfAFullStopDoesNotHideIt() {
        #expect(LegacyIPv4.webHost("a.b.c.d\u{605}.01") == .failure)
        #expect(LegacyIPv4.webHost("a\u{605}.1") == .failure)
        #expect(LegacyIPv4.webHost("1.\u{301}2") == .notNumeric)
        #expect(LegacyIPv4.target("1\u{605}.2") == nil)
    }
}

@Suite struct IDNATests {
    /// A label of ASCII letters with a few others encodes to more than a label holds; its encoded form must not be a name.
    @Test func aLabelThatEncodesToTooMuchHasNoForm() throws {
        for letters in 40...70 {
            let label = "\u{FC}" + String(repeating: "a", count: letters) + "\u{FC}\u{FC}"
            guard let ascii = IDNA.toASCII(label + ".example") else { continue }
            #expect(IDNA.toASCII(ascii) == ascii)
        }
        #expect(IDNA.toASCII("\u{FC}" + String(repeating: "a", count: 62)) == nil)
        #expect(IDNA.toASCII("\u{FC}" + String(repeating: "a", count: 40)) != nil)
    }
}
