import CPostgres

/// A database, as its operator named it: `postgres://user:password@host:port/name?sslmode=verify-full`, or
/// `host=… port=… dbname=… user=… password=…` (libpq, section "Connection Strings"). Says where it is, never how to get in.
public struct PostgresSettings: Sendable, Hashable, CustomStringConvertible {
    /// The text, with its password.
    let source: String
    /// Host, port and name, for people.
    public let description: String

    /// Nil when the text is neither form, has an option that libpq does not know, or has its password where a host or a name should be, as
    /// one has that holds `@` or `/` and is not percent-encoded.
    public init?(_ text: String) {
        guard !text.isEmpty, !text.utf8.contains(0), let parts = Self.parts(text) else { return nil }
        let (host, port, name, service) = (parts[0], parts[1], parts[2], parts[3])
        let isHost = host.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { one in
            // `@` begins the name of an abstract socket.
            (one.hasPrefix("@") ? one.dropFirst() : one).unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "@" && $0 != "?" }
        }
        guard isHost, port.utf8.allSatisfy({ $0 == UInt8(ascii: ",") || (0x30...0x39).contains($0) }),
            name.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "@") && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "=") })
        else { return nil }
        source = text
        let place = host.isEmpty ? (service.isEmpty ? "its default host" : "service \(service)") : host
        description = place + (port.isEmpty ? "" : ":\(port)") + (name.isEmpty ? "" : "/\(name)")
    }

    private static func parts(_ text: String) -> [Substring]? {
        var bytes = [CChar](repeating: 0, count: PostgresLimits.locationBytes)
        guard text.utf8.count <= bytes.count, cpostgres_parse(text, &bytes, bytes.count) == 0 else { return nil }
        let all = String(decoding: bytes.lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return Array(all.split(separator: "\0", maxSplits: 4, omittingEmptySubsequences: false).prefix(4))
    }
}
