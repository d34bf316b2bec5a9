import Testing
import Wire

/// Result of a body given in pieces: the joined data, what was consumed, and the status of a violation.
struct DecodedBody: Equatable {
    var data: [UInt8] = []
    var consumed = 0
    var complete = false
    var status = 0
}

func decodeChunked(_ bytes: [UInt8], cuts: [Int] = [], maximumBodyBytes: UInt64 = .max, limits: HTTPLimits = HTTPLimits())
    -> DecodedBody
{
    var decoder = ChunkedDecoder(limits: limits, maximumBodyBytes: maximumBodyBytes)
    var result = DecodedBody()
    var start = 0
    for end in cuts + [bytes.count] {
        var piece = Array(bytes[start..<end])
        let outcome = piece.withUnsafeMutableBytes { decoder.decode($0) }
        switch outcome {
        case .needMore(let count):
            result.data += piece[..<count]
            result.consumed += piece.count
        case .complete(let count, let consumed):
            result.data += piece[..<count]
            result.consumed += consumed
            result.complete = true
            #expect(Array(bytes[(start + consumed)..<end]) == Array(piece[consumed...]))
            return result
        case .violation(let violation): return DecodedBody(status: violation.status)
        }
        start = end
    }
    return result
}

private let extensionOf256 = ";" + String(repeating: "e", count: 255)

private let goodBodies: [(String, String)] = [
    ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"), ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
    ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"), ("a\r\n0123456789\r\n000\r\n\r\n", "0123456789"),
    ("0000000000000001\r\na\r\n0\r\n\r\n", "a"), ("1;x\r\na\r\n0;y=z\r\n\r\n", "a"), ("1;x=\"q r\"\r\na\r\n0\r\n\r\n", "a"),
    ("1\(extensionOf256)\r\na\r\n0\r\n\r\n", "a"), ("1\r\na\r\n0\r\nX: y\r\n\r\n", "a"),
    ("1\r\na\r\n0\r\nX:\r\nHost: b\r\n\r\n", "a"),
    ("3\r\n\r\n\n\r\n0\r\n\r\n", "\r\n\n"), ("1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "a"),
]

private let badBodies: [(String, String, Int)] = [
    ("no digits", "\r\n", 400), ("letter", "g\r\n", 400), ("0x prefix", "0x1\r\na\r\n0\r\n\r\n", 400),
    ("sign", "+1\r\na\r\n", 400),
    ("minus", "-1\r\na\r\n", 400), ("leading space", " 1\r\na\r\n", 400), ("trailing space", "1 \r\na\r\n", 400),
    ("space before the extension", "1 ;x\r\na\r\n", 400), ("tab", "1\t\r\na\r\n", 400),
    ("17 digits", "00000000000000001\r\na\r\n", 400),
    ("wraps", "10000000000000001\r\na\r\n", 400), ("2^63", "8000000000000000\r\n", 400),
    ("2^64 - 1", "FFFFFFFFFFFFFFFF\r\n", 400),
    ("LF after size", "1\na\r\n0\r\n\r\n", 400), ("CR only after size", "1\ra\r\n", 400), ("CR CR LF", "1\r\r\na", 400),
    ("data too long", "1\r\nab\r\n0\r\n\r\n", 400), ("data too short", "2\r\na\r\n0\r\n\r\n", 400),
    ("LF after data", "1\r\na\n0\r\n\r\n", 400),
    ("no CRLF after data", "1\r\na0\r\n\r\n", 400), ("CR x after data", "1\r\na\rx0\r\n\r\n", 400),
    ("LF after the last chunk", "0\r\n\n", 400), ("bad end", "0\r\n\rx", 400),
    ("extension of 257", "1\(extensionOf256)e\r\na\r\n", 400),
    ("extensions of 257 in total", "1\(extensionOf256)\r\na\r\n1;\r\na\r\n", 400),
    ("control in the extension", "1;\0\r\na\r\n", 400),
    ("LF in the extension", "1;x\na\r\n0\r\n\r\n", 400), ("trailer without a name", "0\r\n: a\r\n\r\n", 400),
    ("trailer with a space", "0\r\nX : a\r\n\r\n", 400), ("folded trailer", "0\r\nX: a\r\n b\r\n\r\n", 400),
    ("trailer without a colon", "0\r\nX\r\n\r\n", 400), ("NUL in a trailer", "0\r\nX: \0\r\n\r\n", 400),
    ("trailer with LF", "0\r\nX: a\n\r\n", 400),
    ("too long a trailer", "0\r\nX: \(String(repeating: "a", count: 9000))\r\n\r\n", 431),
]

@Suite struct ChunkedDecoderTests {
    @Test(arguments: goodBodies)
    func good(_ text: String, _ expected: String) throws {
        let bytes = Array(text.utf8)
        let whole = decodeChunked(bytes)
        try #require(whole.complete && whole.data == Array(expected.utf8))
        for cut in 0...bytes.count { #expect(decodeChunked(bytes, cuts: [cut]) == whole) }
        #expect(decodeChunked(bytes, cuts: Array(1..<bytes.count)) == whole)
        // Nothing behind the body is consumed, and every byte of it is needed.
        #expect(!decodeChunked(Array(bytes[..<(whole.consumed - 1)])).complete)
    }

    @Test(arguments: badBodies)
    func bad(_ name: String, _ text: String, _ status: Int) {
        let bytes = Array(text.utf8)
        #expect(decodeChunked(bytes).status == status, "\(name)")
        for cut in stride(from: 0, through: bytes.count, by: bytes.count > 1000 ? 101 : 1) {
            #expect(decodeChunked(bytes, cuts: [cut]).status == status, "\(name) cut at \(cut)")
        }
    }

    @Test func bodyLimit() {
        let body = Array("5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n".utf8)
        #expect(decodeChunked(body, maximumBodyBytes: 10).complete)
        #expect(decodeChunked(body, maximumBodyBytes: 9).status == 413)
        #expect(decodeChunked(Array("7FFFFFFFFFFFFFFF\r\n".utf8), maximumBodyBytes: 9).status == 413)
        #expect(decodeChunked(Array("7FFFFFFFFFFFFFFF\r\nab".utf8)).data == [0x61, 0x62])
    }

    @Test func trailerLimit() {
        let limits = HTTPLimits(trailerBytes: 6)
        #expect(decodeChunked(Array("0\r\nX: a\r\n\r\n".utf8), limits: limits).complete)
        #expect(decodeChunked(Array("0\r\nX: ab\r\n\r\n".utf8), limits: limits).status == 431)
    }

    @Test func largeChunkInPieces() {
        var generator = Generator(seed: 5)
        let data = generator.bytes(100_000)
        let bytes = Array("186a0\r\n".utf8) + data + Array("\r\n0\r\n\r\n".utf8)
        #expect(decodeChunked(bytes, cuts: [1, 3, 100, 16384, 65000]).data == data)
    }
}
