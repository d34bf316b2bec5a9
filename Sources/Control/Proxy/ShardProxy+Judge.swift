import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// A client that waits to be judged again.
struct ProxyParked {
    /// What it waits with.
    enum Place {
        /// A stream that has no answer yet, and what came behind the request's head.
        case handshake(SlotIndex, leftover: (buffer: BufferIndex, start: Int, count: Int))
        /// A session that has its 101, with the first data to be judged again.
        case first(ProxyTicket, bytes: [UInt8])
    }

    let visitor: ProxyVisitor
    var place: Place
    let endsMilliseconds: UInt64
    var againMilliseconds: UInt64
    /// What it is told when its time is over.
    let late: ProxyRefused
}

/// How a client is refused.
struct ProxyRefused: Error {
    let status: Int
    /// `X-Edge-Error`.
    let reason: String
    /// How it is told behind a 101; nil: with the status, whatever the route says.
    var end: ProxyEnd?
    /// `WWW-Authenticate` with these parameters behind the realm; nil: without.
    var challenge: String?
    var retrySeconds: Int?
}

/// What a credential came to.
enum CredentialVerdict {
    case accepted(VerifiedToken)
    case refused(ProxyRefused)
    /// Judge again: after so many milliseconds, or when keys changed; `late` when that takes too long.
    case wait(milliseconds: UInt64, longest: UInt64, late: ProxyRefused)
}

/// The order of a handshake (specification, section 5.1).
extension ShardProxy {
    /// Takes a client's stream over and judges it.
    func begin(_ visitor: ProxyVisitor, _ slot: SlotIndex, leftover: (buffer: BufferIndex, start: Int, count: Int)) {
        visitors[ObjectIdentifier(visitor.record)] = visitor
        visitor.samples = samples
        keepConnection(visitor, slot)
        visitor.connection = ConnectionIdentifier(slot, on: shard)
        if let refused = judgeBefore(visitor) { return refuse(visitor, slot, leftover, refused) }
        judgeHandshake(visitor, slot, leftover: leftover)
    }

    /// Origin, rates, and where the credential is.
    private func judgeBefore(_ visitor: ProxyVisitor) -> ProxyRefused? {
        if isDraining { return ProxyRefused(status: 503, reason: "draining", retrySeconds: 1) }
        if let refused = storeRefusal() { return refused }
        if let refused = beginHandshake(visitor) { return refused }
        switch visitor.policy.origins.judge(visitor.origins) {
        case .malformed: return ProxyRefused(status: 400, reason: "origin")
        case .refused: return ProxyRefused(status: 403, reason: "origin")
        case .absent, .allowed: break
        }
        if let refused = common.admitHandshake(visitor.address, nowMilliseconds: clockMilliseconds) {
            common.metrics.add(.limits, "limit=\"\(refused.limit)\"")
            return ProxyRefused(status: 429, reason: "rate_limited", retrySeconds: refused.seconds)
        }
        visitor.spoken = visitor.spoken.decided(bySubprotocol: chosenSubprotocol(visitor, dialsFirst: false))
        do throws(TokenSources.Fault) {
            visitor.finding = try visitor.routing.sources(visitor.spoken).find(in: visitor.credentials)
        } catch { return ProxyRefused(status: 400, reason: "credentials") }
        if case .cookie? = visitor.finding?.source {
            switch visitor.policy.origins.judgeCookie(visitor.origins, host: visitor.host, isSecure: visitor.isSecure) {
            case .allowed: break
            case .malformed: return ProxyRefused(status: 400, reason: "origin")
            case .absent, .refused: return ProxyRefused(status: 403, reason: "origin")
            }
        }
        return nil
    }

    /// Judges the credential of a handshake, if there is one, and goes on.
    func judgeHandshake(_ visitor: ProxyVisitor, _ slot: SlotIndex, leftover: (buffer: BufferIndex, start: Int, count: Int)) {
        guard let finding = visitor.finding else {
            let sources = visitor.routing.sources(visitor.spoken)
            if !visitor.proxyRoute.requiresToken { return open(visitor, slot, leftover) }
            if sources.awaitsFirstMessage(visitor.spoken) { return listen(visitor, slot, leftover) }
            common.metrics.add(.auth, authLabels(visitor, result: "refused", reason: "missing", source: "none"))
            common.metrics.add(.authFailures)
            return refuse(visitor, slot, leftover, Self.missing)
        }
        switch judge(finding, visitor) {
        case .accepted(let token):
            visitor.token = token
            settlePlace(visitor, slot, leftover)
        case .refused(let refused): refuse(visitor, slot, leftover, refused)
        case .wait(let milliseconds, let longest, let late):
            park(visitor, .handshake(slot, leftover: leftover), milliseconds, longest, late)
        }
    }

    static let missing = ProxyRefused(status: 401, reason: "token_missing", end: .tokenMissing, challenge: "")

    /// Judges a credential, and counts what came of it.
    func judge(_ finding: TokenSources.Finding, _ visitor: ProxyVisitor) -> CredentialVerdict {
        judge(finding, visitor, isLast: false)
    }

    /// `isLast`: a key that came meanwhile has been taken.
    private func judge(_ finding: TokenSources.Finding, _ visitor: ProxyVisitor, isLast: Bool) -> CredentialVerdict {
        let began = MonotonicClock.seconds
        // A configuration that came since may have other providers: the client is judged by the one in force.
        guard let verdict = gate?.judge(
            finding.token.utf8.span, among: visitor.routing.providers, rules: visitor.detail.rules,
            nowMilliseconds: WallClock.nowMilliseconds,
            monotonicMilliseconds: Int64(shard.now))
        else { return .refused(ProxyRefused(status: 503, reason: "reloaded", end: .tryAgainLater, retrySeconds: 1)) }
        let metrics = common.metrics
        let samples = visitor.samples ?? self.samples
        samples.observe(.auth, seconds: MonotonicClock.seconds - began)
        let source = finding.source.label
        switch verdict {
        case .accepted(let token, let fromCache):
            samples.add(
                .auth, ShardSamples.Place(subject: visitor.route, first: finding.source.number),
                authLabels(visitor, result: "accepted", reason: "ok", source: source))
            if visitor.policy.draft.subjectLabels {
                metrics.add(.authSuccesses, common.subjects.labels(token))
            } else {
                samples.add(.authSuccesses)
            }
            samples.add(.algorithms, ShardSamples.Place(first: token.algorithm.number), "alg=\"\(token.algorithm.rawValue)\"")
            samples.add(.cache, ShardSamples.Place(first: fromCache ? 1 : 0), "result=\"\(fromCache ? "hit" : "miss")\"")
            return .accepted(token)
        case .refused(let refusal, _):
            metrics.add(.auth, authLabels(visitor, result: "refused", reason: refusal.code, source: source))
            metrics.add(.authFailures)
            common.failed(visitor.address, nowMilliseconds: clockMilliseconds)
            return .refused(Self.refused(refusal))
        case .unknownKey(let provider, let keyID):
            let late = Self.refused(.keyIDUnknown)
            let advice = common.keys.unknown(keyID: keyID, provider: provider)
            if advice == .known, !isLast {
                takeKeySets()
                return judge(finding, visitor, isLast: true)
            }
            if advice != .wait {
                metrics.add(.auth, authLabels(visitor, result: "refused", reason: "kid_unknown", source: source))
                metrics.add(.authFailures)
                common.failed(visitor.address, nowMilliseconds: clockMilliseconds)
                return .refused(late)
            }
            wakeKeeper()
            let longest = UInt64(TokenLimits.waitForKeyMilliseconds)
            return .wait(milliseconds: longest, longest: longest, late: late)
        case .keysUnavailable:
            metrics.add(.auth, authLabels(visitor, result: "refused", reason: "keys_unavailable", source: source))
            return .refused(ProxyRefused(status: 503, reason: "keys_unavailable", end: .tryAgainLater, retrySeconds: 1))
        case .busy(let milliseconds):
            let late = ProxyRefused(status: 503, reason: "overloaded", end: .tryAgainLater, retrySeconds: 1)
            return .wait(milliseconds: UInt64(max(1, milliseconds)), longest: 1000, late: late)
        }
    }

    func authLabels(_ visitor: ProxyVisitor, result: String, reason: String, source: String) -> String {
        "route=\"\(visitor.label)\",result=\"\(result)\",reason=\"\(reason)\",source=\"\(source)\""
    }

    /// The words for a refusal. None tells a known key from an unknown one.
    static func refused(_ refusal: TokenRefusal) -> ProxyRefused {
        if refusal.isForbidden {
            return ProxyRefused(
                status: 403, reason: "insufficient_scope", end: .forbidden, challenge: ", error=\"insufficient_scope\"")
        }
        let end: ProxyEnd
        switch refusal {
        case .malformed, .encrypted, .malformedHeader: end = .tokenMalformed
        case .malformedPayload: end = .tokenPayload
        case .malformedClaims: end = .tokenClaims
        case .revoked: end = .tokenRevoked
        default: end = .tokenRefused(reason: refusal.publicDescription.replacing("token ", with: ""))
        }
        return ProxyRefused(
            status: 401, reason: "invalid_token", end: end,
            challenge: ", error=\"invalid_token\", error_description=\"\(refusal.publicDescription)\"")
    }

    // MARK: Waiting

    /// Whether nobody more can wait. Who is judged by its first data is refused by that judgement: it does not wait yet.
    var isCrowded: Bool { parked.count >= TokenLimits.waitingForKey }
    static let crowded = ProxyRefused(status: 503, reason: "overloaded", end: .tryAgainLater, retrySeconds: 1)

    func park(_ visitor: ProxyVisitor, _ place: ProxyParked.Place, _ milliseconds: UInt64, _ longest: UInt64, _ late: ProxyRefused) {
        guard !isCrowded else { return refuse(visitor, place, Self.crowded) }
        nextParked &+= 1
        visitor.waitingNumber = nextParked
        parked[nextParked] = ProxyParked(
            visitor: visitor, place: place, endsMilliseconds: shard.now + longest, againMilliseconds: shard.now + milliseconds, late: late)
        if case .handshake(let slot, let leftover) = place {
            shard.transfer(slot, to: parkedOwner, context: nextParked)
            // Read until it says something: so its leaving is noticed.
            if leftover.buffer == .none { shard.resumeReceive(slot) } else { shard.pauseReceive(slot) }
        }
    }

    /// An event of a stream that waits.
    func handleParked(_ event: Event) {
        guard let waiting = parked[event.context], case .handshake(let slot, var leftover) = waiting.place else {
            if event.kind == .received { shard.release(event.buffer) }
            return
        }
        switch event.kind {
        case .received where leftover.buffer == .none:
            leftover = (event.buffer, 0, event.count)
            parked[event.context]?.place = .handshake(slot, leftover: leftover)
            shard.pauseReceive(slot)
        case .received:
            // More than one read before an answer: no client has that much to say.
            shard.release(event.buffer)
            drop(event.context)
        case .ended, .failed: drop(event.context)
        default: break
        }
    }

    /// A client that waited is gone.
    private func drop(_ number: UInt32) {
        guard let waiting = parked.removeValue(forKey: number), case .handshake(let slot, let leftover) = waiting.place else { return }
        if leftover.buffer != .none { shard.release(leftover.buffer) }
        shard.transfer(slot, to: .engine, context: 0)
        shard.close(slot)
        forget(waiting.visitor.record)
    }

    func judgeAgain(_ number: UInt32) {
        // Whoever waits for a place is called when that is decided.
        guard let waiting = parked[number], waiting.visitor.claim == nil else { return }
        let visitor = waiting.visitor
        switch waiting.place {
        case .handshake(let slot, let leftover):
            guard let finding = visitor.finding else { return }
            if visitor.token != nil {
                parked[number] = nil
                return settlePlace(visitor, slot, leftover)
            }
            switch judge(finding, visitor) {
            case .accepted(let token):
                parked[number] = nil
                visitor.token = token
                settlePlace(visitor, slot, leftover)
            case .refused(let refused):
                parked[number] = nil
                refuse(visitor, slot, leftover, refused)
            case .wait(let milliseconds, _, _): parked[number]?.againMilliseconds = shard.now + milliseconds
            }
        case .first(let ticket, let bytes):
            parked[number] = nil
            let verdict = bytes.withUnsafeBytes { judgeFirst(visitor, ticket, $0, isText: false) }
            settle(visitor, ticket, verdict)
        }
    }

    func giveUp(_ number: UInt32) {
        if parked[number]?.visitor.claim != nil { return decideAlone(number) }
        guard let waiting = parked.removeValue(forKey: number) else { return }
        let visitor = waiting.visitor
        let isUnauthenticated = waiting.late.status == 401
        let labels = authLabels(
            visitor, result: "refused", reason: isUnauthenticated ? "kid_unknown" : waiting.late.reason,
            source: visitor.finding?.source.label ?? "mqtt_password")
        common.metrics.add(.auth, labels)
        if isUnauthenticated {
            common.metrics.add(.authFailures)
            common.failed(visitor.address, nowMilliseconds: clockMilliseconds)
        }
        refuse(waiting.visitor, waiting.place, waiting.late)
    }

    private func refuse(_ visitor: ProxyVisitor, _ place: ProxyParked.Place, _ refused: ProxyRefused) {
        switch place {
        case .handshake(let slot, let leftover): refuse(visitor, slot, leftover, refused)
        case .first(let ticket, _): _ = sessions.refuse(ticket, refusal(refused, visitor))
        }
    }

    // MARK: Refusals

    /// Answers with a status or, where the route says so, with a 101 and a close frame.
    func refuse(
        _ visitor: ProxyVisitor, _ slot: SlotIndex, _ leftover: (buffer: BufferIndex, start: Int, count: Int), _ refused: ProxyRefused
    ) {
        if leftover.buffer != .none { shard.release(leftover.buffer) }
        shard.transfer(slot, to: .engine, context: 0)
        if visitor.proxyRoute.rejection == .close, let end = refused.end {
            // It is an upgrade that succeeded, though nothing comes of it.
            let ending = visitor.policy.close(end)
            common.metrics.add(.connections)
            common.metrics.add(.handshakes, "route=\"\(visitor.label)\",code=\"101\"")
            let code = ProxyMetrics.code(ending.code.rawValue)
            common.metrics.add(.closes, "route=\"\(visitor.label)\",from=\"proxy\",code=\"\(code)\"")
            close(visitor, slot, ending)
        } else {
            common.metrics.add(.handshakes, "route=\"\(visitor.label)\",code=\"\(refused.status)\"")
            UpgradeAnswer.refuse(
                slot, status: refused.status, message: "\(HTTPStatus.reason(refused.status))", fields: fields(refused, visitor), on: shard)
        }
        tell(.refused(visitor.record, status: refused.status, reason: refused.reason), visitor)
        forget(visitor.record)
    }

    private func fields(_ refused: ProxyRefused, _ visitor: ProxyVisitor) -> [(name: String, value: String)] {
        var fields = Self.safetyFields
        fields.append((name: "Sec-WebSocket-Version", value: "13"))
        fields.append((name: "X-Edge-Error", value: refused.reason))
        if let challenge = refused.challenge {
            fields.append((name: "WWW-Authenticate", value: "Bearer realm=\"\(visitor.policy.draft.realm)\"\(challenge)"))
        }
        if let seconds = refused.retrySeconds { fields.append((name: "Retry-After", value: "\(seconds)")) }
        return fields + visitor.policy.sharingFields(visitor.origins)
    }

    /// On every answer of HTTP.
    static let safetyFields: [(name: String, value: String)] = [
        (name: "X-Content-Type-Options", value: "nosniff"), (name: "X-Frame-Options", value: "DENY"),
    ]

    /// How long the connection of a refused client may take to end.
    private static let closeMilliseconds: UInt64 = 1000

    private func close(_ visitor: ProxyVisitor, _ slot: SlotIndex, _ ending: ProxyClose) {
        let subprotocol = chosenSubprotocol(visitor, dialsFirst: false)
        guard UpgradeAnswer.accept(slot, key: visitor.webSocketKey, subprotocol: subprotocol, on: shard) else { return shard.close(slot) }
        let frame = ending.frame
        _ = frame.withUnsafeBytes { shard.append(slot, $0.baseAddress!, $0.count) }
        shard.linger(slot, drainMilliseconds: Self.closeMilliseconds, totalMilliseconds: Self.closeMilliseconds)
    }

    /// The subprotocol the gateway chooses; nil when it is none, or the upstream's to choose.
    func chosenSubprotocol(_ visitor: ProxyVisitor, dialsFirst: Bool) -> String? {
        if case .chosen(let answer, _) = visitor.proxyRoute.subprotocols.choose(visitor.offer, visitor.spoken, dialsFirst: dialsFirst) {
            return answer
        }
        return nil
    }
}
