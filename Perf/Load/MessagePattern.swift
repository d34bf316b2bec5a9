// What a client sends, and what it expects back: both periodic, so that one copy serves every connection.

import Glibc

/// Messages laid out one behind the other, masked and framed for WebSocket. Masking is done once, here, with a
/// random key for each frame; the load generator's time belongs to the system calls.
struct MessagePattern {
    /// Whole frames.
    let bytes: UnsafeMutablePointer<UInt8>
    let byteCount: Int
    let frameBytes: Int
    /// Payloads, unmasked, with what they begin with: one, or as many as take turns.
    let payload: UnsafeMutablePointer<UInt8>
    let payloadBytes: Int
    /// Payloads that take turns.
    let turns: Int

    /// At least 256 KiB or `depth` messages, whichever is less, so that released messages leave in one write.
    /// With `streams`, message by message to each of them in turn.
    /// `prefix` are the first bytes of every payload, which they make longer. Of `heads` each payload has one instead, in turn.
    init(
        payloadBytes givenBytes: Int, depth: Int, isWebSocket: Bool, streams: Int = 0, isPing: Bool = false, prefix: [UInt8] = [],
        heads: [[UInt8]] = []
    ) {
        let payloadBytes = prefix.count + givenBytes
        self.payloadBytes = payloadBytes
        turns = max(1, heads.count)
        let innerBytes = streams > 0 ? MultiplexedInput.headerBytes : 0
        let contentBytes = innerBytes + payloadBytes
        payload = .allocate(capacity: payloadBytes * turns)
        for turn in 0..<turns {
            let start = payload + turn * payloadBytes
            for index in 0..<payloadBytes { start[index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8) }
            for (index, byte) in (heads.isEmpty ? prefix : heads[turn]).enumerated() { start[index] = byte }
        }
        let headerBytes = !isWebSocket ? 0 : contentBytes < 126 ? 6 : contentBytes < 65536 ? 8 : 14
        frameBytes = headerBytes + contentBytes
        let wanted = max(1, min(depth, 262_144 / frameBytes))
        let round = max(turns, streams)
        let count = (wanted + round - 1) / round * round
        byteCount = count * frameBytes
        bytes = .allocate(capacity: byteCount)
        for message in 0..<count {
            let frame = bytes + message * frameBytes
            (frame + headerBytes + innerBytes).update(from: payload + message % turns * payloadBytes, count: payloadBytes)
            if streams > 0 {
                let type = isPing ? MultiplexedInput.ping : MultiplexedInput.data
                MessagePattern.innerHeader(frame + headerBytes, type, stream: message % streams + 1, payloadBytes: payloadBytes)
            }
            if isWebSocket { MessagePattern.frame(frame, headerBytes: headerBytes, payloadBytes: contentBytes) }
        }
    }

    private static func innerHeader(_ header: UnsafeMutablePointer<UInt8>, _ type: UInt8, stream: Int, payloadBytes: Int) {
        header[0] = type
        for index in 0..<4 {
            header[1 + index] = UInt8(truncatingIfNeeded: stream >> (8 * (3 - index)))
            header[5 + index] = UInt8(truncatingIfNeeded: payloadBytes >> (8 * (3 - index)))
        }
    }

    /// Writes the header of a masked binary message (RFC 6455, section 5.2) and masks the payload behind it.
    private static func frame(_ frame: UnsafeMutablePointer<UInt8>, headerBytes: Int, payloadBytes: Int) {
        frame[0] = 0x82
        let lengthBytes = headerBytes - 6
        frame[1] = 0x80 | (lengthBytes == 0 ? UInt8(payloadBytes) : lengthBytes == 2 ? 126 : 127)
        for index in 0..<lengthBytes {
            frame[2 + index] = UInt8(truncatingIfNeeded: payloadBytes >> (8 * (lengthBytes - 1 - index)))
        }
        let key = (0..<4).map { _ in UInt8.random(in: 0...255) }
        for index in 0..<4 { frame[2 + lengthBytes + index] = key[index] }
        for index in 0..<payloadBytes { frame[headerBytes + index] ^= key[index & 3] }
    }

    /// Bytes of all payloads that take turns.
    var periodBytes: Int { turns * payloadBytes }

    /// Whether a run of received payload is what was sent, `position` bytes into the first of those that take turns.
    func matches(_ run: UnsafePointer<UInt8>, count: Int, position: Int) -> Bool {
        var done = 0
        while done < count {
            let start = (position + done) % periodBytes
            let length = min(periodBytes - start, count - done)
            if memcmp(run + done, payload + start, length) != 0 { return false }
            done += length
        }
        return true
    }
}

/// Walks over server frames: unmasked, headers of 2, 4 or 10 bytes, split anywhere.
struct ServerFrames {
    private var header: (UInt64, UInt16) = (0, 0)
    private var headerBytes = 0
    /// Payload still to come of the present frame.
    var remainingBytes = 0
    /// Opcode of the present frame.
    var opcode: UInt8 = 0

    private mutating func byte(_ index: Int) -> Int { withUnsafeBytes(of: &header) { Int($0[index]) } }

    /// Takes header bytes; returns how many it used. The header is complete when `true`.
    @inline(__always)
    mutating func takeHeader(_ input: UnsafePointer<UInt8>, count: Int) -> (used: Int, complete: Bool) {
        // The usual case: a whole small header lies in the buffer.
        if headerBytes == 0 && count >= 4 && input[1] < 127 {
            opcode = input[0] & 0x0F
            guard input[1] == 126 else {
                remainingBytes = Int(input[1])
                return (2, true)
            }
            remainingBytes = Int(input[2]) << 8 | Int(input[3])
            return (4, true)
        }
        return takeSplitHeader(input, count: count)
    }

    private mutating func takeSplitHeader(_ input: UnsafePointer<UInt8>, count: Int) -> (used: Int, complete: Bool) {
        var used = 0
        while used < count {
            let value = input[used]
            withUnsafeMutableBytes(of: &header) { $0[headerBytes] = value }
            headerBytes += 1
            used += 1
            guard headerBytes >= 2 else { continue }
            let lengthBytes = byte(1) == 127 ? 8 : byte(1) == 126 ? 2 : 0
            guard headerBytes == 2 + lengthBytes else { continue }
            opcode = UInt8(byte(0) & 0x0F)
            remainingBytes = lengthBytes == 0 ? byte(1) : 0
            for index in 0..<lengthBytes { remainingBytes = remainingBytes << 8 | byte(2 + index) }
            headerBytes = 0
            return (used, true)
        }
        return (used, false)
    }
}
