import Foundation
import Testing
import Wire

/// What a reader says of a stream that comes in these pieces.
private enum Found: Equatable {
    case frame(type: UInt8, stream: UInt32, payload: [UInt8])
    case tooLong
    case incomplete
}

private func read(_ pieces: [[UInt8]], maximum: UInt32 = 16 << 20) -> [Found] {
    var reader = MuxReader()
    var found: [Found] = []
    var header: MuxHeader?
    var payload: [UInt8] = []
    for piece in pieces where !piece.isEmpty {
        var cursor = 0
        reading: while true {
            switch piece.withUnsafeBytes({ reader.next($0.baseAddress!, &cursor, piece.count, maximumPayloadBytes: maximum) }) {
            case .needMore: break reading
            case .tooLong: return found + [.tooLong]
            case .header(let begun):
                payload = []
                header = begun
                #expect(reader.payloadBytesMissing == Int(begun.payloadBytes))
                if begun.payloadBytes == 0 { found.append(.frame(type: begun.type, stream: begun.stream, payload: [])) }
            case .payload(let run):
                payload += piece[run.start..<run.start + run.count]
                if run.endsFrame, let header { found.append(.frame(type: header.type, stream: header.stream, payload: payload)) }
            }
        }
        #expect(cursor == piece.count)
    }
    return reader.isAtBoundary ? found : found + [.incomplete]
}

private func frame(_ type: UInt8, _ stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: 9, alignment: 1)
    defer { bytes.deallocate() }
    MuxFrame.encodeHeader(MuxType(rawValue: type) ?? .data, stream: stream, payloadBytes: payload.count, endingAt: bytes + 9)
    var header = Array(UnsafeRawBufferPointer(start: bytes, count: 9))
    header[0] = type
    return header + payload
}

@Suite struct MuxReaderTests {
    @Test func framesComeOutHoweverTheyAreCut() {
        let frames: [(UInt8, UInt32, [UInt8])] = [
            (1, 1, Array(0..<40)), (2, 0xFFFF_FFFE, [7]), (3, 0x0102_0304, [1]), (5, 0, []), (9, 2, [1, 2]), (2, 1, Array(0..<255)),
        ]
        let stream = frames.flatMap { frame($0.0, $0.1, $0.2) }
        let expected = frames.map { Found.frame(type: $0.0, stream: $0.1, payload: $0.2) }
        #expect(read([stream]) == expected)
        #expect(read(stream.map { [$0] }) == expected)
        for cut in 1..<stream.count { #expect(read([Array(stream[..<cut]), Array(stream[cut...])]) == expected, "cut at \(cut)") }
    }

    @Test func aFrameAboveTheLimitEndsEverything() {
        let stream = frame(2, 1, [1, 2, 3]) + frame(2, 1, Array(repeating: 0, count: 11)) + frame(2, 1, [4])
        let first = Found.frame(type: 2, stream: 1, payload: [1, 2, 3])
        #expect(read([stream], maximum: 11).count == 3)
        #expect(read([stream], maximum: 10) == [first, .tooLong])
        // The header alone is enough, cut anywhere.
        for cut in 1...9 { #expect(read([Array(stream[..<(12 + cut)]), Array(stream[(12 + cut)..<21])], maximum: 10) == [first, .tooLong]) }
        #expect(read([frame(2, 1, [])], maximum: 0) == [.frame(type: 2, stream: 1, payload: [])])
        var reader = MuxReader()
        let bytes: [UInt8] = [2, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0]
        for _ in 0..<2 {
            var cursor = 0
            #expect(bytes.withUnsafeBytes { reader.next($0.baseAddress!, &cursor, 10, maximumPayloadBytes: 1 << 24) } == .tooLong)
        }
        #expect(MemoryLayout<MuxReader>.size <= 24)
    }

    @Test func headersOfMessages() {
        for (count, header) in [(0, 2), (116, 2), (117, 4), (65526, 4), (65527, 10)] {
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: MuxFrame.maximumMessageHeaderBytes, alignment: 1)
            defer { bytes.deallocate() }
            let end = bytes.baseAddress! + bytes.count
            #expect(MuxFrame.encodeMessage(.data, stream: 258, payloadBytes: count, endingAt: end) == header + 9)
            #expect(MuxFrame.messageHeaderBytes(forPayload: count) == header + 9)
            #expect(Array(bytes.suffix(9)) == [2, 0, 0, 1, 2] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) })
            #expect(bytes[bytes.count - 9 - header] == 0x82)
        }
    }
}

@Suite struct MuxPayloadTests {
    private func open(_ bytes: [UInt8]) -> MuxOpen? { MuxOpen(bytes.span) }

    @Test func opens() {
        let bytes = MuxOpen.encode(host: "example.com", port: 443, metadata: "{}") ?? []
        let parsed = open(bytes)
        #expect(parsed?.port == 443 && parsed?.host == 2..<13 && parsed?.metadata == 17..<19)
        for count in 0..<bytes.count { #expect(open(Array(bytes[..<count])) == nil, "\(count) bytes") }
        #expect(open(bytes + [0]) == nil)
        let longest = String(repeating: "h", count: 1024)
        #expect(open(MuxOpen.encode(host: longest, port: 0, metadata: String(repeating: "é", count: 2048)) ?? []) != nil)
        #expect(MuxOpen.encode(host: longest + "h", port: 1) == nil)
        #expect(open([0x04, 0x01] + Array(repeating: 0x61, count: 1025) + [0, 1, 0, 0]) == nil)
        #expect(open([0, 1, 0x61, 0, 1, 0x10, 0x01] + Array(repeating: 0x61, count: 4097)) == nil)
        let blanks = [
            "a b", "a\t", "\u{0}a", "a\u{7F}", "a\u{85}", "\u{A0}a", "a\u{1680}b", "a\u{2003}", "\u{2028}", "a\u{2029}",
            "a\u{202F}b", "\u{205F}", "a\u{3000}", "\u{FEFF}a",
        ]
        for host in blanks {
            #expect(open(MuxOpen.encode(host: host, port: 1) ?? []) == nil, "\(host.debugDescription)")
        }
        for host in ["é", "日本", "a\u{2010}b", "::1", "\u{200B}"] { #expect(open(MuxOpen.encode(host: host, port: 1) ?? []) != nil) }
        #expect(open([0, 1, 0xFF, 0, 1, 0, 0]) == nil && open([0, 2, 0xC3, 0x28, 0, 1, 0, 0]) == nil)
        #expect(open([0, 1, 0x61, 0, 1, 0, 1, 0x80]) == nil && open([0, 0, 0, 1, 0, 0]) == nil)
    }

    @Test func errors() {
        #expect(MuxError.encode(code: 1, message: "nope") == [0, 1, 0, 4] + Array("nope".utf8))
        #expect(MuxError.encode(code: 2, message: " a\n\tb  c\u{2028}\u{3000} d ") == [0, 2, 0, 7] + Array("a b c d".utf8))
        #expect(MuxError.encode(code: 3, message: " \n ") == [0, 3, 0, 0])
        let long = MuxError.encode(code: 6, message: "a" + String(repeating: "é", count: 600))
        #expect(long.count == 4 + 1023 && MuxError(long.span)?.message == 4..<1027)
        #expect(MuxError([0, 1, 0, 4, 0x6E, 0x6F, 0x70].span) == nil && MuxError([0, 1, 0].span) == nil)
        #expect(MuxError([0, 1, 0, 1, 0xFF].span) == nil && MuxError([0, 9, 0, 0].span)?.code == 9)
    }
}

private func document(_ name: String) -> JSONValue? {
    let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let file = root.appendingPathComponent("../shared/vectors/aero/\(name)").standardizedFileURL
    guard let data = try? Data(contentsOf: file) else {
        print("published multiplexing vectors skipped: \(file.path) is not there")
        return nil
    }
    return JSONReader.read([UInt8](data).span)
}

private let published = document("tcp-mux-v1.json")
private let observed = document("observed-gateway.json")

private func entries(_ document: JSONValue?, _ name: String) -> [JSONValue] {
    guard case .array(let entries)? = document?[name] else { return [] }
    return entries
}

private func bytes(_ value: JSONValue?) -> [UInt8] { [UInt8](Data(base64Encoded: value?.string ?? "") ?? Data()) }

@Suite(.enabled(if: published != nil && observed != nil, "published vectors are not beside the repository"))
struct MuxVectorTests {
    private func number(_ value: JSONValue?) -> Int { value?.number.map { Int($0) } ?? -1 }

    @Test func frames() {
        #expect(entries(published, "frames").count == 6)
        for entry in entries(published, "frames") {
            let (type, stream, payload) = (UInt8(number(entry["msgType"])), UInt32(number(entry["streamId"])), bytes(entry["payload_b64"]))
            #expect(frame(type, stream, payload) == bytes(entry["frame_b64"]))
            #expect(read([bytes(entry["frame_b64"])]) == [.frame(type: type, stream: stream, payload: payload)])
        }
    }

    /// The unified set has the same cases in another spelling.
    @Test func framesOfTheUnifiedSet() throws {
        let unified = try #require(document("aero-vectors-v2.json")?["aero-tcp-mux-v1"])
        func bytes(_ text: JSONValue?) -> [UInt8] {
            let digits = Array((text?.string ?? "").utf8).compactMap { Character(UnicodeScalar($0)).hexDigitValue }
            return stride(from: 0, to: digits.count - digits.count % 2, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
        }
        #expect(entries(unified, "frames").count == 6 && entries(unified, "parserStreams").count == 3)
        for entry in entries(unified, "frames") {
            let (type, stream) = (UInt8(number(entry["msgType"])), UInt32(number(entry["streamId"])))
            #expect(read([bytes(entry["frameHex"])]) == [.frame(type: type, stream: stream, payload: bytes(entry["payloadHex"]))])
        }
        for entry in entries(unified, "openPayloads") {
            let payload = MuxOpen.encode(
                host: entry["host"]?.string ?? "", port: UInt16(number(entry["port"])), metadata: entry["metadata"]?.string ?? "")
            #expect(payload == bytes(entry["payloadHex"]))
        }
        for entry in entries(unified, "errorPayloads") {
            let code = MuxError(bytes(entry["payloadHex"]).span).map { Int($0.code) }
            #expect(code == (entry["message"] == nil ? nil : number(entry["code"])))
        }
        for entry in entries(unified, "parserStreams") {
            guard case .array(let chunks)? = entry["chunksHex"] else { Issue.record("no chunks"); continue }
            let found = read(chunks.map { bytes($0) })
            guard entry["expectError"] != .boolean(true) else { #expect(found.last == .incomplete); continue }
            #expect(found == entries(entry, "expectFrames").map {
                .frame(type: UInt8(number($0["msgType"])), stream: UInt32(number($0["streamId"])), payload: bytes($0["payloadHex"]))
            })
        }
    }

    @Test func payloads() {
        #expect(entries(published, "openPayloads").count == 3 && entries(observed, "mux_open_payload").count == 10)
        for entry in entries(published, "openPayloads") {
            let payload = bytes(entry["payload_b64"])
            let host = entry["host"]?.string ?? ""
            #expect(MuxOpen.encode(host: host, port: UInt16(number(entry["port"])), metadata: entry["metadata"]?.string ?? "") == payload)
            let parsed = MuxOpen(payload.span)
            let read = parsed.map { String(decoding: payload[$0.host], as: UTF8.self) }
            #expect(read == entry["host"]?.string && Int(parsed?.port ?? 0) == number(entry["port"]))
        }
        for entry in entries(observed, "mux_open_payload") {
            let payload = bytes(entry["payload_b64"])
            #expect((MuxOpen(payload.span) != nil) == (entry["valid"] == .boolean(true)), "\(entry["name"]?.string ?? "")")
        }
        for entry in entries(published, "closePayloads") { #expect(bytes(entry["payload_b64"]) == [UInt8(number(entry["flags"]))]) }
        for entry in entries(published, "errorPayloads") + entries(observed, "mux_error_payload") {
            let payload = bytes(entry["payload_b64"])
            guard let message = entry["message"]?.string else {
                #expect(MuxError(payload.span) == nil)
                continue
            }
            #expect(MuxError.encode(code: UInt16(number(entry["code"])), message: message) == payload)
            #expect(MuxError(payload.span)?.code == UInt16(number(entry["code"])))
        }
    }

    @Test func streams() {
        #expect(entries(published, "parserStreams").count == 3)
        for entry in entries(published, "parserStreams") {
            guard case .array(let chunks)? = entry["chunks_b64"] else { continue }
            let found = read(chunks.map { bytes($0) })
            if entry["expectError"] == .boolean(true) {
                #expect(found.last == .incomplete)
                continue
            }
            #expect(found == entries(entry, "expectFrames").map {
                .frame(type: UInt8(number($0["msgType"])), stream: UInt32(number($0["streamId"])), payload: bytes($0["payload_b64"]))
            })
        }
    }
}
