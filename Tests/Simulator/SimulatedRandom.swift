/// SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixes a number, every seed a full period of 2⁶⁴. A run
/// is replayed by its seed alone, on any machine.
public struct SimulatedRandom {
    private var state: UInt64

    /// Starts at the seed; neighbouring seeds give unrelated sequences.
    public init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, `bound`. The bias of a multiplication instead of a rejection is below 2⁻³².
    public mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0)
        return Int(((next() >> 32) &* UInt64(bound)) >> 32)
    }

    /// A number of the closed range.
    public mutating func within(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.upperBound - range.lowerBound + 1)
    }

    /// True with a probability given in millionths.
    public mutating func chance(_ millionths: Int) -> Bool { millionths > 0 && below(1_000_000) < millionths }

    /// A size whose order of magnitude is uniform: as many draws below 10 as between 10,000 and 100,000.
    public mutating func size(upTo maximum: Int) -> Int {
        guard maximum > 0 else { return 0 }
        let bits = Int.bitWidth - maximum.leadingZeroBitCount
        return min(maximum, below(1 << below(bits + 1)))
    }
}
