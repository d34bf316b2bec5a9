import Testing

// Requests and the status they must be answered with: 0 is accepted, -1 is incomplete.
//
// The numbers H1 to H21 are the rules of request hygiene: ambiguous input is refused, never repaired.

struct RequestShape: Sendable, CustomTestStringConvertible {
    let name: String
    let status: Int
    let bytes: [UInt8]
    var testDescription: String { name }

    init(_ name: String, _ status: Int, _ text: String) {
        self.name = name
        self.status = status
        bytes = Array(text.utf8)
    }

    init(_ name: String, _ status: Int, bytes: [UInt8]) {
        self.name = name
        self.status = status
        self.bytes = bytes
    }

    /// A GET with these field lines after a good Host.
    static func fields(_ name: String, _ status: Int, _ lines: String...) -> RequestShape {
        RequestShape(name, status, "GET / HTTP/1.1\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n")
    }

    /// A POST with these field lines after a good Host.
    static func post(_ name: String, _ status: Int, _ lines: String...) -> RequestShape {
        RequestShape(name, status, "POST / HTTP/1.1\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n")
    }

    /// A request with this request line and a good Host.
    static func line(_ name: String, _ status: Int, _ line: String) -> RequestShape {
        RequestShape(name, status, line + "\r\nHost: a\r\n\r\n")
    }

    /// A GET with this value of Host.
    static func host(_ value: String, _ status: Int) -> RequestShape {
        RequestShape("host \(value)", status, "GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n")
    }

    /// A GET whose field value holds `byte`.
    static func valueByte(_ byte: UInt8, _ status: Int) -> RequestShape {
        RequestShape(
            "byte \(byte) in a value", status,
            bytes: Array("GET / HTTP/1.1\r\nHost: a\r\nX: b".utf8) + [byte] + Array("c\r\n\r\n".utf8))
    }

    /// A GET whose field name holds `byte`.
    static func nameByte(_ byte: UInt8, _ status: Int) -> RequestShape {
        RequestShape(
            "byte \(byte) in a name", status,
            bytes: Array("GET / HTTP/1.1\r\nHost: a\r\nX".utf8) + [byte] + Array("Y: c\r\n\r\n".utf8))
    }

    /// A GET whose target holds `byte`.
    static func targetByte(_ byte: UInt8, _ status: Int) -> RequestShape {
        RequestShape(
            "byte \(byte) in the target", status,
            bytes: Array("GET /a".utf8) + [byte] + Array("b HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
    }
}

let requestShapes: [RequestShape] = [
    requestLineShapes, targetShapes, targetByteShapes, hostShapes, fieldShapes, fieldByteShapes, framingShapes,
    expectationShapes, sizeShapes, streamShapes,
].flatMap { $0 }

let requestLineShapes: [RequestShape] = [
    .line("plain GET", 0, "GET / HTTP/1.1"),
    .line("HEAD", 0, "HEAD / HTTP/1.1"),
    .line("POST", 0, "POST / HTTP/1.1"),
    .line("PUT", 0, "PUT / HTTP/1.1"),
    .line("DELETE", 0, "DELETE / HTTP/1.1"),
    .line("PATCH", 0, "PATCH / HTTP/1.1"),
    .line("OPTIONS", 0, "OPTIONS / HTTP/1.1"),
    .line("version 1.0", 0, "GET / HTTP/1.0"),
    .line("H9 TRACE", 405, "TRACE / HTTP/1.1"),
    .line("H9 TRACK", 405, "TRACK / HTTP/1.1"),
    .line("H9 DEBUG", 405, "DEBUG / HTTP/1.1"),
    .line("H9 CONNECT", 405, "CONNECT a:443 HTTP/1.1"),
    .line("H9 CONNECT with a path", 405, "CONNECT / HTTP/1.1"),
    .line("H9 unknown method", 400, "BREW / HTTP/1.1"),
    .line("H9 method in lower case", 400, "get / HTTP/1.1"),
    .line("H9 method in mixed case", 400, "Get / HTTP/1.1"),
    .line("H9 method with a colon", 400, "GE:T / HTTP/1.1"),
    .line("H9 method with a slash", 400, "GE/T / HTTP/1.1"),
    .line("H9 method of 33 letters", 400, String(repeating: "A", count: 33) + " / HTTP/1.1"),
    .line("H9 two spaces before the target", 400, "GET  / HTTP/1.1"),
    .line("H9 two spaces before the version", 400, "GET /  HTTP/1.1"),
    .line("H9 space after the version", 400, "GET / HTTP/1.1 "),
    .line("H9 leading space", 400, " GET / HTTP/1.1"),
    .line("H9 tab for a space", 400, "GET\t/ HTTP/1.1"),
    .line("H9 tab before the version", 400, "GET /\tHTTP/1.1"),
    .line("H9 form feed for a space", 400, "GET\u{0C}/ HTTP/1.1"),
    .line("H9 vertical tab for a space", 400, "GET\u{0B}/ HTTP/1.1"),
    .line("H9 no version", 400, "GET /"),
    .line("H9 no target", 400, "GET HTTP/1.1"),
    .line("H9 method alone", 400, "GET"),
    .line("H9 empty target", 400, "GET  HTTP/1.1"),
    .line("H9 four words", 400, "GET / HTTP/1.1 x"),
    .line("H9 version 0.9", 505, "GET / HTTP/0.9"),
    .line("H9 version 1.2", 505, "GET / HTTP/1.2"),
    .line("H9 version 1.9", 505, "GET / HTTP/1.9"),
    .line("H9 version 2.0", 505, "GET / HTTP/2.0"),
    .line("H9 version 3.0", 505, "GET / HTTP/3.0"),
    .line("HTTP/2 preface", 505, "PRI * HTTP/2.0"),
    .line("H9 version with three digits", 400, "GET / HTTP/1.10"),
    .line("H9 version without minor", 400, "GET / HTTP/1"),
    .line("H9 version without dot", 400, "GET / HTTP/11"),
    .line("H9 version in lower case", 400, "GET / http/1.1"),
    .line("H9 version with letter", 400, "GET / HTTP/1.x"),
    .line("H9 version with leading zero", 400, "GET / HTTP/01.1"),
    .line("H9 version of another protocol", 400, "GET / HTTX/1.1"),
    .line("H9 version with sign", 400, "GET / HTTP/+1.1"),
    .line("H9 comma in version", 400, "GET / HTTP/1,1"),
    RequestShape("H6 bare LF after the request line", 400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    RequestShape("H6 bare CR after the request line", 400, "GET / HTTP/1.1\rHost: a\r\n\r\n"),
    RequestShape("H6 CR CR LF after the request line", 400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    RequestShape("H6 CR in the request line", 400, "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("H6 NUL in the request line", 400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("one empty line first", 0, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("two empty lines first", 400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("LF first", 400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("CR first", 400, "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("byte order mark first", 400, "\u{FEFF}GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    RequestShape("TLS hello", 400, bytes: [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03]),
]

let targetShapes: [RequestShape] = [
    .line("path and query", 0, "GET /a/b?c=d&e HTTP/1.1"),
    .line("two question marks", 0, "GET /?a?b HTTP/1.1"),
    .line("dot segments are the router's", 0, "GET /../a//b HTTP/1.1"),
    .line("malformed escape is the router's", 0, "GET /%zz HTTP/1.1"),
    .line("quotation marks", 0, "GET /\"<>|{}^`\\ HTTP/1.1"),
    .line("asterisk with OPTIONS", 0, "OPTIONS * HTTP/1.1"),
    .line("asterisk with GET", 400, "GET * HTTP/1.1"),
    .line("asterisk and more", 400, "OPTIONS *a HTTP/1.1"),
    .line("H9 fragment", 400, "GET /#a HTTP/1.1"),
    .line("H9 fragment alone", 400, "GET # HTTP/1.1"),
    .line("H9 fragment after query", 400, "GET /?a#b HTTP/1.1"),
    .line("H9 umlaut", 400, "GET /\u{FC} HTTP/1.1"),
    .line("relative path", 400, "GET a HTTP/1.1"),
    .line("query only", 400, "GET ?a HTTP/1.1"),
    .line("H10 authority form", 405, "GET a:443 HTTP/1.1"),
    .line("H10 authority form with IPv6", 405, "GET [::1]:443 HTTP/1.1"),
    .line("H10 absolute form", 0, "GET http://a/b HTTP/1.1"),
    .line("H10 absolute form, https", 0, "GET https://a/b HTTP/1.1"),
    .line("H10 absolute form in capitals", 0, "GET HTTP://A/b HTTP/1.1"),
    .line("H10 absolute form without path", 0, "GET http://a HTTP/1.1"),
    .line("H10 absolute form with query only", 0, "GET http://a?b HTTP/1.1"),
    .line("H10 absolute form, other host", 400, "GET http://b/ HTTP/1.1"),
    .line("H10 absolute form, host with a port", 400, "GET http://a:80/ HTTP/1.1"),
    .line("H10 absolute form, longer host", 400, "GET http://a.b/ HTTP/1.1"),
    .line("H10 absolute form with user", 400, "GET http://u@a/ HTTP/1.1"),
    .line("H10 absolute form with user and password", 400, "GET http://a:b@a/ HTTP/1.1"),
    .line("H10 absolute form without host", 400, "GET http:///a HTTP/1.1"),
    .line("H10 absolute form, nothing", 400, "GET http:// HTTP/1.1"),
    .line("H10 absolute form, other scheme", 400, "GET ftp://a/ HTTP/1.1"),
    .line("H10 absolute form, file", 400, "GET file:///etc/passwd HTTP/1.1"),
    .line("H10 absolute form, one slash", 400, "GET http:/a HTTP/1.1"),
    .line("H10 absolute form, backslash", 400, "GET http:\\\\a HTTP/1.1"),
    .line("H10 absolute form with fragment", 400, "GET http://a/#b HTTP/1.1"),
    RequestShape("H10 absolute form in 1.0 without Host", 400, "GET http://a/ HTTP/1.0\r\n\r\n"),
]

let targetByteShapes: [RequestShape] = ([0x00, 0x01, 0x08, 0x09, 0x0A, 0x0D, 0x1F, 0x20, 0x7F, 0x80, 0xA0, 0xFF] as [UInt8])
    .map { .targetByte($0, 400) }

let hostShapes: [RequestShape] = [
    RequestShape("H11 no Host in 1.1", 400, "GET / HTTP/1.1\r\n\r\n"),
    RequestShape("no Host in 1.0", 0, "GET / HTTP/1.0\r\n\r\n"),
    RequestShape("H11 two Hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    RequestShape("H11 two Hosts in 1.0", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    RequestShape("H11 two Hosts in different case", 400, "GET / HTTP/1.1\r\nhost: a\r\nHOST: a\r\n\r\n"),
    RequestShape("H14 Host with underscore only", 400, "GET / HTTP/1.1\r\nHo_st: a\r\n\r\n"),
    .host("a", 0), .host("A.example", 0), .host("a.example:8080", 0), .host("a-b.c", 0), .host("a_b", 0), .host("127.0.0.1", 0),
    .host("[::1]", 0), .host("[::1]:80", 0), .host("[::ffff:1.2.3.4]:65535", 0), .host("a:0", 0), .host("a.", 0),
    .host("", 400), .host(":80", 400), .host("a:", 400), .host("a:65536", 400), .host("a:123456", 400), .host("a:8o", 400),
    .host("a:-1", 400), .host("a:+1", 400), .host("a:80:80", 400), .host("u@a", 400), .host("u:p@a", 400), .host("a b", 400),
    .host("a\tb", 400), .host("a,b", 400), .host("a/b", 400), .host("a?b", 400), .host("a#b", 400), .host("a\\b", 400),
    .host("a%2eb", 400), .host("http://a", 400), .host("\u{FC}", 400), .host("[::1", 400), .host("::1", 400), .host("[]", 400),
    .host("[::1]x", 400), .host("[::1]:", 400), .host("[g::1]", 400), .host("[::1%25eth0]", 400), .host("a]", 400),
    .host("\"a\"", 400), .host("a;b", 400), .host("*", 400), .host("<a>", 400),
]

let fieldShapes: [RequestShape] = [
    .fields("no further field", 0),
    .fields("empty value", 0, "X:"),
    .fields("blanks around a value", 0, "X: \t a \t "),
    .fields("tab inside a value", 0, "X: a\tb"),
    .fields("colon inside a value", 0, "X: a:b"),
    .fields("all token characters", 0, "!#$%&'*+-.^`|~09azAZ: a"),
    .fields("H5 space before the colon", 400, "X : a"),
    .fields("H5 tab before the colon", 400, "X\t: a"),
    .fields("H5 space before the colon of Content-Length", 400, "Content-Length : 0"),
    .fields("H5 space before the colon of Transfer-Encoding", 400, "Transfer-Encoding : chunked"),
    .fields("H5 folded line", 400, "X: a", " b"),
    .fields("H5 folded line with tab", 400, "X: a", "\tb"),
    .fields("H5 folded line that looks like a field", 400, "X: a", " Content-Length: 5"),
    RequestShape("H5 first line starts with a space", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    .fields("H5 blank line that is not empty", 400, " "),
    .fields("H5 empty name", 400, ": a"),
    .fields("H5 no colon", 400, "X"),
    .fields("H5 no colon, spaces", 400, "X a"),
    .fields("H5 equals for a colon", 400, "Content-Length=5"),
    RequestShape("H6 bare LF ends a field", 400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    RequestShape("H6 bare CR ends a field", 400, "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    RequestShape("H6 CR CR LF ends a field", 400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    RequestShape("H6 head ends with LF LF", 400, "GET / HTTP/1.1\nHost: a\n\n"),
    RequestShape("H6 head ends with CRLF LF", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    RequestShape("H6 head ends with CRLF CR x", 400, "GET / HTTP/1.1\r\nHost: a\r\n\rx"),
    RequestShape("H6 vertical tab after the name", 400, "GET / HTTP/1.1\r\nHost: a\r\nX\u{0B}: a\r\n\r\n"),
    .fields("H14 underscore is dropped", 0, "Content_Length: 5"),
    .fields("H14 underscore alone", 0, "_: 5"),
    .fields("H14 underscore is still checked", 400, "Content_Length : 5"),
    .fields("H16 two Authorization", 400, "Authorization: a", "Authorization: a"),
    .fields("H16 two Content-Type", 400, "Content-Type: a/b", "content-type: a/b"),
    .fields("two Origins are the caller's", 0, "Origin: http://a", "Origin: http://a"),
    .fields("two Cookies are the caller's", 0, "Cookie: a=b", "Cookie: c=d"),
    .fields("two handshake keys are the caller's", 0, "Sec-WebSocket-Key: a", "Sec-WebSocket-Key: b"),
    .fields("two Upgrades are the caller's", 0, "Upgrade: websocket", "Upgrade: websocket", "Connection: upgrade"),
    .fields("H13 Connection names a protected field", 0, "Connection: Host, Authorization, close"),
    .fields("H17 h2c", 0, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings"),
    .fields("Connection with empty elements", 0, "Connection: ,, close ,"),
]

/// Each control character in a value, and each character that is not of a token in a name.
let fieldByteShapes: [RequestShape] = {
    var shapes: [RequestShape] = []
    for byte in UInt8.min...UInt8.max {
        let isControl = byte < 0x20 && byte != 0x09 || byte == 0x7F
        shapes.append(.valueByte(byte, isControl ? 400 : 0))
        // A colon ends the name, which leaves a good field.
        let isToken = "!#$%&'*+-.^_`|~".utf8.contains(byte) || Character(Unicode.Scalar(byte)).isASCIIAlphanumeric
        shapes.append(.nameByte(byte, isToken || byte == 0x3A ? 0 : 400))
    }
    return shapes
}()

extension Character {
    var isASCIIAlphanumeric: Bool { isASCII && (isLetter || isNumber) }
}

let framingShapes: [RequestShape] = [
    .post("length 0", 0, "Content-Length: 0"),
    .post("length 5", 0, "Content-Length: 5"),
    .post("length with blanks around", 0, "Content-Length: \t5 "),
    .post("length of 19 digits", 0, "Content-Length: 9223372036854775807"),
    .post("H3 length 2^63", 400, "Content-Length: 9223372036854775808"),
    .post("H3 length of 20 digits", 400, "Content-Length: 18446744073709551615"),
    .post("H3 length that wraps", 400, "Content-Length: 18446744073709551621"),
    .post("H3 empty length", 400, "Content-Length:"),
    .post("H3 length with plus", 400, "Content-Length: +5"),
    .post("H3 length with minus", 400, "Content-Length: -5"),
    .post("H3 negative zero", 400, "Content-Length: -0"),
    .post("H3 length with leading zero", 400, "Content-Length: 05"),
    .post("H3 two zeros", 400, "Content-Length: 00"),
    .post("H3 hexadecimal length", 400, "Content-Length: 0x5"),
    .post("H3 length with space inside", 400, "Content-Length: 5 5"),
    .post("H3 length with fraction", 400, "Content-Length: 5.0"),
    .post("H3 length with exponent", 400, "Content-Length: 1e1"),
    .post("H3 length with underscore", 400, "Content-Length: 1_0"),
    .post("H3 length in quotes", 400, "Content-Length: \"5\""),
    .post("H3 length with letters", 400, "Content-Length: 5a"),
    .post("H3 full-width digits", 400, "Content-Length: \u{FF15}"),
    .post("H3 superscript digit", 400, "Content-Length: \u{B2}"),
    .post("H2 two equal lengths", 400, "Content-Length: 5", "Content-Length: 5"),
    .post("H2 two different lengths", 400, "Content-Length: 5", "Content-Length: 6"),
    .post("H2 two lengths in different case", 400, "Content-Length: 5", "CONTENT-LENGTH: 5"),
    .post("H2 list of equal lengths", 400, "Content-Length: 5, 5"),
    .post("H2 list of different lengths", 400, "Content-Length: 5,6"),
    .post("H2 list with an empty element", 400, "Content-Length: 5,"),
    .post("chunked", 0, "Transfer-Encoding: chunked"),
    .post("chunked in capitals", 0, "TRANSFER-ENCODING: CHUNKED"),
    .post("chunked with blanks around", 0, "Transfer-Encoding: \t chunked \t"),
    .post("H1 length and chunked", 400, "Content-Length: 5", "Transfer-Encoding: chunked"),
    .post("H1 chunked and length", 400, "Transfer-Encoding: chunked", "Content-Length: 5"),
    .post("H1 length 0 and chunked", 400, "Content-Length: 0", "Transfer-Encoding: chunked"),
    .post("H1 length and unknown coding", 400, "Content-Length: 5", "Transfer-Encoding: x"),
    .post("H4 identity", 501, "Transfer-Encoding: identity"),
    .post("H4 gzip", 501, "Transfer-Encoding: gzip"),
    .post("H4 gzip, chunked", 501, "Transfer-Encoding: gzip, chunked"),
    .post("H4 chunked, chunked", 501, "Transfer-Encoding: chunked, chunked"),
    .post("H4 chunked, identity", 501, "Transfer-Encoding: chunked, identity"),
    .post("H4 chunked with comma", 501, "Transfer-Encoding: chunked,"),
    .post("H4 comma chunked", 501, "Transfer-Encoding: ,chunked"),
    .post("H4 chunked with parameter", 501, "Transfer-Encoding: chunked;q=1"),
    .post("H4 xchunked", 501, "Transfer-Encoding: xchunked"),
    .post("H4 chunkedx", 501, "Transfer-Encoding: chunkedx"),
    .post("H4 cow", 501, "Transfer-Encoding: cow"),
    .post("H4 quoted chunked", 501, "Transfer-Encoding: \"chunked\""),
    .post("H4 single-quoted chunked", 501, "Transfer-Encoding: 'chunked'"),
    .post("H4 empty coding", 501, "Transfer-Encoding:"),
    .post("H4 two coding fields", 501, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    .post("H4 two coding fields, second unknown", 501, "Transfer-Encoding: chunked", "Transfer-Encoding: x"),
    .post("H4 two coding fields, first identity", 501, "Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
    .post("H6 NUL in coding", 400, "Transfer-Encoding: chunked\0"),
    .post("H6 vertical tab before chunked", 400, "Transfer-Encoding: \u{0B}chunked"),
    .post("H5 coding folded", 400, "Transfer-Encoding:", " chunked"),
    .post("H4 Kelvin-like letters", 501, "Transfer-Encoding: chun\u{212A}ed"),
    .post("H4 chunked behind no-break space", 501, "Transfer-Encoding: \u{A0}chunked"),
    RequestShape("H4 chunked in 1.0", 400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    RequestShape("H4 unknown coding in 1.0", 400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n"),
    .fields("H21 GET with length", 0, "Content-Length: 5"),
    .fields("H21 GET chunked", 0, "Transfer-Encoding: chunked"),
    .post("H14 underscored framing is dropped", 0, "Transfer_Encoding: x", "Content_Length: y", "Content-Length: 1"),
]

let expectationShapes: [RequestShape] = [
    .post("100-continue", 0, "Expect: 100-continue", "Content-Length: 5"),
    .post("100-continue in capitals", 0, "Expect: 100-CONTINUE", "Content-Length: 5"),
    .post("H15 other expectation", 417, "Expect: 200-ok"),
    .post("H15 empty expectation", 417, "Expect:"),
    .post("H15 list", 417, "Expect: 100-continue, x"),
    .post("H15 second field", 417, "Expect: 100-continue", "Expect: x"),
]

let sizeShapes: [RequestShape] = [
    .line("target of 8192", 0, "GET /" + String(repeating: "a", count: 8191) + " HTTP/1.1"),
    .line("target of 8193", 414, "GET /" + String(repeating: "a", count: 8192) + " HTTP/1.1"),
    .line("query of 9000", 414, "GET /healthz?" + String(repeating: "a", count: 9000) + " HTTP/1.1"),
    .line("target of 20000", 414, "GET /" + String(repeating: "a", count: 20000) + " HTTP/1.1"),
    RequestShape("target of 9000, head unfinished", 414, "GET /" + String(repeating: "a", count: 9000)),
    RequestShape(
        "long target and long head", 414,
        "GET /" + String(repeating: "a", count: 9000) + " HTTP/1.1\r\nHost: a\r\nX: "
            + String(repeating: "b", count: 20000) + "\r\n\r\n"),
    .line("long target in another version", 414, "GET /" + String(repeating: "a", count: 8193) + " HTTP/2.0"),
    RequestShape("line without a space", 400, String(repeating: "A", count: 9000)),
    .fields("value too long", 431, "X: " + String(repeating: "b", count: 16384)),
    .fields("128 fields", 0, Array(repeating: "X: a", count: 127).joined(separator: "\r\n")),
    .fields("129 fields", 431, Array(repeating: "X: a", count: 128).joined(separator: "\r\n")),
    .fields("H14 dropped fields count", 431, Array(repeating: "X_Y: a", count: 128).joined(separator: "\r\n")),
    RequestShape("head of 16384", 0, bytes: headOf(16384)),
    RequestShape("head of 16385", 431, bytes: headOf(16385)),
    RequestShape("head of 16386", 431, bytes: headOf(16386)),
    RequestShape("head that never ends", 431, bytes: Array(headOf(40000).dropLast(2))),
    RequestShape("very many small fields", 431, "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "a:b\r\n", count: 5000)),
]

let streamShapes: [RequestShape] = [
    RequestShape("nothing", -1, ""),
    RequestShape("half a method", -1, "GE"),
    RequestShape("request line", -1, "GET / HTTP/1.1\r\n"),
    RequestShape("CR at the end", -1, "GET / HTTP/1.1\r"),
    RequestShape("no empty line", -1, "GET / HTTP/1.1\r\nHost: a\r\n"),
    RequestShape("half the empty line", -1, "GET / HTTP/1.1\r\nHost: a\r\n\r"),
    RequestShape("H20 second request behind a good one", 0, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\0"),
    RequestShape("H20 good request behind a bad one", 400, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
]

/// A request whose head has exactly `count` bytes.
func headOf(_ count: Int) -> [UInt8] {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: "
    return Array(start.utf8) + Array(repeating: 0x62, count: count - start.utf8.count - 4) + Array("\r\n\r\n".utf8)
}
