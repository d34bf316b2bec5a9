import Testing
import Wire

@testable import DNS

private func parse(_ query: String) -> Result<DNSDocument.Question, DNSDocument.Fault> {
    let bytes = Array(query.utf8)
    do throws(DNSDocument.Fault) {
        return .success(try DNSDocument.parse(bytes.span, 0..<bytes.count))
    } catch {
        return .failure(error)
    }
}

private func wire(_ name: String) -> [UInt8] {
    name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + $0.utf8 } + [0]
}

/// Parameters of `/dns-json`.
@Suite struct DocumentQuestionTests {
    @Test(arguments: [
        ("name=example.test&type=A", "example.test", 1), ("type=aaaa&name=example.test", "example.test", 28),
        ("name=example.test&type=CName", "example.test", 5), ("name=example.test&type=28", "example.test", 28),
        ("name=%20Example.TEST..+&type=1", "example.test", 1), ("n%61me=a&typ%65=5&other=1&other=2", "a", 5),
        ("name=a%2Etest&type=A", "a.test", 1), ("Name=b&name=a&Type=X&type=A", "a", 1),
    ])
    func isRead(_ query: String, _ name: String, _ type: UInt16) {
        #expect(parse(query) == .success(DNSDocument.Question(name: wire(name), type: type)))
    }

    @Test(arguments: [
        ("", DNSDocument.Fault.missingName), ("type=A", .missingName), ("name=&type=A", .missingName), ("name=+..&type=A", .missingName),
        ("name=a", .missingType), ("name=a&type=", .missingType), ("name=a&type=MX", .type), ("name=a&type=15", .type),
        ("name=a&type=A+", .type), ("name=a&type=01", .type), ("name=a..b&type=A", .name), ("name=.a&type=A", .name),
        ("name=a&name=a&type=A", .repeated), ("name=a&type=A&type=A", .repeated), ("n%61me=a&name=a&type=A", .repeated),
    ])
    func isRefused(_ query: String, _ fault: DNSDocument.Fault) {
        #expect(parse(query) == .failure(fault))
    }

    @Test func lengthsAtTheirBounds() {
        let label = String(repeating: "a", count: 63)
        let longest = "\(label).\(label).\(label)." + String(repeating: "b", count: 61)
        #expect(parse("name=\(longest).&type=A") == .success(DNSDocument.Question(name: wire(longest), type: 1)))
        #expect(parse("name=\(longest)b&type=A") == .failure(.name))
        #expect(parse("name=\(label)a&type=A") == .failure(.name))
    }

    @Test func messagesAreThoseOfTheTable() {
        #expect(DNSDocument.Fault.missingName.message == "Missing 'name' query parameter")
        #expect(DNSDocument.Fault.missingType.message == "Missing 'type' query parameter")
        #expect(DNSDocument.Fault.type.message == "Invalid DNS record type")
    }
}

/// The document of an answer.
@Suite struct DocumentTests {
    private func document(_ flags: UInt16, _ records: [[UInt8]]) -> String {
        let counts: [UInt8] = [0, 1, 0, UInt8(records.count), 0, 0, 0, 0]
        let head: [UInt8] = [0, 7, UInt8(flags >> 8), UInt8(flags & 255)] + counts
        let message = head + wire("a.test") + [0, 1, 0, 1] + records.flatMap { $0 }
        var text: [UInt8] = []
        DNSDocument.write(message.span, name: "a.test", type: 1, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    private func record(_ type: UInt8, _ data: [UInt8], name: [UInt8] = [0xC0, 12]) -> [UInt8] {
        name + [0, type, 0, 1, 0, 0, 1, 44, 0, UInt8(data.count)] + data
    }

    private let front = "\"Question\":[{\"name\":\"a.test\",\"type\":1}]"

    @Test func flagsAreNamed() {
        let all = "\"TC\":true,\"RD\":true,\"RA\":true,\"AD\":true,\"CD\":true"
        #expect(document(0x83B3, []) == "{\"Status\":3,\(all),\(front)}")
        #expect(document(0x8000, []) == "{\"Status\":0,\(all.replacing("true", with: "false")),\(front)}")
    }

    @Test func addressesAndAliasesAreShownInOrderAndNothingElse() {
        let six: [UInt8] = [0x20, 1, 0xD, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]
        let text = document(0x8180, [
            record(5, wire("B.Test")), record(16, [1, 65]), record(1, [192, 0, 2, 1], name: wire("B.Test")), record(28, six),
            record(1, [1, 2]),
        ])
        let answers = [
            "{\"name\":\"a.test\",\"type\":5,\"TTL\":300,\"data\":\"b.test\"}",
            "{\"name\":\"b.test\",\"type\":1,\"TTL\":300,\"data\":\"192.0.2.1\"}",
            "{\"name\":\"a.test\",\"type\":28,\"TTL\":300,\"data\":\"2001:db8::1\"}",
        ]
        #expect(text.hasSuffix("\(front),\"Answer\":[\(answers.joined(separator: ","))]}"), "\(text)")
    }

    @Test func whatIsNoTextIsEscaped() {
        #expect(document(0x8180, [record(5, [3, 0x22, 0x5C, 0x0A, 0])]).contains("\"data\":\"\\\"\\\\\\\\\\\\010\""))
    }
}
