/// What the demonstration page and the echo of the service agree on: a datagram may ask to be lost with some probability, so that
/// the page can show what a lossy path looks like where there is none.
///
/// ```
///   0  "sluicedg"    8  u32 number    12  u16 loss, per mille    14  u16 zero    16…  pattern of `DemoPattern`
/// ```
/// All other datagrams are echoed whatever is in them.
public enum DemoDatagram {
    /// Bytes before the pattern.
    public static let markBytes = 16
    private static let mark: StaticString = "sluicedg"
    private static let lossOffset = 12

    /// Small and fast numbers that nobody needs to be unable to guess (xorshift64, Marsaglia 2003).
    public struct Generator {
        private var state: UInt64

        /// A sequence; the same one for the same seed.
        public init(seed: UInt64 = 0x9E37_79B9_7F4A_7C15) { state = seed == 0 ? 1 : seed }

        /// A number below 1000.
        mutating func permille() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return (state >> 11) % 1000
        }
    }

    /// Probability, in thousandths, with which a datagram wants to be lost: 0 unless it carries the mark.
    public static func lossPermille(_ payload: UnsafeRawBufferPointer) -> UInt64 {
        guard payload.count >= markBytes, (0..<mark.utf8CodeUnitCount).allSatisfy({ payload[$0] == mark.utf8Start[$0] }) else { return 0 }
        return UInt64(payload[lossOffset]) << 8 | UInt64(payload[lossOffset + 1])
    }

    /// Whether a datagram is not to be answered.
    static func isLost(_ payload: UnsafeRawBufferPointer, _ generator: inout Generator) -> Bool {
        let loss = lossPermille(payload)
        return loss > 0 && generator.permille() < loss
    }
}
