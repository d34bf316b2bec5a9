import HTTP
import SessionGateway
import Wire

/// The access log: what was asked, by whom, what came of it.
///
/// - A request has one record at its end, level info (`request`), and one at its beginning, level debug
///   (`request started`), for those who look for requests that never end.
/// - A WebSocket has one when it is answered (`websocket opened`, or `upgrade` with the status it was refused with), and
///   one at its end (`websocket ended`) with bytes each way, duration and cause, level info. One of `/udp` has another when its
///   session is ready (`udp_ws_connected`), and ends with `udp_ws_disconnected`, by the names the relay's operators know.
/// - All carry the request id and the trace id, by which they are found together. Queries, cookies and tokens are never
///   written: a query may name a token, so of a target only its path is.
struct RequestAccess {
    let requestID: String
    let traceID: String
    let method: String
    let path: String
    /// Peer of the socket, and who is behind it when a proxy is trusted.
    let peer: String
    let client: String
    let startedSeconds: Double
}

extension ShardLoop {
    /// The trace a request belongs to: the caller's, or, for the log only, one of its own. More than one field is none.
    func trace(_ request: RequestView) -> TraceContext {
        if request.count(.traceparent) == 1, let value = request.first(.traceparent), let trace = TraceContext(value.utf8.span) {
            return trace
        }
        return TraceContext(startedBy: &numbers)
    }

    /// Keeps what the end record needs and writes the start record; nil when the log is not interested in requests.
    func beginAccess(_ request: RequestView, _ requestID: String, headIsComplete: Bool = true) -> RequestAccess? {
        guard log.isEnabled(.info) else { return nil }
        let access = RequestAccess(
            requestID: requestID, traceID: trace(request).traceID, method: headIsComplete ? "\(request.method.name)" : "",
            path: headIsComplete ? request.path : "", peer: request.peer.host, client: gateway.clientText(request),
            startedSeconds: MonotonicClock.seconds)
        if log.begin(.debug, "request started", timeMilliseconds: WallClock.nowMilliseconds) {
            write(access)
            log.commit()
        }
        return access
    }

    /// Writes the end record. `bytes` are those of the body.
    /// `suppressed`: lines of this kind that were left out before it.
    func endAccess(_ access: RequestAccess?, status: Int, bytes: UInt64, _ message: StaticString = "request", suppressed: Int = 0) {
        guard let access, log.begin(.info, message, timeMilliseconds: WallClock.nowMilliseconds) else { return }
        write(access)
        log.field("status", status)
        log.field("bytes", Int(clamping: bytes))
        log.field("responseTimeMs", Int((MonotonicClock.seconds - access.startedSeconds) * 1000))
        if suppressed > 0 { log.field("suppressed", suppressed) }
        log.commit()
    }

    /// Writes what the operator should know of a request.
    func warn(_ message: StaticString, _ requestID: String) {
        guard log.begin(.warn, message, timeMilliseconds: WallClock.nowMilliseconds) else { return }
        log.field("reqId", requestID)
        log.commit()
    }

    private func write(_ access: RequestAccess) {
        log.field("reqId", access.requestID)
        log.field("traceId", access.traceID)
        log.field("method", access.method)
        log.field("path", access.path)
        logPeer(access.peer, client: access.client)
    }

    /// The other end of the socket, and who is behind it when that is somebody else.
    private func logPeer(_ peer: String, client: String) {
        log.field("peer", peer)
        if client != peer { log.field("client", client) }
    }

    /// An upgrade that was refused before a feature saw it, or by the parser, which may not know its path.
    func logRefusedUpgrade(_ request: RequestView, _ status: Int, _ reason: String, headIsComplete: Bool = true) {
        guard log.begin(.info, "upgrade", timeMilliseconds: WallClock.nowMilliseconds) else { return }
        log.field("reqId", gateway.requestIdentifier(request))
        log.field("traceId", trace(request).traceID)
        log.field("path", headIsComplete ? request.path : "")
        logPeer(request.peer.host, client: gateway.clientText(request))
        log.field("status", status)
        log.field("reason", reason)
        log.commit()
    }

    /// Writes what a feature tells of a connection it took over.
    func logConnection(_ report: ConnectionReport) {
        switch report {
        case .refused(let record, let status, let reason):
            guard beginConnection("upgrade", record) else { return }
            log.field("status", status)
            log.field("reason", reason)
        case .opened(let record):
            guard beginConnection("websocket opened", record) else { return }
            log.field("status", 101)
        case .ended(let record, let cause, let bytesFromClient, let bytesToClient):
            guard beginConnection("websocket ended", record) else { return }
            writeEnd(record, cause, bytesFromClient, bytesToClient)
        case .sessionOpened(let record, let sessionID):
            guard beginRelaySession("udp_ws_connected", record, sessionID) else { return }
        case .sessionEnded(let record, let sessionID, let cause, let bytesFromClient, let bytesToClient):
            guard beginRelaySession("udp_ws_disconnected", record, sessionID) else { return }
            writeEnd(record, cause, bytesFromClient, bytesToClient)
        case .exhausted(let what, let limit, let key):
            guard log.begin(.warn, what, timeMilliseconds: WallClock.nowMilliseconds) else { return }
            log.field("limit", limit)
            log.field("key", "\(key)")
            log.field("shard", shard.index)
        }
        log.commit()
    }

    private func writeEnd(_ record: ConnectionRecord, _ cause: StaticString, _ bytesFromClient: UInt64, _ bytesToClient: UInt64) {
        log.field("cause", cause)
        log.field("bytesFromClient", Int(clamping: bytesFromClient))
        log.field("bytesToClient", Int(clamping: bytesToClient))
        log.field("durationMs", Int(MonotonicClock.milliseconds - record.openedMilliseconds))
    }

    private func beginRelaySession(_ message: StaticString, _ record: ConnectionRecord, _ sessionID: String) -> Bool {
        guard beginConnection(message, record) else { return false }
        log.field("session_id", sessionID)
        log.field("remote_addr", record.client)
        return true
    }

    private func beginConnection(_ message: StaticString, _ record: ConnectionRecord) -> Bool {
        guard log.begin(.info, message, timeMilliseconds: WallClock.nowMilliseconds) else { return false }
        log.field("reqId", record.requestID)
        log.field("traceId", record.traceID)
        log.field("path", record.path)
        logPeer(record.peer, client: record.client)
        if !record.target.isEmpty { log.field("target", record.target) }
        log.field("session", record.session)
        return true
    }
}
