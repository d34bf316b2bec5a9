import Foundation
import Testing
import Wire

private func bytes(_ hex: String) -> [UInt8] {
    let digits = Array(hex.utf8.filter { $0 != 0x20 })
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(decoding: digits[$0..<($0 + 2)], as: UTF8.self), radix: 16)! }
}

private func decode(_ message: [UInt8], limit: Int = 1200) -> RelayMessage { RelayFrame.decode(message.span, maximumPayloadBytes: limit) }

/// The header in front of `payload`, written with nothing but its own room before it.
private func encode(_ version: RelayVersion, _ guestPort: UInt16, _ remote: Endpoint, _ payload: [UInt8]) -> [UInt8] {
    let room = RelayFrame.headerBytes(version, remote.address.family)
    return withUnsafeTemporaryAllocation(byteCount: room + payload.count + 1, alignment: 1) { buffer in
        buffer.initializeMemory(as: UInt8.self, repeating: 0xEE)
        buffer[(room)...].copyBytes(from: payload)
        let count = RelayFrame.encodeHeader(version, guestPort: guestPort, remote: remote, endingAt: buffer.baseAddress! + room)
        #expect(count == room && buffer[room + payload.count] == 0xEE)
        return Array(buffer[..<(room + payload.count)])
    }
}

private func vectors(_ file: String) throws -> [String: Any]? {
    let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../shared/vectors/aero/\(file)").standardized
    guard FileManager.default.fileExists(atPath: url.path) else {
        print("skipped: no vectors at \(url.path)")
        return nil
    }
    return try JSONSerialization.jsonObject(with: Data(contentsOf: url)) as? [String: Any]
}

@Suite struct RelayFrameTests {
    @Test(arguments: [
        ("2710 c0000201 0035 616263", RelayVersion.v1, 8, 10000, "192.0.2.1:53"),
        ("0000000000000000", .v1, 8, 0, "0.0.0.0:0"), ("ffffffffffffffff", .v1, 8, 65535, "255.255.255.255:65535"),
        ("a203 00000000 0000", .v1, 8, 41475, "0.0.0.0:0"), ("a102040000010000000000 0041", .v1, 8, 41218, "4.0.0.1:0"),
        ("a2020400 a202 c0000201 0035 41", .v2, 12, 41474, "192.0.2.1:53"),
        ("a2020600 beef 20010db8000000000000000000000001 cafe 010203", .v2, 24, 48879, "[2001:db8::1]:51966"),
        ("a2020600 0001 00000000000000000000ffff7f000001 0035", .v2, 24, 1, "127.0.0.1:53"),
        ("a2020600 0001 00000000000000000000000000000001 0035", .v2, 24, 1, "[::1]:53"),
    ])
    func frames(_ hex: String, _ version: RelayVersion, _ headerBytes: Int, _ guestPort: Int, _ remote: String) throws {
        let message = bytes(hex)
        guard case .frame(let header) = decode(message) else { throw VectorShape(hex) }
        #expect(header.version == version && header.headerBytes == headerBytes && Int(header.guestPort) == guestPort)
        #expect("\(header.remote)" == remote)
        // Written again it is the same, unless the address was a mapped one.
        let written = encode(version, header.guestPort, header.remote, Array(message[headerBytes...]))
        #expect(written == message || (headerBytes == 24 && header.remote.address.family == .v4))
    }

    @Test(arguments: [
        ("", RelayFault.tooShort), ("00", .tooShort), ("a202", .tooShort), ("00000000000000", .tooShort), ("a202040041", .tooShort),
        ("a202 0400 0001 7f000001 00", .tooShort), ("a2020600 0001 00000000000000000000000000000001 00", .tooShort),
        ("a2020401 0001 00000000 0000 00", .messageType), ("a20205ff 0001 00000000 0000 00", .messageType),
        ("a2020500 0001 00000000 0000 00", .addressFamily), ("a2020000 0001 00000000 0000 00", .addressFamily),
    ])
    func malformed(_ hex: String, _ fault: RelayFault) {
        #expect(decode(bytes(hex)) == .malformed(fault))
    }

    @Test(arguments: [
        ("0001 7f000001 0035", 8), ("a2020400 0001 7f000001 0035", 12), ("a2020600 0001 20010db8000000000000000000000001 0035", 24),
    ])
    func payloadLimit(_ hex: String, _ headerBytes: Int) {
        for (payloadBytes, limit, fits) in [(0, 0, true), (1, 0, false), (1200, 1200, true), (1201, 1200, false)] {
            let message = bytes(hex) + [UInt8](repeating: 0xA2, count: payloadBytes)
            guard case .frame(let header) = decode(message, limit: limit) else {
                #expect(!fits && decode(message, limit: limit) == .oversized)
                continue
            }
            #expect(fits && header.headerBytes == headerBytes && message.count - headerBytes == payloadBytes)
        }
    }

    @Test func versionToClient() {
        for (family, port, prefers, seen, expected): (IPAddress.Family, UInt16, Bool, Bool, RelayVersion) in [
            (.v4, 1, false, false, .v1), (.v4, 1, true, false, .v1), (.v4, 1, false, true, .v1), (.v4, 1, true, true, .v2),
            (.v6, 1, false, false, .v2), (.v6, 1, true, true, .v2), (.v4, 0xA202, false, false, .v2),
        ] {
            #expect(RelayVersion.toClient(family, guestPort: port, prefersV2: prefers, v2Seen: seen) == expected)
        }
    }

    @Test(arguments: [0, 113, 114, 118, 1200, 65_507])
    func webSocketMessages(_ payloadBytes: Int) throws {
        for (version, text): (RelayVersion, String) in [(.v1, "192.0.2.1"), (.v2, "192.0.2.1"), (.v2, "2001:db8::1")] {
            let remote = Endpoint(try #require(IPAddress(text)), port: 53)
            let room = RelayFrame.maximumMessageHeaderBytes
            withUnsafeTemporaryAllocation(byteCount: room, alignment: 1) { buffer in
                let count = RelayFrame.encodeMessage(
                    version, guestPort: 7, remote: remote, payloadBytes: payloadBytes, endingAt: buffer.baseAddress! + room)
                let own = RelayFrame.headerBytes(version, remote.address.family)
                let message = Array(buffer[(room - count)...])
                #expect(message[0] == 0x82 && count == own + FrameHeader.bytes(forPayload: own + payloadBytes))
                #expect(message.suffix(own) == encode(version, 7, remote, [])[...])
            }
        }
    }

    @Test func mappedForm() throws {
        let v4 = Endpoint(try #require(IPAddress("192.0.2.1")), port: 1)
        #expect(v4.mapped.high == 0 && v4.mapped.low == 0xFFFF_C000_0201)
        let v6 = Endpoint(try #require(IPAddress("2001:db8::1")), port: 1)
        #expect(v6.mapped.high == 0x2001_0DB8_0000_0000 && v6.mapped.low == 1)
    }

    @Test func publishedVectors() throws {
        guard let base64 = try vectors("udp-relay.json")?["vectors"] as? [[String: Any]],
            let hex = (try vectors("aero-vectors-v2.json")?["aero-udp-relay-v1v2"] as? [String: Any])?["vectors"] as? [[String: Any]]
        else { return }
        #expect(base64.count == 9 && hex.count == 9)
        for vector in base64 + hex { try published(vector) }
    }

    private func published(_ vector: [String: Any]) throws {
        func binary(_ base64: String, _ hex: String) throws -> [UInt8] {
            if let text = vector[base64] as? String, let data = Data(base64Encoded: text) { return [UInt8](data) }
            guard let text = vector[hex] as? String else { throw VectorShape(hex) }
            return bytes(text)
        }
        let message = try binary("frame_b64", "frameHex")
        if let reason = vector["errorContains"] as? String {
            guard case .malformed(let fault) = decode(message) else { throw VectorShape(reason) }
            #expect(fault.description.contains(reason))
            return
        }
        let payload = try binary("payload_b64", "payloadHex")
        guard let text = vector["remoteIp"] as? String, let address = IPAddress(text), let remotePort = vector["remotePort"] as? UInt16,
            let number = vector["version"] as? UInt8, let version = RelayVersion(rawValue: number),
            let guestPort = vector["guestPort"] as? UInt16
        else { throw VectorShape("frame") }
        let header = RelayHeader(
            version: version, headerBytes: message.count - payload.count, guestPort: guestPort, remote: Endpoint(address, port: remotePort))
        #expect(decode(message) == .frame(header))
        #expect(encode(version, guestPort, header.remote, payload) == message)
    }

    @Test func observedFrames() throws {
        guard let entries = try vectors("observed-udp-relay.json")?["frameDecode"] as? [[String: Any]] else { return }
        #expect(entries.count >= 17)
        for entry in entries {
            guard let hex = entry["frameHex"] as? String else { continue }
            switch decode(bytes(hex)) {
            case .malformed: #expect(entry["error"] as? String == "malformed", "\(hex)")
            case .oversized: Issue.record("\(hex) is small")
            case .frame(let header):
                #expect(Int(header.version.rawValue) == entry["version"] as? Int && Int(header.guestPort) == entry["guestPort"] as? Int)
                #expect(Int(header.remote.port) == entry["remotePort"] as? Int)
                #expect(bytes(hex).count - header.headerBytes == entry["payloadBytes"] as? Int)
                let address = try #require(IPAddress(entry["remoteIp"] as? String ?? ""))
                #expect(header.remote.address == address.normalized)
                #expect((address != address.normalized) == (entry["specChoice"] != nil))
            }
        }
    }
}

/// A vector that does not have the shape a test needs.
private struct VectorShape: Error {
    let text: String
    init(_ text: String) { self.text = text }
}
