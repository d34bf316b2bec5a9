// Client frames as a stream: headers are collected over any split of the bytes, payload passes through in
// pieces, so that a frame of any size needs no memory.

/// Where a connection stands inside its stream of client frames (RFC 6455, section 5.2).
struct FrameReader {
    /// The header being collected: up to 14 bytes.
    private var header: (UInt64, UInt64) = (0, 0)
    private var headerBytes = 0
    /// Payload bytes of the present frame still to come.
    var remainingBytes = 0
    var opcode: UInt8 = 0
    /// First header byte: FIN, RSV and opcode.
    var first: UInt8 = 0
    var payloadBytes = 0
    private var mask: UInt32 = 0
    private var position = 0

    private mutating func byte(_ index: Int) -> UInt8 {
        withUnsafeBytes(of: &header) { $0[index] }
    }

    /// Takes header bytes from `input`; returns how many it used and whether the header is complete.
    mutating func takeHeader(_ input: UnsafePointer<UInt8>, count: Int) -> (used: Int, complete: Bool) {
        var used = 0
        while used < count {
            let value = input[used]
            withUnsafeMutableBytes(of: &header) { $0[headerBytes] = value }
            headerBytes += 1
            used += 1
            if headerBytes >= 2, headerBytes == neededBytes() {
                finishHeader()
                return (used, true)
            }
        }
        return (used, false)
    }

    private mutating func neededBytes() -> Int {
        let second = byte(1)
        let lengthBytes = second & 0x7F == 127 ? 8 : second & 0x7F == 126 ? 2 : 0
        return 2 + lengthBytes + (second & 0x80 != 0 ? 4 : 0)
    }

    private mutating func finishHeader() {
        first = byte(0)
        opcode = first & 0x0F
        let second = byte(1)
        let lengthBytes = second & 0x7F == 127 ? 8 : second & 0x7F == 126 ? 2 : 0
        payloadBytes = Int(second & 0x7F)
        if lengthBytes > 0 {
            payloadBytes = 0
            for index in 0..<lengthBytes { payloadBytes = payloadBytes << 8 | Int(byte(2 + index)) }
        }
        mask = 0
        if second & 0x80 != 0 {
            for index in 0..<4 { mask |= UInt32(byte(2 + lengthBytes + index)) << UInt32(8 * index) }
        }
        position = 0
        remainingBytes = payloadBytes
        headerBytes = 0
    }

    /// Copies `count` payload bytes, unmasked. `count` must not exceed `remainingBytes`.
    mutating func unmask(from input: UnsafePointer<UInt8>, to output: UnsafeMutablePointer<UInt8>, count: Int) {
        let turn = UInt32(8 * (position & 3))
        let key = turn == 0 ? mask : mask >> turn | mask << (32 - turn)
        let wide = UInt64(key) << 32 | UInt64(key)
        var index = 0
        while index &+ 8 <= count {
            let word = UnsafeRawPointer(input + index).loadUnaligned(as: UInt64.self)
            UnsafeMutableRawPointer(output + index).storeBytes(of: word ^ wide, as: UInt64.self)
            index &+= 8
        }
        while index < count {
            output[index] = input[index] ^ UInt8(truncatingIfNeeded: key >> UInt32(8 * (index & 3)))
            index &+= 1
        }
        skip(count)
    }

    /// Passes over `count` payload bytes unread.
    mutating func skip(_ count: Int) {
        position &+= count
        remainingBytes &-= count
    }
}

/// Writes an unmasked header; returns its length, 2, 4 or 10 bytes.
func writeServerHeader(first: UInt8, payloadBytes: Int, to output: UnsafeMutablePointer<UInt8>) -> Int {
    output[0] = first
    if payloadBytes < 126 {
        output[1] = UInt8(payloadBytes)
        return 2
    }
    let lengthBytes = payloadBytes < 65536 ? 2 : 8
    output[1] = lengthBytes == 2 ? 126 : 127
    for index in 0..<lengthBytes {
        output[2 + index] = UInt8(truncatingIfNeeded: payloadBytes >> (8 * (lengthBytes - 1 - index)))
    }
    return 2 + lengthBytes
}
