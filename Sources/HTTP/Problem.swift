/// Error answers of plain HTTP: `{"error":"<stable id>","message":"<text>"}`, application/json, no-store.
public struct Problem: Equatable, Sendable {
    /// Status code.
    public let status: Int
    /// Stable identifier clients may compare.
    public let identifier: String
    /// One line for people. Never configuration, addresses or errors of the system.
    public let message: String

    /// Names a problem.
    public init(_ status: Int, _ identifier: String, _ message: String) {
        self.status = status
        self.identifier = identifier
        self.message = message
    }

    /// The answer, without the fields every answer gets.
    public var response: Response {
        // Identifiers and messages are literals of the program: nothing in them needs escaping.
        let body = "{\"error\":\"\(identifier)\",\"message\":\"\(message)\"}"
        return Response(
            status: status,
            fields: [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store")], body: Array(body.utf8))
    }
}
