import Testing
import Wire

@Suite struct UTF8ValidatorTests {
    /// Whether the bytes are a whole valid text, and where they fail: the index of the first impossible byte.
    private func judge(_ bytes: [UInt8]) -> (valid: Bool, failsAt: Int?) {
        var whole = UTF8Validator()
        let accepted = whole.validate(bytes.span)
        var single = UTF8Validator()
        var failsAt: Int?
        for index in bytes.indices where failsAt == nil {
            if !single.validate(bytes.span.extracting(index..<index + 1)) { failsAt = index }
        }
        #expect(accepted == (failsAt == nil))
        #expect(whole.isComplete == single.isComplete)
        return (whole.isComplete, failsAt)
    }

    @Test(arguments: [
        "", "a", "\u{7F}", "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFD}", "\u{FFFF}", "\u{10000}",
        "\u{10FFFF}", "κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "A\u{2262}\u{391}.", "한국어", "日本語", "\u{FEFF}\u{233B4}",
    ])
    func valid(_ text: String) { #expect(judge(Array(text.utf8)).valid) }

    @Test(
        arguments: [
            ([0x80], 0), ([0xBF], 0), ([0xC0, 0x80], 0), ([0xC1, 0xBF], 0), ([0xE0, 0x80, 0x80], 1), ([0xE0, 0x9F, 0xBF], 1),
            ([0xF0, 0x80, 0x80, 0x80], 1), ([0xF0, 0x8F, 0xBF, 0xBF], 1), ([0xED, 0xA0, 0x80], 1), ([0xED, 0xBF, 0xBF], 1),
            ([0xF4, 0x90, 0x80, 0x80], 1), ([0xF5], 0), ([0xF8, 0x88], 0), ([0xFC], 0), ([0xFE], 0), ([0xFF], 0),
            ([0x61, 0xC3, 0x61], 2), ([0xE2, 0x82, 0x61], 2), ([0xF0, 0x9F, 0x98, 0x61], 3), ([0xC3, 0xC3], 1),
            ([0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0xFF], 9),
        ] as [([UInt8], Int)])
    func invalid(_ bytes: [UInt8], _ place: Int) {
        let result = judge(bytes)
        #expect(!result.valid && result.failsAt == place)
    }

    @Test(arguments: [[0xC3], [0xE2], [0xE2, 0x82], [0xF0], [0xF0, 0x9F], [0xF0, 0x9F, 0x98]] as [[UInt8]])
    func cut(_ bytes: [UInt8]) {
        let result = judge(bytes)
        #expect(!result.valid && result.failsAt == nil)
    }

    /// Every code point, and every sequence of up to three bytes against the standard library.
    @Test func everyScalar() {
        for value in UInt32(0)...0x10FFFF {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let bytes = Array(Unicode.UTF8.encode(scalar)!)
            var validator = UTF8Validator()
            if !validator.validate(bytes.span) || !validator.isComplete { Issue.record("U+\(String(value, radix: 16))") }
        }
    }

    @Test func everyShortSequence() {
        for first in UInt8.min...UInt8.max {
            for second in UInt8.min...UInt8.max {
                for third in [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xFF] as [UInt8] {
                    let bytes = [first, second, third]
                    var validator = UTF8Validator()
                    let accepted = validator.validate(bytes.span) && validator.isComplete
                    if accepted != (String(validating: bytes, as: UTF8.self) != nil) { Issue.record("\(bytes)") }
                }
            }
        }
    }

    @Test func longTextsAtEveryAlignment() {
        for length in 0...80 {
            for place in 0..<max(length, 1) where length > 0 {
                var bytes = Array(repeating: UInt8(0x61), count: length)
                bytes[place] = 0xFF
                #expect(judge(bytes).failsAt == place)
            }
        }
    }
}
