// The last good set as bytes of a file, so that a restart during an outage of the issuer still serves.
//
//     sluice-keys 1\n
//     url: <where it came from>\n
//     fetched: <seconds since 1970>\n
//     etag: <value>\n                  if there is one
//     last-modified: <value>\n         if there is one
//     \n
//     <the set as it was received>
//
// Nothing signs the file: its mode and owner protect it, which are the caller's to check.

import Wire

extension KeySetLife {
    private static let mark = "sluice-keys 1"
    /// Longest part before the empty line: two validators and a URL.
    private static let headBytesMaximum = 8192
    /// A file may be from the future by as much as clocks of one machine jump when they are set.
    private static let futureSeconds: Int64 = 300
    /// Longest file.
    public static let persistedBytesMaximum = headBytesMaximum + TokenLimits.fetchBodyBytes + 2

    /// What tells this source's file from another's.
    private var identity: String {
        switch origin {
        case .url(let location): location.description
        case .discovery(let issuer): "discovery " + issuer
        case .file(let path): "file " + path
        }
    }

    /// The file's contents: the last good set, or nothing when all keys were purged. Once for each change (`wantsPersisting`).
    public mutating func persisted(nowMilliseconds: Int64, wallSeconds: Int64) -> [UInt8] {
        wantsPersisting = false
        persistedMilliseconds = nowMilliseconds
        guard !entries.isEmpty, !body.isEmpty, let age = ageMilliseconds(nowMilliseconds: nowMilliseconds) else { return [] }
        var head = Self.mark + "\nurl: \(identity)\nfetched: \(wallSeconds - age / 1000)\n"
        if let etag { head += "etag: \(etag)\n" }
        if let lastModified { head += "last-modified: \(lastModified)\n" }
        return Array((head + "\n").utf8) + body
    }

    /// Takes the contents of a file written earlier, if they are this source's and nothing was loaded yet. What is too old is dead and
    /// serves nobody. False when the file is of no use.
    public mutating func restore(_ file: [UInt8], nowMilliseconds: Int64, wallSeconds: Int64) -> Bool {
        let newline = UInt8(ascii: "\n")
        guard file.count <= Self.persistedBytesMaximum,
            let end = file.indices.dropLast().first(where: { file[$0] == newline && file[$0 + 1] == newline }),
            end <= Self.headBytesMaximum
        else { return false }
        let lines = file[..<end].split(separator: newline).map { String(decoding: $0, as: UTF8.self) }
        func value(_ name: String) -> String? {
            lines.first { $0.hasPrefix(name + ": ") }.map { String($0.dropFirst(name.count + 2)) }
        }
        guard lines.first == Self.mark, value("url") == identity, let fetched = value("fetched").flatMap({ Int64($0) }), fetched >= 0,
            fetched <= wallSeconds + Self.futureSeconds
        else { return false }
        let body = Array(file[(end + 2)...])
        guard let document = try? KeySetDocument(json: body) else { return false }
        // What was written under a clock far ahead has no age that could be believed, so it was refused.
        let age = max(0, wallSeconds - fetched) * 1000
        return restore(
            document, body: body, etag: Self.fit(value("etag")), lastModified: Self.fit(value("last-modified")), ageMilliseconds: age,
            now: nowMilliseconds)
    }

    /// A validator that may be sent.
    private static func fit(_ value: String?) -> String? {
        guard let value else { return nil }
        return KeyResponse(status: 200, fields: [KeyFetch.Field(name: "etag", value: value)], body: []).validator("etag")
    }
}
