/// A client's WebSocket frame (RFC 6455 section 5.2), written without the product's codec.
enum MaskedFrame {
    /// Appends a frame with this first byte and a random mask.
    static func append(to output: inout [UInt8], _ first: UInt8, _ payload: UnsafeBufferPointer<UInt8>, _ random: inout SimulatedRandom) {
        output.append(first)
        if payload.count < 126 {
            output.append(0x80 | UInt8(payload.count))
        } else if payload.count < 65536 {
            output += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        } else {
            output.append(0x80 | 127)
            for shift in stride(from: 56, through: 0, by: -8) { output.append(UInt8(truncatingIfNeeded: payload.count >> shift)) }
        }
        let key = UInt32(truncatingIfNeeded: random.next())
        let mask = (0..<4).map { UInt8(truncatingIfNeeded: key >> UInt32(8 * $0)) }
        output += mask
        let start = output.count
        output.append(contentsOf: payload)
        output.withUnsafeMutableBufferPointer { all in
            for index in 0..<payload.count { all[start + index] ^= mask[index & 3] }
        }
    }
}
