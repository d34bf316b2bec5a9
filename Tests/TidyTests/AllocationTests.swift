import Foundation
import Testing

/// Counts of a process that runs with `Tests/AllocationCounter/count.c`, which says how the file is laid out.
struct AllocationCounter {
    let url: URL

    static let wordCount = 8

    /// Calls so far: malloc, calloc, realloc, aligned, mmap, free.
    func read() throws -> [UInt64] {
        let data = try Data(contentsOf: url)
        guard data.count == Self.wordCount * 8 else { throw Tool.Failure(description: "the process did not load the counter") }
        return data.withUnsafeBytes { bytes in (0..<6).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) } }
    }
}

/// A forwarded message allocates nothing: a million of them leave the counters of the whole process where they were.
@Suite("Allocations", .serialized)
struct AllocationTests {
    static let canRun = ReleaseBuild.isUsable && Tool.exists("cc")
        && FileManager.default.isExecutableFile(atPath: ReleaseBuild.executable("sluice-target").path)

    static let canRunEcho = ReleaseBuild.isUsable && Tool.exists("cc")
        && FileManager.default.isExecutableFile(atPath: ReleaseBuild.executable("sluice-echo").path)

    static let canRunProxy = ReleaseBuild.isUsable && Tool.exists("cc")
        && FileManager.default.isExecutableFile(atPath: ReleaseBuild.executable("sluice-proxy").path)

    /// Ends a test that hangs. A million round trips take seconds; on a machine that is busy with much else, minutes.
    static let hang = TimeLimitTrait.Duration.minutes(20)

    static let messageBytes = 64
    static let inFlight = 16
    static let warmUpMessages = 10_000
    static let measuredMessages = 1_000_000

    @Test("a million forwarded messages allocate nothing", .enabled(if: canRun, "needs a current release build with sluice-target, and cc"),
          .timeLimit(AllocationTests.hang))
    func steadyState() throws {
        let (library, counter, directory) = try Self.counter()
        defer { try? FileManager.default.removeItem(at: directory) }

        let target = try RunningFixture.target()
        defer { target.stop() }
        let gateway = try RunningGateway(environment: [
            "LD_PRELOAD": library.path, "SLUICE_ALLOCATION_COUNTER": counter.url.path,
        ])
        defer { gateway.stop() }
        let cookie = try gateway.openSession()
        let started = try counter.read()
        #expect(started[0] > 0 && started[4] > 0, "starting allocates; a counter that sees none is not in front of the C library")
        let client = try WebSocketClient(port: gateway.port, path: "/tcp?v=1&host=127.0.0.1&port=\(target.port)", cookie: cookie)
        try client.echo(messages: Self.warmUpMessages, payloadBytes: Self.messageBytes, inFlight: Self.inFlight)
        let before = try counter.read()
        try client.echo(messages: Self.measuredMessages, payloadBytes: Self.messageBytes, inFlight: Self.inFlight)
        let after = try counter.read()
        #expect(after == before, "calls of malloc, calloc, realloc, aligned, mmap, free")
        try expectSilence(gateway, target, cookie, counter)
        let later = try counter.read()

        // The counter was listening all the time: what does allocate is seen.
        _ = try gateway.openSession()
        #expect(try counter.read()[0] > later[0], "a request for a session allocates and is counted")
    }

    @Test("a million datagrams allocate nothing", .enabled(if: canRunEcho, "needs a current release build with sluice-echo, and cc"),
          .timeLimit(AllocationTests.hang))
    func datagrams() throws {
        let (library, counter, directory) = try Self.counter()
        defer { try? FileManager.default.removeItem(at: directory) }
        let echo = try RunningFixture.echo(environment: ["LD_PRELOAD": library.path, "SLUICE_ALLOCATION_COUNTER": counter.url.path])
        defer { echo.stop() }
        #expect(try counter.read()[0] > 0, "starting allocates")
        let client = try DatagramClient(port: echo.port)
        try client.echo(datagrams: Self.warmUpMessages, payloadBytes: Self.messageBytes, inFlight: Self.inFlight)
        let before = try counter.read()
        try client.echo(datagrams: Self.measuredMessages, payloadBytes: Self.messageBytes, inFlight: Self.inFlight)
        #expect(try counter.read() == before, "calls of malloc, calloc, realloc, aligned, mmap, free")
        // The counter was listening all the time: what does allocate is seen.
        _ = try? Connection(port: echo.port).write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in 0..<100 where try counter.read()[0] == before[0] { usleep(20_000) }
        #expect(try counter.read()[0] > before[0], "a request allocates and is counted")
    }

    /// Limits that no test reaches, so that each of them is asked for every datagram.
    static let wideLimits = [
        "MAX_UDP_PPS_PER_SESSION": "1000000000", "MAX_UDP_BPS_PER_SESSION": "1000000000", "MAX_UDP_PPS_PER_DEST": "1000000000",
        "MAX_UNIQUE_DESTINATIONS_PER_SESSION": "100", "MAX_DC_BPS_PER_SESSION": "1000000000",
    ]

    @Test("a million datagrams through /udp and back allocate nothing", .enabled(if: canRunEcho, "needs a current release build, and cc"),
          .timeLimit(AllocationTests.hang), arguments: [[:], wideLimits])
    func relayedDatagrams(limits: [String: String]) throws {
        let (library, counter, directory) = try Self.counter()
        defer { try? FileManager.default.removeItem(at: directory) }
        let echo = try RunningFixture.echo(environment: [:])
        defer { echo.stop() }
        // No Ping of the server may come between the frames.
        let settings = [
            "LD_PRELOAD": library.path, "SLUICE_ALLOCATION_COUNTER": counter.url.path, "AUTH_MODE": "none",
            "DESTINATION_POLICY_PRESET": "dev", "UDP_WS_PING_INTERVAL": "1h", "UDP_WS_IDLE_TIMEOUT": "2h",
        ]
        let gateway = try RunningGateway(environment: settings.merging(limits) { $1 })
        defer { gateway.stop() }
        let client = try WebSocketClient(port: gateway.port, path: "/udp")
        #expect(try client.readText().contains("\"ready\""))
        // Four guest ports with four datagrams each: what leaves is trains, and what comes back is trains.
        let payload = (0..<UInt8(Self.messageBytes)).map { $0 }
        let remote = [127, 0, 0, 1, UInt8(echo.port >> 8), UInt8(echo.port & 0xFF)]
        let frames = (0..<Self.inFlight).map { [0x30, UInt8($0 / 4)] + remote + payload }
        try client.echo(payloads: frames, messages: Self.warmUpMessages, inRounds: true)
        let before = try counter.read()
        try client.echo(payloads: frames, messages: Self.measuredMessages, inRounds: true)
        #expect(try counter.read() == before, "calls of malloc, calloc, realloc, aligned, mmap, free")

        // The counter was listening all the time: a guest port that is new does allocate.
        try client.echo(payloads: (0..<8).map { [0x40, $0] + frames[0].dropFirst(2) }, messages: 8)
        #expect(try counter.read() != before, "new guest ports allocate and are counted")
    }

    /// The JWT proxy in front of a WebSocket upstream, on a route that needs no token: what forwards is the same.
    private static func proxyConfiguration(_ directory: URL, upstream: UInt16, rate: String) throws -> String {
        let file = directory.appendingPathComponent("proxy.yaml")
        try """
            shards: 1
            jwt:
              providers:
                - { name: main, issuer: "https://issuer.test", audiences: [a], algorithms: [HS256],
                    secret: "0123456789abcdef0123456789abcdef" }
              routes:
                - name: open
                  prefix: /ws
                  protocol: raw
                  auth: { required: false }
                  upstreams: [{ url: "ws://127.0.0.1:\(upstream)" }]
                  timeouts: { dead_peer: 86400s }
                  health: "off"
            \(rate)
            """.write(to: file, atomically: true, encoding: .utf8)
        return file.path
    }

    /// Counted messages have another way: each is charged.
    static let rates = ["", "      rate: { messages_per_second: 1000000, burst: 1000000, action: close }"]

    @Test("a million messages from a WebSocket to a WebSocket allocate nothing",
          .enabled(if: canRun, "needs a current release build with sluice-target, and cc"), .timeLimit(AllocationTests.hang),
          arguments: rates)
    func proxied(rate: String) throws {
        let (library, counter, directory) = try Self.counter()
        defer { try? FileManager.default.removeItem(at: directory) }
        let target = try RunningFixture.target("wsecho")
        defer { target.stop() }
        // Probes of the upstream are off: each is a connection, and those allocate.
        let configuration = try Self.proxyConfiguration(directory, upstream: target.port, rate: rate)
        let gateway = try RunningGateway(environment: [
            "LD_PRELOAD": library.path, "SLUICE_ALLOCATION_COUNTER": counter.url.path,
        ], arguments: ["--config", configuration])
        defer { gateway.stop() }
        let client = try WebSocketClient(port: gateway.port, path: "/ws")
        try client.echo(messages: Self.warmUpMessages, payloadBytes: Self.messageBytes, inFlight: Self.inFlight)
        let before = try counter.read()
        try client.echo(messages: Self.measuredMessages, payloadBytes: Self.messageBytes, inFlight: Self.inFlight)
        let after = try counter.read()
        #expect(after == before, "calls of malloc, calloc, realloc, aligned, mmap, free")

        // The counter was listening all the time: another session does allocate.
        _ = try WebSocketClient(port: gateway.port, path: "/ws")
        #expect(try counter.read()[0] > before[0], "a session allocates and is counted")
    }

    @Test("a million MQTT messages that are judged by 20 rules allocate nothing",
          .enabled(if: canRunProxy, "needs a current release build with sluice-proxy, and cc"), .timeLimit(AllocationTests.hang))
    func inspected() throws {
        let (library, counter, directory) = try Self.counter()
        defer { try? FileManager.default.removeItem(at: directory) }
        let broker = try RunningFixture.proxy(["broker"])
        defer { broker.stop() }
        let proxy = try RunningFixture.proxy(["ws://127.0.0.1:\(broker.port)/", "rules=20"], environment: [
            "LD_PRELOAD": library.path, "SLUICE_ALLOCATION_COUNTER": counter.url.path,
        ])
        defer { proxy.stop() }
        #expect(try counter.read()[0] > 0, "starting allocates")
        let client = try WebSocketClient(port: proxy.port, path: "/", subprotocol: "mqtt")
        let connect: [UInt8] = [0x10, 13, 0, 4] + Array("MQTT".utf8) + [4, 2, 0, 60, 0, 1, 99]
        try client.send([connect])
        #expect(try client.readBytes(6) == [0x82, 4, 0x20, 2, 0, 0], "CONNACK")
        let publishes = (0..<Self.inFlight).map { number in
            [0x30, 65, 0, 8] + Array("bench/\(10 + number)".utf8) + [UInt8](repeating: UInt8(number), count: 55)
        }
        try client.echo(payloads: publishes, messages: Self.warmUpMessages, inRounds: true)
        let before = try counter.read()
        try client.echo(payloads: publishes, messages: Self.measuredMessages, inRounds: true)
        #expect(try counter.read() == before, "calls of malloc, calloc, realloc, aligned, mmap, free")

        // The counter was listening all the time: a message that is refused does allocate.
        try client.send([[0x32, 7, 0, 1, 120, 0, 1, 9, 9]])
        #expect(try client.readBytes(6) == [0x82, 4, 0x40, 2, 0, 1], "PUBACK of a message that went nowhere")
        #expect(try counter.read() != before, "a refusal allocates and is counted")
    }

    /// The compiled counter, the file it counts into, and the directory of both.
    private static func counter() throws -> (library: URL, counter: AllocationCounter, directory: URL) {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("sluice-allocations-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let library = directory.appendingPathComponent("count.so")
        let source = Repository.root.appendingPathComponent("Tests/AllocationCounter/count.c")
        let compiled = try Tool.run("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library.path, source.path)
        #expect(compiled.status == 0, "the counter compiles")
        let counter = AllocationCounter(url: directory.appendingPathComponent("count"))
        try Data().write(to: counter.url)
        return (library, counter, directory)
    }

    /// The same over `/tcp-mux`, on several streams whose frames share buffers.
    private func expectSilence(_ gateway: RunningGateway, _ target: RunningFixture, _ cookie: String, _ counter: AllocationCounter) throws {
        let client = try WebSocketClient(port: gateway.port, path: "/tcp-mux", cookie: cookie, subprotocol: "aero-tcp-mux-v1")
        let frames = MuxFrames(streams: Self.inFlight, payloadBytes: Self.messageBytes)
        try client.send(frames.opens(port: target.port))
        try client.echo(payloads: frames.data, messages: Self.warmUpMessages, inRounds: true)
        let before = try counter.read()
        try client.echo(payloads: frames.data, messages: Self.measuredMessages, inRounds: true)
        #expect(try counter.read() == before, "calls of malloc, calloc, realloc, aligned, mmap, free")
    }
}
