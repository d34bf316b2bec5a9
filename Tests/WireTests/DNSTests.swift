import Foundation
import Testing

@testable import Wire

private func written(_ capacity: Int = 1024, _ fill: (inout ByteWriter) -> Bool) -> [UInt8]? { [UInt8](capacity: capacity, fill) }

private func wire(_ name: String) -> [UInt8] { written { DNSName.encode(Array(name.utf8).span, to: &$0) } ?? [] }

/// A message of a header with these numbers, and bytes.
func dnsMessage(_ id: UInt16, _ flags: UInt16, _ counts: (UInt16, UInt16, UInt16, UInt16), _ rest: [UInt8]...) -> [UInt8] {
    let numbers = [id, flags, counts.0, counts.1, counts.2, counts.3]
    return numbers.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] } + rest.flatMap { $0 }
}

private func question(_ name: String, _ type: UInt8) -> [UInt8] { wire(name) + [0, type, 0, 1] }

private func record(_ name: [UInt8], _ type: UInt8, _ seconds: UInt32, _ data: [UInt8]) -> [UInt8] {
    name + [0, type, 0, 1] + (0..<4).map { UInt8(truncatingIfNeeded: seconds >> UInt32(24 - 8 * $0)) }
        + [UInt8(data.count >> 8), UInt8(data.count & 255)] + data
}

private func judge(_ message: [UInt8], _ name: String, _ type: UInt16 = 1, id: UInt16 = 1) -> DNSResponse.Judgement {
    DNSResponse.judge(message.span, identifier: id, name: wire(name).span, type: type, recordClass: 1)
}

private func response(_ judgement: DNSResponse.Judgement) -> DNSResponse? {
    if case .answer(let response) = judgement { return response }
    return nil
}

@Suite struct DNSNameTests {
    @Test(arguments: ["", "a", "example.com", String(repeating: "a", count: 63) + ".b", "xn--bcher-kva.example"])
    func roundTrip(name: String) {
        let bytes = wire(name)
        #expect(DNSName.end(bytes.span, 0) == bytes.count)
        #expect(DNSName.text(bytes.span, 0) == name)
        #expect(DNSName.equals(bytes.span, 0, bytes.span) == true)
    }

    @Test func lengthsAtTheirBounds() {
        let part = String(repeating: "a", count: 63)
        let longest = "\(part).\(part).\(part)." + String(repeating: "b", count: 61)
        #expect(wire(longest).count == 255)
        #expect(DNSName.end(wire(longest).span, 0) == 255)
        for bad in [longest + "b", String(repeating: "a", count: 64), "a..b", ".a", "a."] {
            #expect(written { DNSName.encode(Array(bad.utf8).span, to: &$0) } == nil, "\(bad)")
        }
        #expect(DNSName.end(([63] + [UInt8](repeating: 97, count: 62)).span, 0) == nil)
        let label = [63] + [UInt8](repeating: 97, count: 63)
        let tooLong: [UInt8] = label + label + label + label + [0]
        #expect(DNSName.end(tooLong.span, 0) == nil)
    }

    @Test func pointers() {
        // 0: "b" root, 3: "a" -> 0, 7: -> 3
        let bytes: [UInt8] = [1, 0x42, 0, 1, 0x61, 0xC0, 0, 0xC0, 3]
        #expect(DNSName.end(bytes.span, 3) == 7 && DNSName.end(bytes.span, 7) == 9)
        #expect(DNSName.text(bytes.span, 7) == "a.b")
        #expect(DNSName.equals(bytes.span, 7, wire("a.b").span) == true)
        #expect(DNSName.equals(bytes.span, 7, wire("a").span) == false)
        #expect(DNSName.equals(bytes.span, 7, wire("a.b.c").span) == false)
        let malformed: [[UInt8]] = [[0xC0, 0], [0xC0], [0xC0, 9], [0x40, 1], [0x80, 1], [1, 97, 0xC0, 0], []]
        for bad in malformed {
            #expect(DNSName.end(bad.span, 0) == nil)
        }
        // A chain of 64 pointers is followed, one of 65 is not.
        func chain(_ count: Int) -> [UInt8] {
            [0, 0] + (0..<count).flatMap { [0xC0, UInt8(2 * $0)] }
        }
        #expect(DNSName.end(chain(64).span, 2 * 64) != nil)
        #expect(DNSName.end(chain(65).span, 2 * 65) == nil)
    }

    @Test func oddBytesAreEscaped() {
        let odd: [UInt8] = [5, 0x2E, 0x5C, 0x07, 0x41, 0xFF, 0]
        #expect(DNSName.text(odd.span, 0) == "\\.\\\\\\007a\\255")
    }
}

@Suite struct DNSQueryTests {
    private func parse(_ message: [UInt8]) -> (DNSQuery, [UInt8])? {
        var query: DNSQuery?
        let name = written(255) { writer in
            query = DNSQuery.parse(message.span, canonicalName: &writer)
            return query != nil
        }
        guard let query, let name else { return nil }
        return (query, name)
    }

    @Test func theQuestionIsRead() throws {
        let message = dnsMessage(0x1234, 0x0110, (1, 0, 0, 0), question("ExAmple.com", 28))
        let (query, name) = try #require(parse(message))
        #expect(query.identifier == 0x1234 && query.flags == 0x0110 && query.type == 28 && query.recordClass == 1)
        #expect(query.end == message.count && name == wire("example.com"))
        #expect(query.traits(message.span) == [.unchecked])
    }

    @Test func whatIsNoQueryIsRefused() {
        let good = dnsMessage(1, 0, (1, 0, 0, 0), question("a", 1))
        #expect(parse(good) != nil)
        for count in 0..<good.count { #expect(parse(Array(good[..<count])) == nil) }
        #expect(parse(dnsMessage(1, 0, (0, 0, 0, 0), question("a", 1))) == nil)
        #expect(parse(dnsMessage(1, 0, (2, 0, 0, 0), question("a", 1), question("b", 1))) == nil)
        #expect(parse(dnsMessage(1, 0, (1, 0, 0, 0), [0xC0, 12, 0, 1, 0, 1])) == nil)
    }

    @Test func traitsTellQueriesApart() throws {
        func traits(_ message: [UInt8]) -> DNSQuery.Traits? { parse(message)?.0.traits(message.span) }
        let ask = question("a", 1)
        let options: [UInt8] = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 0), ask)) == [])
        #expect(traits(dnsMessage(1, 0x0000, (1, 0, 0, 0), ask)) == [.unrecursed])
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 1), ask, options)) == [.extended, .wantsSignatures])
        // Not ordinary: an answer, another opcode, records, bytes behind the end.
        #expect(traits(dnsMessage(1, 0x8100, (1, 0, 0, 0), ask)) == nil)
        #expect(traits(dnsMessage(1, 0x2900, (1, 0, 0, 0), ask)) == nil)
        #expect(traits(dnsMessage(1, 0x0100, (1, 1, 0, 0), ask)) == nil)
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 0), ask, [0])) == nil)
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 1), ask, options, [0])) == nil)
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 1), ask, [0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0])) == nil)  // EDNS version 1
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 1), ask, [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0])) == nil)
        #expect(traits(dnsMessage(1, 0x0100, (1, 0, 0, 1), ask, record([0], 1, 0, [1, 2, 3, 4]))) == nil)
    }

    @Test func ownQueriesAndErrors() {
        let query = written { DNSQuery.write(name: wire("a.b").span, type: 28, to: &$0) }
        #expect(query == dnsMessage(0, 0x0100, (1, 0, 0, 0), question("a.b", 28)))
        let error = written { DNSErrorAnswer.write(identifier: 0, queryFlags: 0, code: 2, to: &$0) }
        #expect(error == [0, 0, 0x80, 0x82, 0, 0, 0, 0, 0, 0, 0, 0])
    }
}

@Suite struct DNSResponseTests {
    private let ask = question("a.test", 1)
    private let pointer: [UInt8] = [0xC0, 12]

    @Test func onlyTheAnswerToTheQuestionCounts() {
        let good = dnsMessage(1, 0x8180, (1, 1, 0, 0), ask, record(pointer, 1, 7, [1, 2, 3, 4]))
        #expect(response(judge(good, "a.test"))?.lifetimeSeconds(maximum: 300, negativeDefault: 60) == 7)
        #expect(response(judge(dnsMessage(1, 0x8180, (1, 0, 0, 0), question("A.Test", 1)), "a.test")) != nil)
        #expect(judge(good, "a.test", id: 2) == .foreign)
        #expect(judge(good, "b.test") == .foreign)
        #expect(judge(good, "a.test", 28) == .foreign)
        #expect(judge(dnsMessage(1, 0x0100, (1, 0, 0, 0), ask), "a.test") == .foreign)
        #expect(judge(dnsMessage(1, 0x8182, (0, 0, 0, 0)), "a.test") == .foreign)
        for count in 0..<12 { #expect(judge(Array(good[..<count]), "a.test") == .foreign) }
        for count in 12 + ask.count..<good.count { #expect(judge(Array(good[..<count]), "a.test") == .malformed) }
    }

    @Test func truncatedAnswersMayEndAnywhere() throws {
        let cut = dnsMessage(1, 0x8380, (1, 9, 0, 0), ask, [0xC0])
        #expect(try #require(response(judge(cut, "a.test"))).isTruncated)
    }

    @Test func howLongAnAnswerIsKept() {
        func lifetime(_ flags: UInt16, _ counts: (UInt16, UInt16, UInt16, UInt16), _ records: [UInt8]) -> Int? {
            response(judge(dnsMessage(1, flags, counts, ask, records), "a.test"))?.lifetimeSeconds(maximum: 300, negativeDefault: 60)
        }
        let address: [UInt8] = [1, 2, 3, 4]
        #expect(lifetime(0x8180, (1, 2, 0, 0), record(pointer, 1, 900, address) + record(pointer, 1, 400, address)) == 300)
        #expect(lifetime(0x8180, (1, 2, 0, 0), record(pointer, 1, 90, address) + record(pointer, 1, 0, address)) == 0)
        #expect(lifetime(0x8180, (1, 1, 0, 0), record(pointer, 1, 0x8000_0001, address)) == 0)
        #expect(lifetime(0x8183, (1, 0, 0, 0), []) == 60)
        #expect(lifetime(0x8180, (1, 0, 1, 0), record(pointer, 2, 5, [0])) == 60)
        #expect(lifetime(0x8180, (1, 0, 1, 0), record([0], 6, 500, [0, 0] + [UInt8](repeating: 0, count: 19) + [33])) == 33)
        #expect(lifetime(0x8182, (1, 0, 0, 0), []) == 0)
        #expect(lifetime(0x8185, (1, 1, 0, 0), record(pointer, 1, 90, address)) == 0)
        // The TTL field of OPT is none, and one in the additional section would not count.
        #expect(lifetime(0x8180, (1, 1, 0, 1), record(pointer, 1, 90, address) + record([0], 41, 0, [])) == 90)
    }

    /// BADVERS has 0 in the header: kept as an answer without records, it would hide the name from everybody.
    @Test func answersWithAnExtendedCodeAreNotKept() {
        func lifetime(_ flags: UInt16, _ extended: UInt32) -> Int? {
            response(judge(dnsMessage(1, flags, (1, 0, 0, 1), ask, record([0], 41, extended, [])), "a.test"))?
                .lifetimeSeconds(maximum: 300, negativeDefault: 60)
        }
        #expect(lifetime(0x8180, 1 << 24) == 0)
        #expect(lifetime(0x8183, 1 << 24) == 0)
        #expect(lifetime(0x8180, 0x8000) == 60)
        let message = dnsMessage(
            1, 0x8180, (1, 1, 0, 1), ask, record(pointer, 1, 7, [1, 2, 3, 4]), record([0], 41, 1 << 24, []))
        #expect(response(judge(message, "a.test"))?.lifetimeSeconds(maximum: 300, negativeDefault: 60) == 0)
    }

    @Test func optionsForOneClientAreSeen() {
        func isPersonal(_ options: [UInt8]) -> Bool? {
            response(judge(dnsMessage(1, 0x8180, (1, 0, 0, 1), ask, record([0], 41, 0, options)), "a.test"))?.isPersonal
        }
        #expect(isPersonal([]) == false)
        #expect(isPersonal([0, 12, 0, 2, 0, 0, 0, 15, 0, 2, 0, 3]) == false)
        #expect(isPersonal([0, 10, 0, 2, 0, 0]) == true)
        #expect(isPersonal([0, 12, 0]) == true)
    }

    @Test func ageLowersEveryTTLButThatOfOptions() {
        let address: [UInt8] = [1, 2, 3, 4]
        func message(_ seconds: UInt32, _ other: UInt32) -> [UInt8] {
            dnsMessage(1, 0x8180, (1, 2, 1, 2), ask, record(pointer, 1, seconds, address), record(pointer, 1, other, address),
                       record([0], 2, seconds, [0]), record(pointer, 1, seconds, address), record([0], 41, 0x1234_5678, []))
        }
        var bytes = message(300, 5)
        var span = bytes.mutableSpan
        DNSResponse.age(&span, questionEnd: 12 + ask.count, seconds: 7)
        #expect(bytes == message(293, 0))
    }

    @Test func vectors() throws {
        let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        let beside = "../../../shared/vectors/aero/observed-gateway.json"
        let file = root.deletingLastPathComponent().appendingPathComponent(beside).standardizedFileURL
        guard let data = try? Data(contentsOf: file) else { return print("observed vectors skipped: \(file.path) is not there") }
        let all = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        func list(_ key: String) throws -> [[String: Any]] { try #require(all[key] as? [[String: Any]]) }
        func bytes(_ entry: [String: Any]) throws -> [UInt8] { Array(try #require(Data(base64Encoded: entry["message_b64"] as! String))) }
        for entry in try list("dns_query") {
            let text = (entry["name"] as! String).lowercased().split(separator: ".").joined(separator: ".")
            var message = try #require(written { DNSQuery.write(name: wire(text).span, type: UInt16(entry["type"] as! Int), to: &$0) })
            let id = entry["id"] as! Int
            (message[0], message[1]) = (UInt8(id >> 8), UInt8(id & 255))
            #expect(message == (try bytes(entry)))
        }
        for entry in try list("dns_error") {
            let (id, code) = (UInt16(entry["id"] as! Int), UInt16(entry["rcode"] as! Int))
            let flags = UInt16(entry["queryFlags"] as? Int ?? 0)
            let asked = entry["question"] as? [String: Any]
            let made = written { writer in
                guard let asked else { return DNSErrorAnswer.write(identifier: id, queryFlags: flags, code: code, to: &writer) }
                let name = wire((asked["name"] as! String).lowercased())
                let query = DNSQuery(identifier: id, flags: flags, type: UInt16(asked["type"] as! Int), recordClass: 1, end: 0)
                return DNSErrorAnswer.write(query, name: name.span, code: code, to: &writer)
            }
            #expect(made == (try bytes(entry)))
        }
        for entry in try list("dns_response") {
            let message = try bytes(entry)
            let type = ((entry["json"] as! [String: Any])["Question"] as! [[String: Any]])[0]["type"] as! Int
            let found = try #require(response(judge(message, "w.test", UInt16(type), id: 0xABCD)), "\(entry["name"]!)")
            #expect(found.lifetimeSeconds(maximum: 300, negativeDefault: 60) == entry["cacheTtlSeconds"] as? Int ?? 0, "\(entry["name"]!)")
        }
    }
}
