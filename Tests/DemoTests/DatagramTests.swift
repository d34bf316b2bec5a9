import Testing

@testable import Demo

@Suite struct DatagramTests {
    private func payload(_ permille: Int, mark: String = "sluicedg", count: Int = 64) -> [UInt8] {
        var bytes = Array(mark.utf8) + [0, 0, 0, 1, UInt8(permille >> 8), UInt8(permille & 255), 0, 0]
        bytes += [UInt8](repeating: 7, count: max(0, count - bytes.count))
        return Array(bytes.prefix(count))
    }

    private func lost(_ bytes: [UInt8], of count: Int) -> Int {
        var generator = DemoDatagram.Generator()
        return (0..<count).reduce(0) { sum, _ in sum + (bytes.withUnsafeBytes { DemoDatagram.isLost($0, &generator) } ? 1 : 0) }
    }

    @Test(arguments: [10, 50, 200, 999])
    func asManyAreLostAsAreAskedFor(_ permille: Int) {
        let found = lost(payload(permille), of: 20_000)
        // Six standard deviations of a binomial distribution, for a sequence that is always the same.
        let spread = 6 * (20_000 * Double(permille) * Double(1000 - permille) / 1e6).squareRoot()
        #expect(abs(Double(found) - 20 * Double(permille)) < spread, "\(found)")
    }

    @Test func nothingIsLostThatDoesNotAskForIt() {
        #expect(lost(payload(0), of: 1000) == 0)
        #expect(lost(payload(1000, mark: "sluicedh"), of: 1000) == 0)
        #expect(lost(payload(1000, count: 15), of: 1000) == 0)
        #expect(lost([], of: 1000) == 0)
        #expect(lost(payload(1000, count: 16), of: 1000) == 1000)
    }

    /// Page and echo have the mark, and its place, from two texts.
    @Test func thePageSpeaksOfTheSameBytes() {
        #expect(DemoPage.datagrams.contains("markBytes = \(DemoDatagram.markBytes)"))
        #expect(DemoPage.datagrams.contains("TextEncoder().encode(\"sluicedg\")"))
        #expect(DemoPage.datagrams.contains("setUint16(header.length + 12, pace.lossPermille)"))
    }
}
