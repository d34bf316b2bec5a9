import Testing
import Wire

@Suite struct TraceContextTests {
    static let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    private func parse(_ text: String) -> TraceContext? {
        let text = text
        return TraceContext(text.utf8.span)
    }

    @Test func readsTheExampleOfTheRecommendation() throws {
        let context = try #require(parse(Self.example))
        #expect(context.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(context.parent == 0x00f0_67aa_0ba9_02b7)
        #expect(context.flags == 1)
    }

    @Test func idsKeepTheirZeros() throws {
        let context = try #require(parse("00-00000000000000010000000000000002-0000000000000003-00"))
        #expect(context.traceID == "00000000000000010000000000000002" && context.parent == 3)
        #expect(context.field == "00-00000000000000010000000000000002-0000000000000003-00" && parse(context.field) == context)
    }

    @Test(arguments: [
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
    ])
    func accepted(_ text: String) {
        #expect(parse(text)?.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
    }

    @Test(arguments: [
        "", "00", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
    ])
    func refused(_ text: String) {
        #expect(parse(text) == nil)
    }

    @Test func onesOwnIsValid() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<100 {
            let own = TraceContext(startedBy: &generator)
            #expect(own.traceID.utf8.count == 32)
            #expect(parse("00-\(own.traceID)-0000000000000001-00")?.traceID == own.traceID)
        }
    }
}
