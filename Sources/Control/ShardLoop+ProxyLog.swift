import HTTP
import Policy
import WebSocketProxy

/// What the log says of the JWT proxy's clients, in the names of its specification (section 21.4).
///
/// - A line when a session opens, one when it ends, and one for whoever is refused, at most `FailureLines.linesPerSecond` for a reason.
/// - Nothing of a token but the claims that name it. Texts of the network are cut at 256 bytes; the writer escapes them.
extension ShardLoop {
    /// Longest text of a client that is told, in bytes.
    private static let excerptBytes = 256
    /// A word of a received reason that is longer is no word: it may be part of a credential.
    private static let longestWordCharacters = 32

    /// Writes what became of a client of the proxy.
    func logProxy(_ report: ProxyReport, _ visitor: ProxyVisitor?) {
        switch report {
        case .refused(let record, let status, let reason):
            guard let suppressed = admitLine(reason), beginProxy("upgrade", record, visitor) else { return }
            log.field("status", status)
            log.field("reason", reason)
            if suppressed > 0 { log.field("suppressed", suppressed) }
        case .opened(let record):
            guard beginProxy("websocket opened", record, visitor) else { return }
            log.field("status", 101)
        case .dialled: return
        case .denied(let record, let denial):
            guard let suppressed = admitLine("topic"), beginProxy("topic refused", record, visitor) else { return }
            log.field("action", denial.action.label)
            log.field("topic", Self.cut(denial.topic))
            if suppressed > 0 { log.field("suppressed", suppressed) }
        case .ended(let record, let summary):
            var suppressed = 0
            if summary.cause == .refused || summary.cause == .firstDataLate || summary.cause == .firstDataTooBig {
                guard let count = admitLine("\(summary.cause.label)") else { return }
                suppressed = count
            }
            guard beginProxy("websocket ended", record, visitor) else { return }
            logSummary(summary)
            if suppressed > 0 { log.field("suppressed", suppressed) }
        }
        log.commit()
    }

    private func admitLine(_ reason: String) -> Int? {
        guard log.isEnabled(.info) else { return nil }
        return proxy.common.lines.admit(reason, nowMilliseconds: MonotonicClock.milliseconds)
    }

    private func beginProxy(_ message: StaticString, _ record: ConnectionRecord, _ visitor: ProxyVisitor?) -> Bool {
        let now = WallClock.nowMicroseconds
        guard log.begin(.info, message, timeMilliseconds: now / 1000) else { return false }
        log.field("ts", Timestamp.rfc3339(microseconds: now))
        log.field("module", "jwt")
        log.field("shard", shard.index)
        if let connection = visitor?.connection { log.field("conn_id", "\(connection)") }
        log.field("request_id", Self.cut(record.requestID))
        log.field("traceId", record.traceID)
        log.field("path", Self.cut(record.path))
        log.field("client_ip", record.client)
        if let visitor { logVisitor(visitor) }
        return true
    }

    private func logVisitor(_ visitor: ProxyVisitor) {
        log.field("route", visitor.routeName)
        log.field("protocol", visitor.spokenLabel)
        if let endpoint = visitor.endpoint { log.field("upstream", endpoint.name) }
        guard let token = visitor.token else { return }
        log.field("sub", visitor.policy.draft.hashesSubject ? proxy.common.subjectDigest(token.subject) : Self.cut(token.subject))
        log.field("iss", Self.cut(token.issuer))
        if let keyID = token.keyID { log.field("kid", Self.cut(keyID)) }
        log.field("alg", token.algorithm.rawValue)
        if let tokenID = token.tokenID { log.field("jti", Self.cut(tokenID)) }
    }

    private func logSummary(_ summary: ProxySummary) {
        log.field("duration_ms", Int(clamping: summary.milliseconds))
        log.field("bytes_up", Int(clamping: summary.bytesUp))
        log.field("bytes_down", Int(clamping: summary.bytesDown))
        log.field("messages_up", Int(clamping: summary.messagesUp))
        log.field("messages_down", Int(clamping: summary.messagesDown))
        log.field("close_from", summary.closeFrom.label)
        log.field("close_code", Int(summary.closeCode))
        log.field("cause", summary.cause.label)
        log.field("reason", summary.reason.isEmpty ? "\(summary.cause.label)" : Self.told(summary.reason))
        log.field("stall_ms", Int(clamping: summary.stallUpMilliseconds &+ summary.stallDownMilliseconds))
    }

    /// At most so many bytes, and whole characters of UTF-8; what was cut says so.
    static func cut(_ text: String) -> String {
        guard text.utf8.count > excerptBytes else { return Quantity.excerpt(text, characters: excerptBytes) }
        let mark = "…"
        var end = text.utf8.index(text.startIndex, offsetBy: excerptBytes - mark.utf8.count)
        while end.samePosition(in: text.unicodeScalars) == nil { end = text.utf8.index(before: end) }
        return Quantity.excerpt(String(text[..<end]), characters: excerptBytes) + mark
    }

    /// A reason that came in a Close, without what may be part of a credential.
    static func told(_ reason: String) -> String {
        reason.split(separator: " ", omittingEmptySubsequences: false)
            .map { $0.utf8.count > longestWordCharacters ? "…" : String($0) }.joined(separator: " ")
    }

    /// Writes what fetching keys came to, when that is news.
    func logKeys(_ notice: KeyKeeper.Notice) {
        let isGood = notice.result.isSuccess || notice.result == .discovered
        guard notice.result != .late,
            log.begin(isGood ? .info : .warn, isGood ? "key set refreshed" : "key set not refreshed",
                      timeMilliseconds: WallClock.nowMilliseconds)
        else { return }
        log.field("provider", notice.provider)
        log.field("trigger", notice.trigger.rawValue)
        log.field("result", notice.result.rawValue)
        log.field("keys", notice.keys)
        log.commit()
    }
}
