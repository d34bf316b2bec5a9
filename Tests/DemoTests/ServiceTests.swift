import Testing
import Wire

@testable import Demo

@Suite struct ServiceTests {
    private func route(_ method: String, _ target: String) -> DemoService.Answer {
        DemoService.route(method: method.utf8.span, target: target.utf8.span)
    }

    @Test(arguments: [
        ("GET", "/", .index), ("HEAD", "/?x", .index), ("GET", "/ping", .ping), ("HEAD", "/ping", .ping), ("POST", "/sink", .sink),
        ("POST", "/dns-query", .lookUp), ("GET", "/bytes?n=0", .download(byteCount: 0)), ("GET", "/bytes?n=007", .download(byteCount: 7)),
        ("GET", "/bytes?m=1&n=5", .download(byteCount: 5)), ("GET", "/bytes?n=5&n=6", .download(byteCount: 5)),
        ("GET", "/bytes?n=1073741824", .download(byteCount: 1 << 30)),
    ] as [(String, String, DemoService.Answer)])
    func served(_ method: String, _ target: String, _ expected: DemoService.Answer) {
        #expect(route(method, target) == expected)
    }

    @Test(arguments: [
        ("GET", "/bytes", .missingByteCount), ("GET", "/bytes?", .missingByteCount), ("GET", "/bytes?n=", .missingByteCount),
        ("GET", "/bytes?n=-1", .missingByteCount), ("GET", "/bytes?n=1x", .missingByteCount), ("GET", "/bytes?N=1", .missingByteCount),
        ("GET", "/bytes?nn=1", .missingByteCount), ("GET", "/bytes?n=1073741825", .byteCountTooLarge),
        ("GET", "/bytes?n=99999999999999999999999999", .byteCountTooLarge), ("GET", "/sink", .methodNotAllowed),
        ("GET", "/dns-query", .methodNotAllowed), ("POST", "/", .methodNotAllowed), ("PUT", "/ping", .methodNotAllowed),
        ("POST", "/bytes?n=1", .methodNotAllowed), ("get", "/", .methodNotAllowed), ("GET", "", .unknownPath),
        ("GET", "/Ping", .unknownPath),
        ("GET", "/ping/", .unknownPath), ("GET", "/bytes/1", .unknownPath), ("POST", "/sin", .unknownPath),
    ] as [(String, String, DemoService.Refusal)])
    func refused(_ method: String, _ target: String, _ expected: DemoService.Refusal) {
        #expect(route(method, target) == .refuse(expected))
        #expect((400...405).contains(expected.status) && "\(expected.text)".hasSuffix("\n") && !"\(expected.reason)".isEmpty)
    }
}

@Suite struct PatternTests {
    @Test(arguments: [0, 1, 255, 256, 257, 512, 4096, 100_003], [0, 1, 255, 256, 1 << 40])
    func everyByteIsTheOneOfItsOffset(_ count: Int, _ offset: Int) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 1)
        defer { buffer.deallocate() }
        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        DemoPattern.fill(bytes, from: offset)
        for index in 0..<count where bytes[index] != UInt8(truncatingIfNeeded: (index &+ offset) &* 31 &+ 7) {
            Issue.record("byte \(index) of \(count) at \(offset)")
            break
        }
        #expect(DemoPattern.firstDifference(in: UnsafeRawBufferPointer(bytes), from: offset) == nil)
        guard count > 0 else { return }
        bytes[count - 1] ^= 1
        #expect(DemoPattern.firstDifference(in: UnsafeRawBufferPointer(bytes), from: offset) == offset + count - 1)
        // A shift by anything but a multiple of the period shows in the first byte.
        #expect(DemoPattern.byte(at: offset) != DemoPattern.byte(at: offset + 1))
    }

    @Test func thePatternVisitsEveryValueBeforeItRepeats() {
        #expect(Set((0..<DemoPattern.period).map { DemoPattern.byte(at: $0) }).count == 256)
        #expect(DemoPattern.byte(at: 1000) == DemoPattern.byte(at: 1000 + DemoPattern.period))
    }
}
