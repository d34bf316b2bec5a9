// Many streams over one WebSocket, as /tcp-mux carries them: frames of `aero-tcp-mux-v1`.
//
// One frame a message; every stream has its own messages in flight, and answers are checked stream by stream.

import Glibc

/// What one WebSocket received of the present frame.
struct MultiplexedInput {
    /// u8 type, u32 stream, u32 payload length, big-endian.
    static let headerBytes = 9
    static let open: UInt8 = 1
    static let data: UInt8 = 2
    static let ping: UInt8 = 5
    static let pong: UInt8 = 6

    private var header: (UInt64, UInt8) = (0, 0)
    private var headerCount = 0
    private(set) var type: UInt8 = 0
    private(set) var stream = 0
    var remainingBytes = 0

    /// Takes bytes of a header; returns how many it used, and whether a frame begins behind them.
    mutating func takeHeader(_ input: UnsafePointer<UInt8>, count: Int) -> (used: Int, complete: Bool) {
        let used = min(Self.headerBytes - headerCount, count)
        withUnsafeMutableBytes(of: &header) { bytes in
            for index in 0..<used { bytes[headerCount + index] = input[index] }
        }
        headerCount += used
        guard headerCount == Self.headerBytes else { return (used, false) }
        headerCount = 0
        (type, stream, remainingBytes) = withUnsafeBytes(of: &header) { bytes in
            func number(_ start: Int) -> Int { (0..<4).reduce(0) { $0 << 8 | Int(bytes[start + $1]) } }
            return (bytes[0], number(1), number(5))
        }
        return (used, true)
    }
}

/// Frames of one WebSocket that have not left yet, one behind the other.
struct MultiplexedOutput {
    private let bytes: UnsafeMutablePointer<UInt8>
    private let capacity: Int
    private var start = 0
    private var end = 0

    /// `capacity` bounds what may wait: every message in flight.
    init(capacity: Int) {
        self.capacity = capacity
        bytes = .allocate(capacity: capacity)
    }

    var first: UnsafeMutablePointer<UInt8> { bytes + start }
    var count: Int { end - start }

    mutating func append(_ frame: UnsafePointer<UInt8>, _ frameBytes: Int) {
        if end + frameBytes > capacity {
            memmove(bytes, bytes + start, count)
            end -= start
            start = 0
        }
        precondition(end + frameBytes <= capacity)
        memcpy(bytes + end, frame, frameBytes)
        end += frameBytes
    }

    mutating func drop(_ sent: Int) {
        start += sent
        if start == end {
            start = 0
            end = 0
        }
    }
}

/// What a run of many streams needs besides the clients.
struct Multiplexing {
    let streams: Int
    /// Pings are answered by the gateway itself: no target, no stream.
    let isPing: Bool
    let inputs: UnsafeMutablePointer<MultiplexedInput>
    /// Frames of every client that have not left yet.
    let outputs: UnsafeMutablePointer<MultiplexedOutput>
    /// The OPEN frames of all streams in one masked message.
    let opening: [UInt8]

    init?(_ options: Options, frameBytes: Int) {
        guard options.streams > 0 else { return nil }
        streams = options.streams
        isPing = options.sendsPings
        inputs = .allocate(capacity: options.connections)
        inputs.initialize(repeating: MultiplexedInput(), count: options.connections)
        outputs = .allocate(capacity: options.connections)
        for index in 0..<options.connections {
            (outputs + index).initialize(to: MultiplexedOutput(capacity: options.mode == .echo ? options.depth * frameBytes : frameBytes))
        }
        opening = isPing ? [] : Self.opening(streams, options.endpoint.queryValue("host") ?? "127.0.0.1",
                                             UInt16(options.endpoint.queryValue("port") ?? "") ?? 0)
    }

    private static func opening(_ streams: Int, _ host: String, _ port: UInt16) -> [UInt8] {
        var payload: [UInt8] = []
        func add(_ value: Int, _ bytes: Int) {
            for index in (0..<bytes).reversed() { payload.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
        }
        for stream in 1...streams {
            payload.append(MultiplexedInput.open)
            add(stream, 4)
            add(2 + host.utf8.count + 2 + 2, 4)
            add(host.utf8.count, 2)
            payload += Array(host.utf8)
            add(Int(port), 2)
            add(0, 2)
        }
        // A key of zeros is a valid key.
        var frame: [UInt8] = payload.count < 126
            ? [0x82, 0x80 | UInt8(payload.count)] : [0x82, 0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        frame += [0, 0, 0, 0]
        return frame + payload
    }
}

extension Endpoint {
    /// The value of a parameter of the query, as it is written.
    func queryValue(_ name: String) -> String? {
        guard let mark = path.firstIndex(of: "?") else { return nil }
        for part in path[path.index(after: mark)...].split(separator: "&") where part.hasPrefix(name + "=") {
            return String(part.dropFirst(name.count + 1))
        }
        return nil
    }
}
