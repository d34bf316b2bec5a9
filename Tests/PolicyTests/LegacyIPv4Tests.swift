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
