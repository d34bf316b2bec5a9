// What is not a PUBLISH that goes on.

import Wire

extension MQTTInspector {
    /// A packet of the client that is no PUBLISH, one with an alias, or one of QoS 2.
    @inline(never)
    mutating func judgeRare(_ head: MQTTHead) -> Judgement {
        switch head.type {
        case .publish:
            if isAwaited(head.packetID), head.qos > 0 { forget(head.packetID) }
            return judgeAlias(head)
        case .subscribe: return subscribe(head)
        case .unsubscribe: return unsubscribe(head)
        case .pubrel: return isAwaited(head.packetID) ? complete(head.packetID) : .passes
        default: return .passes
        }
    }

    /// PUBREL of a PUBLISH that was refused.
    @inline(never)
    private mutating func complete(_ packetID: UInt16) -> Judgement {
        forget(packetID)
        answer { [version] in
            MQTTReply.acknowledge(.pubcomp, packetID: packetID, reason: MQTTReply.packetIDNotFound, version, to: &$0)
        }
        return .dropped
    }

    private mutating func judgeAlias(_ head: MQTTHead) -> Judgement {
        guard head.topicAlias != 0 else { return judgeTopic(head) }
        let topic = unsafe head.topicBytes
        if topic.isEmpty {
            switch aliases.verdict(head.topicAlias, qos: head.qos, isRetained: head.isRetained) {
            case .allowed: return .passes
            case .denied: return refuse(head, .denied)
            case .malformed: return .fault(.topicAlias)
            }
        }
        guard let rights = unsafe table.publishRights(topic.span) else { return .fault(.malformed) }
        let isAllowed = rights.contains(qos: head.qos, isRetained: head.isRetained)
        guard isAllowed ? aliases.set(head.topicAlias, rights) : aliases.refuse(head.topicAlias) else { return .fault(.topicAlias) }
        return isAllowed ? .passes : refuse(head, .denied)
    }

    /// A PUBLISH that does not go on.
    @inline(never)
    mutating func refuse(_ head: MQTTHead, _ verdict: TopicVerdict) -> Judgement {
        guard verdict == .denied else { return .fault(.malformed) }
        deniedPublishes &+= 1
        hasDenials = true
        unsafe tell(.publish, head.topicBytes.span)
        if disconnectsOnDenial { return .ends }
        if head.qos > 0 {
            answer { [version] in
                MQTTReply.acknowledge(
                    head.qos == 1 ? .puback : .pubrec, packetID: head.packetID, reason: MQTTReply.notAuthorised, version, to: &$0)
            }
            // In MQTT 5 a PUBREC with this reason ends the exchange (section 4.3.3); not every client knows.
            if head.qos == 2 { remember(head.packetID) }
        }
        return .dropped
    }

    // MARK: Subscriptions

    @inline(never)
    private mutating func subscribe(_ head: MQTTHead) -> Judgement {
        let packet = unsafe head.bytes.span
        guard let list = MQTTFilterList(packet, version) else { return .fault(.malformed) }
        var refusals = [UInt8](repeating: 0, count: list.count)
        var fresh: Set<Int> = []
        var accepted: [Int?] = []
        var isMalformed = false
        list.forEach(packet) { number, entry in
            if isMalformed { return }
            let filter = packet.extracting(entry.filter)
            let digest = Self.digest(filter)
            let isKnown = subscriptions.contains(digest) || fresh.contains(digest)
            guard number < max(Self.judgedFilters, maximumSubscriptions),
                isKnown || subscriptions.count + fresh.count < maximumSubscriptions
            else {
                refusals[number] = version == .v5 ? MQTTReply.quotaExceeded : MQTTReply.subscribeFailure
                return
            }
            switch table.subscribe(filter, qos: entry.options & 3) {
            case .allowed:
                accepted.append(isKnown ? nil : digest)
                if !isKnown { fresh.insert(digest) }
            case .denied:
                refusals[number] = version == .v5 ? MQTTReply.notAuthorised : MQTTReply.subscribeFailure
                tell(.subscribe, filter)
            case .malformed: isMalformed = true
            }
        }
        if isMalformed { return .fault(.malformed) }
        let refused = refusals.count { $0 != 0 }
        guard refused > 0 else {
            expectAnswer(list.packetID, accepted)
            return .passes
        }
        deniedSubscriptions &+= UInt64(refused)
        hasDenials = true
        if disconnectsOnDenial { return .ends }
        // So many answers are owed already that this one cannot be remembered, or nothing is left.
        guard refused < list.count, repairs.note(list.packetID, refusals: refusals),
            let rest = list.packet(without: refusals, from: packet)
        else {
            let codes = refusals.map { $0 != 0 ? $0 : version == .v5 ? MQTTReply.quotaExceeded : MQTTReply.subscribeFailure }
            answer(atMost: MQTTReply.subackBytes(filters: codes.count, version)) { [version] in
                MQTTReply.suback(packetID: list.packetID, codes: codes, version, to: &$0)
            }
            return .dropped
        }
        expectAnswer(list.packetID, accepted)
        awaitsSuback = true
        // The memory of the packet is the piece's, or the scanner's, and the new one is shorter.
        let place = unsafe UnsafeMutablePointer(mutating: head.bytes.baseAddress.unsafelyUnwrapped)
        unsafe place.update(from: rest, count: rest.count)
        return .replaced(rest.count)
    }

    /// Most filters of one SUBSCRIBE that are compared, whatever a session may have, so that a long list of refusals costs no more.
    private static let judgedFilters = 4096

    /// A SUBSCRIBE goes on.
    private mutating func expectAnswer(_ packetID: UInt16, _ filters: [Int?]) {
        subscriptions.subscribed(packetID, filters)
        if subscriptions.awaitsAnswer { awaitsSuback = true }
    }

    @inline(never)
    private mutating func unsubscribe(_ head: MQTTHead) -> Judgement {
        let packet = unsafe head.bytes.span
        guard let list = MQTTFilterList(packet, version) else { return .fault(.malformed) }
        list.forEach(packet) { _, entry in subscriptions.unsubscribed(Self.digest(packet.extracting(entry.filter))) }
        return .passes
    }

    /// A number that stands for a text within this process: sixty-four bits of a keyed hash.
    private static func digest(_ text: Span<UInt8>) -> Int {
        var hasher = Hasher()
        unsafe text.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        return hasher.finalize()
    }

    // MARK: The broker

    /// A packet of the broker before CONNACK, or while a SUBACK is to be repaired.
    @inline(never)
    mutating func read(_ head: MQTTHead) -> Judgement {
        switch head.type {
        case .connack:
            guard !hasConnack, let connack = unsafe MQTTConnack(head.bytes.span, version) else { return .fault(.unexpectedPacket) }
            hasConnack = true
            isRefused = connack.code != 0
            aliases.admit(upTo: connack.topicAliasMaximum)
            if isRefused { clearAnswers() }
            return .passes
        case .auth, .disconnect: return .passes
        case .suback where awaitsSuback:
            unsafe subscriptions.answered(head.bytes.span, version)
            let outcome = unsafe repairs.repair(head.bytes.span, version)
            awaitsSuback = !repairs.isEmpty || subscriptions.awaitsAnswer
            switch outcome {
            case .unchanged: return .passes
            case .malformed: return .fault(.malformed)
            case .repaired(let packet):
                answers += packet
                hasAnswers = true
                return .dropped
            }
        default: return hasConnack ? .passes : .fault(.unexpectedPacket)
        }
    }

    // MARK: Answers

    private mutating func answer(atMost bytes: Int = MQTTReply.maximumBytes, _ write: (inout ByteWriter) -> Void) {
        // Behind a refusal of its CONNECT nothing is owed to a client.
        if isRefused { return }
        answers += Self.written(atMost: bytes, write)
        hasAnswers = true
    }

    static func written(atMost bytes: Int = MQTTReply.maximumBytes, _ write: (inout ByteWriter) -> Void) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: bytes) { area, count in
            var writer = unsafe ByteWriter(UnsafeMutableRawBufferPointer(area))
            write(&writer)
            count = writer.count
        }
    }

    private mutating func tell(_ action: MQTTAction, _ topic: Span<UInt8>) {
        // An alias stands for a topic that was told when it was refused.
        guard !topic.isEmpty, told.count < Self.toldMaximum else { return }
        let digest = Self.digest(topic) ^ Int(action.rawValue)
        guard !told.contains(digest) else { return }
        told.append(digest)
        let text = unsafe topic.extracting(first: MQTTDenial.maximumTopicBytes).withUnsafeBytes {
            unsafe String(decoding: $0, as: UTF8.self)
        }
        denials.append(MQTTDenial(action: action, topic: text))
    }

    // MARK: Packet ids that were refused at QoS 2

    private func isAwaited(_ packetID: UInt16) -> Bool {
        guard let words = unsafe releases else { return false }
        return unsafe words[Int(packetID) / 64] & 1 << UInt64(packetID % 64) != 0
    }

    private func forget(_ packetID: UInt16) {
        unsafe releases.unsafelyUnwrapped[Int(packetID) / 64] &= ~(1 << UInt64(packetID % 64))
    }

    private mutating func remember(_ packetID: UInt16) {
        if unsafe releases == nil {
            let words = UnsafeMutablePointer<UInt64>.allocate(capacity: Self.releaseWords)
            unsafe words.initialize(repeating: 0, count: Self.releaseWords)
            unsafe releases = unsafe words
        }
        unsafe releases.unsafelyUnwrapped[Int(packetID) / 64] |= 1 << UInt64(packetID % 64)
    }
}
