import Testing

@testable import Wire

@Suite struct HTTPStatusTests {
    /// Every status that this program answers with (RFC 9110 section 15, RFC 6585).
    @Test(arguments: [
        100, 101, 200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 422, 426, 429, 431, 500, 501, 502, 503, 504,
        505,
    ])
    func hasItsPhrase(_ status: Int) { #expect("\(HTTPStatus.reason(status))" != "Status") }

    @Test func phrasesAreThoseOfTheRegistry() {
        #expect("\(HTTPStatus.reason(422))" == "Unprocessable Content" && "\(HTTPStatus.reason(414))" == "URI Too Long")
        #expect("\(HTTPStatus.reason(299))" == "Status")
    }
}
