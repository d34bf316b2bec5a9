import Testing
import Wire

@testable import Demo

@Suite struct ZoneTests {
    /// A query as a stub resolver writes it.
    private func query(_ name: String, _ type: UInt16, identifier: UInt16 = 0x1234, recordClass: UInt16 = 1) -> [UInt8] {
        let labels = name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        return [UInt8(identifier >> 8), UInt8(identifier & 255), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + labels
            + [0, UInt8(type >> 8), UInt8(type & 255), UInt8(recordClass >> 8), UInt8(recordClass & 255)]
    }

    private struct Found: Equatable {
        var code: UInt16 = 0
        var answers: [String] = []
        var authorities = 0
    }

    /// Reads an answer with the walk the gateway itself reads answers with.
    private func ask(_ name: String, _ type: UInt16, recordClass: UInt16 = 1) throws -> Found {
        let answer = DemoZone.answer(query(name, type, recordClass: recordClass).span)
        let message = try #require(answer)
        #expect(DNSHeader.identifier(message.span) == 0x1234)
        let flags = DNSHeader.flags(message.span)
        #expect(flags & DNSHeader.response != 0 && flags & DNSHeader.recursionDesired != 0)
        var found = Found(code: flags & DNSHeader.codeMask)
        let questionEnd = query(name, type).count
        var walk = DNSRecordWalk(message.span, from: questionEnd)
        while let record = walk.next(message.span) {
            if record.section == .answer {
                let owner = DNSName.text(message.span, record.name) ?? "?"
                let alias = record.type == DNSType.cname ? DNSName.text(message.span, record.data.lowerBound) : nil
                found.answers.append("\(owner) \(record.type) \(alias ?? message[record.data].map { "\($0)" }.joined(separator: "."))")
                #expect(record.timeToLive == DemoZone.lifetimeSeconds)
            } else {
                found.authorities += 1
                #expect(record.type == DNSType.soa && record.timeToLive == DemoZone.negativeLifetimeSeconds)
            }
        }
        #expect(!walk.isMalformed && walk.end == message.count)
        return found
    }

    @Test func addresses() throws {
        #expect(try ask("sluice.example", DNSType.a) == Found(answers: ["sluice.example 1 192.0.2.10"]))
        #expect(try ask("SLUICE.Example", DNSType.a).answers == ["sluice.example 1 192.0.2.10"])
        #expect(try ask("sluice.example", DNSType.aaaa).answers == ["sluice.example 28 32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.16"])
        #expect(try ask("many.sluice.example", DNSType.a).answers.count == 8)
    }

    @Test func anAliasBringsWhatItStandsFor() throws {
        #expect(try ask("www.sluice.example", DNSType.a).answers == ["www.sluice.example 5 sluice.example", "sluice.example 1 192.0.2.10"])
        #expect(try ask("www.sluice.example", DNSType.cname).answers == ["www.sluice.example 5 sluice.example"])
    }

    @Test func absence() throws {
        #expect(try ask("six.sluice.example", DNSType.a) == Found(authorities: 1))
        #expect(try ask("nothing.sluice.example", DNSType.a) == Found(code: DNSCode.nameError, authorities: 1))
        #expect(try ask("example.org", DNSType.a) == Found(code: DNSCode.refused))
        #expect(try ask("notsluice.example", DNSType.a) == Found(code: DNSCode.refused))
        #expect(try ask("sluice.example", DNSType.a, recordClass: 3) == Found(code: DNSCode.refused))
    }

    @Test func whatIsNoQueryGetsNoAnswer() {
        let whole = query("sluice.example", 1)
        for bytes in [[], [UInt8](repeating: 0, count: 12)] + whole.indices.map({ Array(whole[..<$0]) }) {
            let answer = DemoZone.answer(bytes.span)
            #expect(answer == nil, "\(bytes.count) bytes")
        }
    }
}
