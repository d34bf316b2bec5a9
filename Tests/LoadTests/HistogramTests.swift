import Testing

@testable import sluice_load

@Suite struct HistogramTests {
    @Test func everyValueLiesWithinItsCounter() {
        var values: [UInt64] = Array(0...1024)
        for width in 10..<63 {
            let base = UInt64(1) << UInt64(width)
            values += [base - 1, base, base + 1, base + base / 3, base + base / 2]
        }
        for value in values {
            let index = Histogram.index(of: value)
            let upper = Histogram.upperBound(of: index)
            #expect(value <= upper)
            #expect(Double(upper - value) <= Double(value) / 127)
            if index > 0 { #expect(value > Histogram.upperBound(of: index - 1)) }
        }
    }

    @Test func theLargestValueHasACounter() {
        var histogram = Histogram()
        histogram.record(UInt64.max >> 1)
        histogram.record(0)
        #expect(histogram.value(atShare: 0.5) == 0)
        #expect(histogram.value(atShare: 1) == UInt64.max >> 1)
    }

    @Test func percentilesOfAnEvenSpread() {
        var histogram = Histogram()
        for value in 1...100_000 { histogram.record(UInt64(value)) }
        for (share, exact) in [(0.5, 50_000.0), (0.9, 90_000), (0.99, 99_000), (0.9999, 99_990)] {
            let value = Double(histogram.value(atShare: share))
            #expect(value >= exact && value <= exact * 1.008)
        }
        #expect(histogram.count == 100_000)
        #expect(histogram.minimum == 1)
        #expect(histogram.maximum == 100_000)
        #expect(histogram.mean == 50_000.5)
    }

    @Test func nothingRecorded() {
        #expect(Histogram().value(atShare: 0.5) == 0)
        #expect(Histogram().mean == 0)
    }
}

@Suite struct ServerFramesTests {
    /// Headers of every length, split at every position.
    @Test(arguments: [0, 1, 125, 126, 65_535, 65_536, 1 << 20]) func headersInPieces(payloadBytes: Int) {
        var header: [UInt8] = [0x82]
        switch payloadBytes {
        case ..<126: header.append(UInt8(payloadBytes))
        case ..<65_536: header += [126, UInt8(payloadBytes >> 8), UInt8(payloadBytes & 255)]
        default: header += [127] + (0..<8).map { UInt8(truncatingIfNeeded: payloadBytes >> (56 - 8 * $0)) }
        }
        for split in 0...header.count {
            var frames = ServerFrames()
            let first = frames.takeHeader(Array(header[..<split]), count: split)
            var complete = first.complete
            var used = first.used
            if !complete {
                let second = frames.takeHeader(Array(header[split...]), count: header.count - split)
                complete = second.complete
                used += second.used
            }
            #expect(complete)
            #expect(used == header.count)
            #expect(frames.remainingBytes == payloadBytes)
            #expect(frames.opcode == 2)
        }
    }
}
