// The command line of sluice-load.

import Glibc

/// Where the load goes.
struct Endpoint {
    var isWebSocket = false
    var isSecure = false
    /// A TURN server, over TCP or over UDP.
    var isTURN = false
    var isDatagram = false
    /// Numeric IPv4 address in network order.
    var address: UInt32
    var host: String
    var port: UInt16
    /// Path and query; "/" for raw TCP.
    var path: String

    /// Reads ws://HOST:PORT/PATH?QUERY, wss://…, http://…, tcp://HOST:PORT, turn-tcp://… or turn-udp://…. HOST is an IPv4
    /// address or localhost.
    init?(_ text: String) {
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else { return nil }
        let rest = text[colon...].dropFirst(3)
        switch text[..<colon] {
        case "ws": isWebSocket = true
        case "wss": (isWebSocket, isSecure) = (true, true)
        case "http", "tcp": break
        case "turn-tcp": isTURN = true
        case "turn-udp": (isTURN, isDatagram) = (true, true)
        default: return nil
        }
        let slash = rest.firstIndex(where: { $0 == "/" || $0 == "?" }) ?? rest.endIndex
        let authority = rest[..<slash].split(separator: ":", omittingEmptySubsequences: false)
        guard authority.count <= 2, let name = authority.first else { return nil }
        guard let number = authority.count == 2 ? UInt16(authority[1]) : isSecure ? 443 : 80, number > 0 else { return nil }
        host = String(name)
        port = number
        path = rest[slash...].hasPrefix("/") ? String(rest[slash...]) : "/" + rest[slash...]
        var parsed = in_addr()
        guard inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &parsed) == 1 else { return nil }
        address = parsed.s_addr
    }
}

extension Endpoint {
    /// What carries the messages, for the report.
    var transport: String { isTURN ? isDatagram ? "turn over udp" : "turn over tcp" : isWebSocket ? "websocket" : "tcp" }
}

/// What the connections do.
enum Mode: String {
    /// Every message comes back; latency is measured.
    case echo
    /// Messages leave as fast as they are taken.
    case upload
    /// Bytes arrive as fast as they can be read.
    case download
    /// Handshakes, one after the other, on several connections at a time.
    case connect
    /// Connections that do nothing after one message; memory is measured.
    case idle
    /// Plain requests, one in flight on each connection.
    case requests
    /// Datagrams arrive in bursts that each connection asks for.
    case burst
}

struct Options {
    var endpoint: Endpoint
    var mode = Mode.echo
    var connections = 1
    var messageBytes = 64
    /// Messages in flight per connection.
    var depth = 1
    /// Messages per second over all connections; 0 is a closed loop.
    var rate = 0.0
    var warmUpSeconds = 1.0
    var durationSeconds = 5.0
    /// Ends the measurement early after this many messages; 0 is no limit.
    var messageLimit = 0
    /// Opens sessions on the gateway first and sends their cookies.
    var usesSession = false
    /// Streams of every WebSocket (`/tcp-mux`); 0 is a WebSocket without streams.
    var streams = 0
    /// Messages are PING frames of the multiplexing, which the gateway itself answers.
    var sendsPings = false
    /// Where a relay shall send datagrams to; each message is then one of them.
    var remote: DatagramAddress?
    /// Datagrams of one burst.
    var burstDatagrams = 0
    /// Ask the sink at `remote` how many datagrams have reached it.
    var countsArrivals = false
    /// Topics that packets of MQTT are published to in turn; 0: messages are no packets.
    var topics = 0
    /// Fields of the upgrade beside its own, as `Name: value`.
    var fields: [String] = []
    /// One of these goes into each upgrade, in turn.
    var turnFields: [String] = []
    var method = "GET"
    var contentType = ""
    var body: [UInt8] = []
    /// An answer with fewer bytes is a failure.
    var leastAnswerBytes = 0
    /// Process whose processor time and memory are measured, with its descendants.
    var serverProcess: Int32?
    var writesJSON = false
    var isQuiet = false

    /// Payload of a datagram that fits Ethernet with every header around it.
    static let datagramBytes = 1440
    /// The gateway's default limit of TCP connections of one session.
    static let targetsPerSession = 64
    /// Connections that share a session within that limit.
    var connectionsPerSession: Int { max(1, Self.targetsPerSession / max(1, streams)) }

    static let usage = """
        usage: sluice-load URL [options]
          URL                ws://HOST:PORT/PATH?QUERY, http://HOST:PORT/PATH?QUERY, tcp://HOST:PORT, or wss://…, whose
                             certificate is not checked; with --udp also turn-tcp://HOST:PORT and turn-udp://HOST:PORT
          --mode MODE        echo (default), upload or download
          --connections N    connections open at once (1)
          --size BYTES       payload of one message (64)
          --depth N          messages in flight per connection (1)
          --rate N           open loop: N messages a second over all connections, latency measured from the moment
                             a message should have left; without it the loop is closed: an answer releases the next
          --warm-up SECONDS  load before the measurement (1)
          --duration SECONDS of the measurement (5)
          --messages N       end the measurement after N messages
          --connect-rate     handshakes instead of messages, --connections at a time
          --idle N           open N connections, one message each, then measure the memory they hold
          --mux STREAMS      STREAMS streams over every WebSocket to the host and port of the URL's query; --depth is of
                             one stream
          --mux-ping         PING frames of the multiplexing instead of messages on streams
          --udp IP:PORT      every message is one datagram to IP:PORT: on a WebSocket behind the header of /udp's frames
                             (first version), on TURN as ChannelData, on tcp:// bare
          --arrivals         ask the sink at --udp's address, over TCP, how many datagrams have reached it
          --burst N          ask the burst service at --udp's address for N datagrams of --size on each connection, and
                             again when they arrived or nothing has arrived for 50 ms
          --mqtt TOPICS      every message is a PUBLISH of --size bytes in all, to TOPICS topics in turn, behind a CONNECT
          --request METHOD   plain requests, one in flight on each connection, with --body HEX, --content-type TYPE;
                             an answer other than 200, or of fewer than --least-answer BYTES, is a failure
          --session          POST /session on the gateway first, one for every 64 connections, and send its cookie
          --header FIELD     another field of the upgrade, `Name: value`; may be given again
          --header-file FILE one field on each line; an upgrade has one of them, the next upgrade the next
          --server-pid PID   measure processor time and memory of this process and its descendants
          --json             result as JSON on standard output
          --quiet            no progress on standard error
        """

    /// Reads the arguments; nil when they make no sense, after saying why on standard error.
    static func parse(_ arguments: [String]) -> Options? {
        guard let url = arguments.first, let endpoint = Endpoint(url) else { return nil }
        var options = Options(endpoint: endpoint)
        var rest = arguments.dropFirst()
        while let argument = rest.popFirst() {
            if options.takeFlag(argument) { continue }
            guard let value = rest.popFirst(), options.take(argument, value) else {
                complain("sluice-load: cannot use \(argument)")
                return nil
            }
        }
        options.depth *= max(1, options.streams)
        if let refusal = options.datagramRefusal {
            complain("sluice-load: \(refusal)")
            return nil
        }
        if let refusal = options.packetRefusal {
            complain("sluice-load: \(refusal)")
            return nil
        }
        if options.rate > 0 && options.mode != .echo {
            complain("sluice-load: --rate is for echo")
            return nil
        }
        return options
    }

    /// Why the options for datagrams do not fit together; nil when they do.
    private var datagramRefusal: String? {
        if remote == nil {
            return endpoint.isTURN || burstDatagrams > 0 || countsArrivals ? "TURN, --burst and --arrivals need --udp IP:PORT" : nil
        }
        if messageBytes > Self.datagramBytes { return "a datagram has at most \(Self.datagramBytes) bytes here" }
        // ChannelData over TCP is padded to four bytes, which an equal stream of messages does not show.
        if endpoint.isTURN && !messageBytes.isMultiple(of: 4) { return "over TURN, --size must be a multiple of 4" }
        return nil
    }

    /// Why the options for packets do not fit together; nil when they do.
    private var packetRefusal: String? {
        if topics == 0 { return nil }
        if !endpoint.isWebSocket || streams > 0 || remote != nil { return "--mqtt is for messages of a WebSocket" }
        let range = Publishing.minimumBytes...Publishing.maximumBytes
        return range.contains(messageBytes) ? nil : "a packet has \(range.lowerBound) to \(range.upperBound) bytes here"
    }

    /// Bytes written as pairs of hexadecimal digits.
    static func bytes(hexadecimal text: String) -> [UInt8]? {
        let digits = text.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
        guard digits.count.isMultiple(of: 2), digits.allSatisfy({ $0 != nil }) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0]! << 4 | digits[$0 + 1]!) }
    }

    /// The lines of a file that are not empty; nil when it cannot be read.
    static func lines(ofFile path: String) -> [String]? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return bytes.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
    }

    private mutating func takeFlag(_ argument: String) -> Bool {
        switch argument {
        case "--session": usesSession = true
        case "--arrivals": countsArrivals = true
        case "--json": writesJSON = true
        case "--quiet": isQuiet = true
        case "--connect-rate": mode = .connect
        case "--mux-ping":
            sendsPings = true
            streams = 1
        default: return false
        }
        return true
    }

    private mutating func take(_ argument: String, _ value: String) -> Bool {
        func count(_ range: ClosedRange<Int>) -> Int? { Int(value).flatMap { range.contains($0) ? $0 : nil } }
        func positive() -> Double? { Double(value).flatMap { $0 >= 0 && $0.isFinite ? $0 : nil } }
        switch argument {
        case "--mode":
            guard let named = Mode(rawValue: value) else { return false }
            mode = named
        case "--connections", "--idle":
            guard let number = count(1...1_000_000) else { return false }
            connections = number
            if argument == "--idle" { mode = .idle }
        case "--size":
            guard let number = count(1...(1 << 24)) else { return false }
            messageBytes = number
        case "--depth":
            guard let number = count(1...4096) else { return false }
            depth = number
        case "--messages":
            guard let number = count(0...Int.max) else { return false }
            messageLimit = number
        case "--mux":
            guard let number = count(1...4096) else { return false }
            streams = number
        case "--mqtt":
            guard let number = count(1...Publishing.maximumTopics) else { return false }
            topics = number
        case "--udp":
            guard let address = DatagramAddress(value) else { return false }
            remote = address
        case "--burst":
            guard let number = count(1...65535) else { return false }
            burstDatagrams = number
            mode = .burst
        case "--request":
            mode = .requests
            method = value
        case "--content-type": contentType = value
        case "--header":
            guard value.contains(":"), value.utf8.allSatisfy({ $0 >= 32 }) else { return false }
            fields.append(value)
        case "--header-file":
            guard let lines = Self.lines(ofFile: value), !lines.isEmpty, lines.allSatisfy({ $0.contains(":") }) else { return false }
            turnFields = lines
        case "--body":
            guard let bytes = Self.bytes(hexadecimal: value) else { return false }
            body = bytes
        case "--least-answer":
            guard let number = count(0...(1 << 24)) else { return false }
            leastAnswerBytes = number
        case "--server-pid":
            guard let number = count(1...Int(Int32.max)) else { return false }
            serverProcess = Int32(number)
        case "--rate", "--warm-up", "--duration":
            guard let number = positive() else { return false }
            if argument == "--rate" { rate = number }
            if argument == "--warm-up" { warmUpSeconds = number }
            if argument == "--duration" { durationSeconds = number }
        default: return false
        }
        return true
    }
}

/// Writes a line to standard error.
func complain(_ text: String) {
    let line = text + "\n"
    _ = line.withCString { write(2, $0, strlen($0)) }
}
