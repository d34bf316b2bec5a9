import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// What clients say first, where that decides who they are or where they go (specification, sections 6.2 and 7).
extension ShardProxy {
    /// Judges first data; the proxy asks again whenever more has come.
    func judgeFirst(_ data: ProxyFirstData) -> ProxyVerdict {
        guard let visitor = visitors[ObjectIdentifier(data.record)] else {
            return .refuse(ProxyRefusal(ProxyClose(.tryAgainLater)))
        }
        return judgeFirst(visitor, data.ticket, data.bytes, isText: data.isText)
    }

    func judgeFirst(_ visitor: ProxyVisitor, _ ticket: ProxyTicket, _ bytes: UnsafeRawBufferPointer, isText: Bool) -> ProxyVerdict {
        // It may have been denied while the client waited.
        if isDenied(visitor) { return .refuse(refusal(.tokenRevoked, visitor)) }
        let span = Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self))
        if visitor.spoken == .auto {
            // A broker that does not tell text from bytes would take a CONNECT in text.
            switch isText && !visitor.plan.judgesConnect(visitor.route) ? .raw : MQTTDetection.judge(span) {
            case .needMore: return .more
            case .mqtt: visitor.spoken = .mqtt
            case .raw: visitor.spoken = .raw
            }
            common.metrics.add(.protocols, "protocol=\"\(visitor.spokenLabel)\"")
        }
        if visitor.spoken == .mqtt { return isText ? .refuse(refusal(.textFrame, visitor)) : judgeConnect(visitor, ticket, span) }
        if visitor.token == nil, visitor.proxyRoute.requiresToken {
            common.metrics.add(.auth, authLabels(visitor, result: "refused", reason: "missing", source: "none"))
            common.metrics.add(.authFailures)
            return .refuse(refusal(.tokenMissing, visitor))
        }
        return admit(visitor, ticket, span)
    }

    private func judgeConnect(_ visitor: ProxyVisitor, _ ticket: ProxyTicket, _ bytes: Span<UInt8>) -> ProxyVerdict {
        let route = visitor.proxyRoute
        let outcome = MQTTConnect.read(
            bytes, maximumBytes: visitor.policy.limits.firstMessageBytes, acceptsPasswordAlone: route.identity.mqtt.acceptsPasswordAlone)
        let connect: MQTTConnect
        switch outcome {
        case .needMore: return .more
        case .refused(.tooLong): return .refuse(refusal(.messageTooBig, visitor))
        case .refused(.unsupportedLevel(let isVersion5)):
            let message = Self.connack(.unsupportedVersion, isVersion5 ? .v5 : .v311)
            return .refuse(ProxyRefusal(visitor.policy.close(.badConnect), message: message))
        case .refused: return .refuse(refusal(.badConnect, visitor))
        case .complete(let read): connect = read
        }
        visitor.version = connect.version
        if visitor.isConnectJudged { return rewrite(connect, bytes, visitor, ticket) }
        func field(_ range: Range<Int>?) -> [UInt8]? { range.map { range in range.map { bytes[$0] } } }
        let sources = visitor.routing.sources(.mqtt)
        let found = sources.find(
            username: field(connect.username), password: field(connect.password), handshake: visitor.token == nil ? nil : visitor.finding)
        switch found {
        case .none:
            if route.requiresToken {
                common.metrics.add(.auth, authLabels(visitor, result: "refused", reason: "missing", source: "none"))
                common.metrics.add(.authFailures)
                return .refuse(refusal(.tokenMissing, visitor))
            }
        case .identity(let finding):
            if let verdict = take(finding, visitor, ticket, bytes, mustAgree: false) { return verdict }
        case .both(_, let second):
            if let verdict = take(second, visitor, ticket, bytes, mustAgree: true) { return verdict }
        }
        visitor.isConnectJudged = true
        return rewrite(connect, bytes, visitor, ticket)
    }

    /// Judges a credential of CONNECT; nil when the client may go on.
    private func take(
        _ finding: TokenSources.Finding, _ visitor: ProxyVisitor, _ ticket: ProxyTicket, _ bytes: Span<UInt8>, mustAgree: Bool
    ) -> ProxyVerdict? {
        if !mustAgree, visitor.token != nil { return nil }
        switch judge(finding, visitor) {
        case .accepted(let token):
            if mustAgree {
                guard let first = visitor.token, first.issuer == token.issuer, first.subject == token.subject else {
                    return .refuse(refusal(.forbidden, visitor))
                }
                return nil
            }
            visitor.finding = finding
            visitor.token = token
            return nil
        case .refused(let refused): return .refuse(refusal(refused, visitor))
        case .wait(let milliseconds, let longest, let late):
            if isCrowded { return .refuse(refusal(Self.crowded, visitor)) }
            park(visitor, .first(ticket, bytes: (0..<bytes.count).map { bytes[$0] }), milliseconds, longest, late)
            return .later
        }
    }

    private func rewrite(
        _ connect: MQTTConnect, _ bytes: Span<UInt8>, _ visitor: ProxyVisitor, _ ticket: ProxyTicket
    ) -> ProxyVerdict {
        let identity = visitor.proxyRoute.identity.mqtt
        do {
            let token = visitor.token == nil ? nil : visitor.finding?.token
            var droppedRoles = 0
            defer { countDropped(droppedRoles) }
            let changes = try identity.rewrite(
                connect, from: bytes, token: token, claims: visitor.token?.document,
                roleList: visitor.token?.roleList ?? .none, droppedRoles: &droppedRoles)
            if changes.isEmpty { return admit(visitor, ticket, connect, bytes, replacement: nil) }
            return admit(visitor, ticket, connect, bytes, replacement: try connect.rewritten(changes, from: bytes))
        } catch let fault as MQTTIdentity.Fault {
            return .refuse(refusal(.forbidden, visitor, told: fault.refusal))
        } catch MQTTConnectRewrite.Fault.passwordWithoutUsername {
            // The route puts a password in and the client named nobody: 3.x has no CONNECT for that.
            return .refuse(refusal(.forbidden, visitor, told: .badCredentials))
        } catch { return .refuse(refusal(.messageTooBig, visitor)) }
    }

    /// Lets a client in, with another CONNECT where one is given, unless its will may not be published.
    private func admit(
        _ visitor: ProxyVisitor, _ ticket: ProxyTicket, _ connect: MQTTConnect, _ bytes: Span<UInt8>, replacement: [UInt8]?
    ) -> ProxyVerdict {
        var inspection: (demands: MQTTInspection, connectBytes: Int)?
        if visitor.proxyRoute.inspects {
            // What the broker sees is what placeholders stand for.
            let judgement: ConnectJudgement
            if let replacement {
                judgement = ConnectJudgement(replacement.span, visitor)
            } else {
                judgement = ConnectJudgement(bytes, visitor)
            }
            switch judgement {
            case .malformed: return .refuse(refusal(.badConnect, visitor))
            case .deniedWill(let topic):
                sessions.counters.addDeniedWill(route: UInt16(clamping: visitor.route))
                tell(.denied(visitor.record, MQTTDenial(action: .will, topic: topic)), visitor)
                return .refuse(refusal(.forbidden, visitor))
            case .accepted(let accepted): inspection = accepted
            }
        }
        return admit(
            visitor, ticket, bytes, replacement: replacement.map { (of: connect.packet.count, by: $0) }, inspection: inspection)
    }

    /// Lets a client in, with other bytes in the place of its first ones where they are given.
    private func admit(
        _ visitor: ProxyVisitor, _ ticket: ProxyTicket, _ bytes: Span<UInt8>, replacement: (of: Int, by: [UInt8])? = nil,
        inspection: (demands: MQTTInspection, connectBytes: Int)? = nil
    ) -> ProxyVerdict {
        if visitor.endpoint != nil {
            var admitted = ProxyAdmit(nil, identity: Self.identity(visitor.token))
            (admitted.replacement, admitted.inspection) = (replacement, inspection)
            return .admit(admitted)
        }
        switch takePlace(visitor) {
        case .granted: break
        case .refused(let refused): return .refuse(refusal(refused, visitor))
        case .waiting:
            if isCrowded { return .refuse(refusal(Self.crowded, visitor)) }
            waitForPlace(visitor, .first(ticket, bytes: (0..<bytes.count).map { bytes[$0] }))
            return .later
        }
        let choice = visitor.proxyRoute.subprotocols.choose(visitor.offer, visitor.spoken, dialsFirst: false)
        var target: ProxyTarget
        do throws(ProxyRefused) { target = try self.target(visitor, choice) } catch { return .refuse(refusal(error, visitor)) }
        // The client has its answer, and no compression in it.
        target.extensions = nil
        if let inspection {
            target.mode = .inspected
            target.inspection = inspection
        }
        var admitted = ProxyAdmit(target, identity: Self.identity(visitor.token))
        admitted.replacement = replacement
        admitted.unavailable = refusal(.upstreamUnavailable, visitor).message
        return .admit(admitted)
    }

    /// Gives a verdict that was waited for.
    func settle(_ visitor: ProxyVisitor, _ ticket: ProxyTicket, _ verdict: ProxyVerdict) {
        switch verdict {
        case .admit(let admitted): _ = sessions.admit(ticket, admitted)
        case .refuse(let refusal): _ = sessions.refuse(ticket, refusal)
        case .later: break
        case .more: _ = sessions.refuse(ticket, self.refusal(.badConnect, visitor))
        }
    }

    // MARK: Refusals behind a 101

    func refusal(_ refused: ProxyRefused, _ visitor: ProxyVisitor) -> ProxyRefusal { refusal(refused.end ?? .forbidden, visitor) }

    /// A close frame, and in front of it what MQTT has for it, or what it is `told`.
    func refusal(_ end: ProxyEnd, _ visitor: ProxyVisitor, told: MQTTConnectRefusal? = nil) -> ProxyRefusal {
        var message: [UInt8] = []
        if let version = visitor.version, visitor.detail.draft.mqtt.answersRefusal, let refusal = told ?? end.connectRefusal {
            message = Self.connack(refusal, version)
        }
        return ProxyRefusal(visitor.policy.close(end), message: message)
    }

    static func connack(_ refusal: MQTTConnectRefusal, _ version: MQTTVersion) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: MQTTReply.maximumBytes)
        let count = bytes.withUnsafeMutableBytes { area in
            var writer = ByteWriter(area)
            MQTTReply.connack(refusal, version, to: &writer)
            return writer.count
        }
        return Array(bytes.prefix(count))
    }
}
