import Testing
import Wire

@Suite struct ByteKernelTests {
    private static let key: UInt32 = 0xD4C3_B2A1

    /// One byte at a time, as the RFC writes it.
    private func reference(_ bytes: ArraySlice<UInt8>, _ key: UInt32) -> [UInt8] {
        bytes.enumerated().map { $1 ^ UInt8(truncatingIfNeeded: key >> UInt32(8 * ($0 & 3))) }
    }

    /// All lengths, alignments of source, and distances the destination lies before it: in place, overlapping, apart.
    @Test(arguments: [0, 1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33, 64, 100, 400])
    func overlapping(_ distance: Int) {
        var generator = Generator(seed: UInt64(distance))
        let original = generator.bytes(distance + 8 + 300 + 64)
        for alignment in 0..<8 {
            for count in 0...300 {
                var bytes = original
                let source = distance + alignment
                bytes.withUnsafeMutableBytes { buffer in
                    let base = buffer.baseAddress!
                    ByteKernel.unmask(base + source, base + source - distance, count, key: Self.key)
                }
                var expected = original
                expected.replaceSubrange(
                    (source - distance)..<(source - distance + count),
                    with: reference(original[source..<source + count], Self.key))
                if bytes != expected { Issue.record("distance \(distance), alignment \(alignment), count \(count)") }
            }
        }
    }

    @Test func rotation() {
        for shift in 0...9 {
            let bytes = Array(repeating: UInt8(0), count: 32)
            let all = reference(bytes[...], Self.key)
            #expect(reference(bytes[shift...], ByteKernel.rotate(Self.key, by: shift)) == Array(all[shift...]))
        }
    }

    @Test func largeCounts() {
        var generator = Generator(seed: 3)
        for count in [1024, 4095, 4096, 65535, 65536, 65537, 1 << 20] {
            let original = generator.bytes(count + 13)
            var bytes = original
            bytes.withUnsafeMutableBytes { ByteKernel.unmask($0.baseAddress! + 13, $0.baseAddress!, count, key: Self.key) }
            #expect(Array(bytes[..<count]) == reference(original[13...], Self.key))
        }
    }
}
