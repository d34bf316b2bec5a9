import Foundation
import Testing

@testable import Control

/// Everything a ring holds, as text.
private func contents(_ ring: LogRing) -> String {
    var bytes: [UInt8] = []
    ring.drain {
        bytes += $0
        return $0.count
    }
    return String(decoding: bytes, as: UTF8.self)
}

@Suite struct LogRingTests {
    private func append(_ text: String, to ring: LogRing) -> Bool { Array(text.utf8).withUnsafeBytes { ring.append($0) } }

    @Test func linesComeOutInOrderAcrossTheEndOfMemory() {
        let ring = LogRing(capacityBytes: 1)
        #expect(ring.capacityBytes == 4096)
        var expected = ""
        var received = ""
        for number in 0..<2000 {  // about seven times around
            let line = "record \(number)\n"
            #expect(append(line, to: ring))
            expected += line
            if number % 100 == 99 { received += contents(ring) }
        }
        #expect(received == expected)
        #expect(ring.dropped == 0 && ring.pendingBytes == 0)
    }

    @Test func fullRingDropsWholeLinesAndCounts() {
        let ring = LogRing(capacityBytes: 4096)
        let line = String(repeating: "x", count: 999) + "\n"
        #expect((0..<6).map { _ in append(line, to: ring) } == [true, true, true, true, false, false])
        #expect(ring.dropped == 2)
        #expect(append(String(repeating: "y", count: 96), to: ring))  // exactly full
        #expect(ring.pendingBytes == 4096)
        #expect(!append("z", to: ring))
        #expect(contents(ring) == String(repeating: line, count: 4) + String(repeating: "y", count: 96))
        #expect(append(line, to: ring))
    }

    @Test func partialDrainKeepsTheRest() {
        let ring = LogRing(capacityBytes: 4096)
        #expect(append("abcdef", to: ring))
        #expect(ring.drain { _ in 2 } == 2)
        #expect(contents(ring) == "cdef")
    }

    @Test func producerAndConsumerOnTwoThreads() async {
        let ring = LogRing(capacityBytes: 4096)
        let total = 20_000
        let producer = Task.detached { () -> Int in
            var taken = 0
            for number in 0..<total {
                let line = "\(number) \(String(repeating: "a", count: number % 50))\n"
                if Array(line.utf8).withUnsafeBytes({ ring.append($0) }) { taken += 1 }
            }
            return taken
        }
        let consumer = Task.detached { () -> [UInt8] in
            var bytes: [UInt8] = []
            var idle = 0
            while idle < 2000 {
                let count = ring.drain {
                    bytes += $0
                    return $0.count
                }
                idle = count == 0 ? idle + 1 : 0
                if count == 0 { await Task.yield() }
            }
            return bytes
        }
        let taken = await producer.value
        var bytes = await consumer.value
        bytes += Array(contents(ring).utf8)
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        #expect(lines.count == taken)
        #expect(taken + ring.dropped == total)
        var last = -1
        for line in lines {
            let parts = line.split(separator: " ", omittingEmptySubsequences: false)
            guard let number = Int(parts[0]), parts.count == 2, number > last, parts[1].count == number % 50 else {
                Issue.record("torn or reordered line: \(line)")
                return
            }
            last = number
        }
    }
}

@Suite struct LogWriterTests {
    private func writer(_ ring: LogRing, _ level: LogLevel = .trace, _ format: LogFormat = .json) -> LogWriter {
        LogWriter(ring: ring, identity: LogIdentity(processIdentifier: 7, hostName: "ho\"st"), threshold: level, format: format)
    }

    private func object(_ line: String) throws -> [String: Any] {
        #expect(line.hasSuffix("}\n") && line.filter { $0 == "\n" }.count == 1)
        return try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }

    @Test func recordIsOneObject() throws {
        let ring = LogRing(capacityBytes: 65_536)
        var writer = writer(ring)
        writer.begin(.info, "listening", timeMilliseconds: 1_900_000_000_123)
        writer.field("port", 8080)
        writer.field("low", Int.min)
        writer.field("secure", false)
        writer.field("text", "a\"b\\c\n\t\u{1}\u{7F}ü€😀")
        writer.field("secret", Masked("hunter2"))
        writer.commit()
        let line = contents(ring)
        let record = try object(line)
        #expect(record["level"] as? Int == 30 && record["time"] as? Int == 1_900_000_000_123 && record["pid"] as? Int == 7)
        #expect(record["hostname"] as? String == "host" && record["msg"] as? String == "listening")
        #expect(record["port"] as? Int == 8080 && record["low"] as? Int == Int.min && record["secure"] as? Bool == false)
        #expect(record["text"] as? String == "a\"b\\c\n\t\u{1}\u{7F}ü€😀")
        #expect(record["secret"] as? String == "***")
        #expect(!line.contains("hunter2"))
    }

    @Test(
        arguments: [
            [0xFF], [0xC3], [0xC0, 0xAF], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0x80, 0x80],
            [0xF0, 0x80, 0x80, 0x80],
        ] as [[UInt8]])
    func bytesThatAreNotUTF8StayJSON(_ bytes: [UInt8]) throws {
        let ring = LogRing(capacityBytes: 65_536)
        var writer = writer(ring)
        writer.begin(.warn, "bad", timeMilliseconds: 0)
        bytes.withUnsafeBytes { writer.field("bytes", $0) }
        writer.commit()
        let text = try #require(try object(contents(ring))["bytes"] as? String)
        #expect(text == String(repeating: "\u{FFFD}", count: bytes.count))
    }

    @Test func wholeUnicodeRangeIsTaken() throws {
        let ring = LogRing(capacityBytes: 65_536)
        var writer = writer(ring)
        let text = String(
            String.UnicodeScalarView(stride(from: UInt32(0x80), to: 0x110000, by: 4099).compactMap(Unicode.Scalar.init)))
        writer.begin(.info, "all", timeMilliseconds: 0)
        writer.field("text", text)
        writer.commit()
        #expect(try object(contents(ring))["text"] as? String == text)
    }

    @Test(arguments: [0, 100, 3900, 3950, 3960, 3970, 3980, 3990, 4000, 4010, 4090, 4096, 5000, 100_000])
    func longRecordsStayWellFormed(_ length: Int) throws {
        let ring = LogRing(capacityBytes: 65_536)
        var writer = writer(ring)
        writer.begin(.info, "m", timeMilliseconds: 1)
        writer.field("long", String(repeating: "x", count: length))
        writer.field("after", 5)
        writer.commit()
        let line = contents(ring)
        #expect(line.utf8.count <= LogWriter.maximumLineBytes)
        let record = try object(line)
        #expect((record["long"] != nil && record["after"] != nil) == (record["truncated"] == nil))
        if length >= 4090 { #expect(record["truncated"] as? Bool == true && record["after"] as? Int == 5) }

        let message = Array(String(repeating: "\u{1}", count: length).utf8)
        message.withUnsafeBytes { _ = writer.begin(.info, $0, timeMilliseconds: 1) }
        writer.commit()
        let second = try object(contents(ring))
        #expect((second["truncated"] != nil) == ((second["msg"] as? String)?.utf8.count != length))
    }

    @Test func levelsBelowTheThresholdWriteNothing() {
        let ring = LogRing(capacityBytes: 4096)
        for threshold in LogLevel.allCases {
            var writer = writer(ring, threshold)
            for level in LogLevel.allCases {
                let enabled = level >= threshold && level != .silent
                #expect(writer.begin(level, "m", timeMilliseconds: 0) == enabled)
                writer.field("n", 1)
                writer.commit()
                #expect(contents(ring).isEmpty == !enabled)
            }
        }
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_000_000_000_999, "2001-09-09T01:46:40.999Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] as [(Int64, String)]) func textFormat(_ time: Int64, _ expected: String)
    {
        let ring = LogRing(capacityBytes: 4096)
        var writer = writer(ring, .info, .text)
        writer.begin(.error, "it failed", timeMilliseconds: time)
        writer.field("code", -5)
        writer.commit()
        #expect(contents(ring) == "\(expected) ERROR it failed code=-5\n")
    }
}

@Suite struct LoggerTests {
    @Test func ringsAreWrittenOutAndDropsReported() throws {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let logger = Logger(level: .info, format: .json, descriptor: ends[1])
        let ring = LogRing(capacityBytes: 4096)
        logger.add(ring, name: "shard 0")
        var writer = LogWriter(ring: ring, identity: .current, threshold: .info, format: .json)
        for _ in 0..<100 {
            writer.begin(.info, "from the shard", timeMilliseconds: 1)
            writer.commit()
        }
        let dropped = ring.dropped
        #expect(dropped > 0)
        logger.log(.warn, "mine", ["n": .number(1), "s": .secret(Masked("x")), "t": .text("t"), "f": .flag(true)])
        logger.flush()
        logger.flush()
        close(ends[1])
        let data = try #require(try FileHandle(fileDescriptor: ends[0], closeOnDealloc: true).readToEnd())
        let records = try data.split(separator: 10).map {
            try #require(try JSONSerialization.jsonObject(with: $0) as? [String: Any])
        }
        #expect(records.count == 1 + (100 - dropped) + 1)
        #expect(records[0]["msg"] as? String == "mine" && records[0]["s"] as? String == "***" && records[0]["f"] as? Bool == true)
        #expect(records.last?["records"] as? Int == dropped && records.last?["source"] as? String == "shard 0")
    }

    @Test func vanishedReaderIsCountedNotFatal() {
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        close(ends[0])
        let logger = Logger(level: .info, format: .text, descriptor: ends[1])
        logger.log(.info, "nobody reads this")
        #expect(logger.lostBytes > 0)
        close(ends[1])
    }

    @Test func secretsNeverPrint() {
        let secret = Masked("hunter2")
        var dumped = ""
        dump(["k": secret], to: &dumped)
        for text in ["\(secret)", String(describing: secret), String(reflecting: secret), "\([secret])", dumped] {
            #expect(!text.contains("hunter2") && text.contains("***"))
        }
        #expect(secret.revealed == "hunter2")
    }
}
