import Engine
import HTTP
import Policy
import Wire

/// A `/tcp-mux` upgrade that passed the common checks.
public struct MuxRequest {
    /// The client's stream, taken from the HTTP server.
    public let client: SlotIndex
    /// Session the streams count for.
    public let sessionID: String
    /// Effective address of the client, as text.
    public let clientAddress: String
    /// The trimmed `Sec-WebSocket-Key`.
    public let webSocketKey: String
    /// Bytes that came behind the request's head: a buffer, or none.
    public let leftover: (buffer: BufferIndex, start: Int, count: Int)
    /// What log and admin interface tell of it.
    public let record: ConnectionRecord

    /// Collects the parts.
    public init(client: SlotIndex, sessionID: String, clientAddress: String, webSocketKey: String,
                leftover: (buffer: BufferIndex, start: Int, count: Int), record: ConnectionRecord) {
        self.client = client
        self.sessionID = sessionID
        self.clientAddress = clientAddress
        self.webSocketKey = webSocketKey
        self.leftover = leftover
        self.record = record
    }
}

/// From an upgrade to a WebSocket, and from OPEN to a connected target.
extension TCPMux {
    /// Takes the client's stream over and answers 101, or refuses.
    public func open(_ request: MuxRequest) {
        let shard = state.pointee.shard
        guard let index = state.pointee.sockets.take(next: { $0.pointee.nextInList }) else {
            if request.leftover.buffer != .none { shard.release(request.leftover.buffer) }
            return UpgradeAnswer.refuse(request.client, status: 503, message: "Too many connections", on: shard)
        }
        let rules = state.pointee.rules
        socket(index).initialize(
            to: MuxSocket(
                reader: FrameReader(expectsMask: true), frames: MuxReader(), header: MuxHeader(type: 0, stream: 0, payloadBytes: 0),
                client: request.client, current: MuxSocket.none, found: MuxSocket.none,
                maximumFrameBytes: UInt32(clamping: rules.mux.maxFramePayloadBytes),
                maximumMessageBytes: UInt64(rules.settings.maxMessageBytes), maximumStreamBytes: rules.mux.maxStreamBufferBytes,
                lastActivity: shard.now, pieces: nil, control: nil, rules: .passRetained(rules),
                identity: .passRetained(MuxIdentity(session: request.sessionID, address: request.clientAddress)),
                record: .passRetained(request.record),
                firstStream: MuxSocket.none, nextResumed: MuxSocket.none, streamCount: 0, answerBytes: 0, pausedCount: 0,
                nextInList: MuxSocket.none, phase: .open, backedUp: false, repliesPending: false, poolPaused: false, isListed: false))
        state.pointee.counters.add(.socketsOpened)
        state.pointee.counters.add(.socketsActive)
        shard.transfer(request.client, to: state.pointee.clientOwner, context: index)
        guard UpgradeAnswer.accept(request.client, key: request.webSocketKey, subprotocol: HandshakeRule.muxSubprotocol, on: shard) else {
            if request.leftover.buffer != .none { shard.release(request.leftover.buffer) }
            return end(index, .outOfBuffers, nil)
        }
        reportOpened(index)
        shard.setTimer(request.client, afterMilliseconds: MuxLimits.idleSocketMilliseconds)
        shard.resumeReceive(request.client)
        if request.leftover.buffer != .none {
            clientBytes(index, request.leftover.buffer, request.leftover.start, request.leftover.start + request.leftover.count)
        }
    }

    /// An OPEN frame, checked in the order of the specification's table. False without buffers for an answer.
    func open(_ index: UInt32, _ identifier: UInt32, _ payload: UnsafeRawBufferPointer) -> Bool {
        let socket = socket(index)
        let rules = socket.pointee.rules.takeUnretainedValue()
        if identifier == 0 { return reply(index, 0, .reservedIdentifier) }
        if find(index, identifier) != MuxSocket.none { return reply(index, identifier, .identifierExists) }
        if socket.pointee.streamCount >= rules.maximumStreams { return reply(index, identifier, .streamsExceeded) }
        let bytes = Span(_unsafeElements: payload.assumingMemoryBound(to: UInt8.self))
        guard let open = MuxOpen(bytes) else { return reply(index, identifier, .invalidOpen) }
        if open.port == 0 { return reply(index, identifier, .invalidPort) }
        let verdict = rules.policy.judge(host: String(decoding: payload[open.host], as: UTF8.self), port: open.port)
        if case .refused(let refusal) = verdict { return refuse(index, identifier, refusal) }
        let opening = MuxOpening(port: open.port)
        guard let stream = addStream(index, identifier, opening) else { return reply(index, identifier, .streamsExceeded) }
        switch verdict {
        case .address(let address):
            opening.candidates = [SocketAddress(address, port: open.port)]
            askForPlaces(stream, opening)
        case .resolve(let name): resolve(stream, opening, name)
        case .refused: break
        }
        return true
    }

    private func refuse(_ index: UInt32, _ identifier: UInt32, _ refusal: Refusal) -> Bool {
        if refusal.countsAsHostPolicy { state.pointee.counters.add(.blockedByHostPolicy) }
        if refusal.countsAsIPPolicy { state.pointee.counters.add(.blockedByAddressPolicy) }
        return reply(index, identifier, .refused(refusal))
    }

    /// Puts a stream into the WebSocket's ring, behind all others.
    private func addStream(_ index: UInt32, _ identifier: UInt32, _ opening: MuxOpening) -> UInt32? {
        guard let added = state.pointee.streams.take(next: { $0.pointee.next }) else { return nil }
        let socket = socket(index)
        let first = socket.pointee.firstStream
        let last = first == MuxSocket.none ? added : stream(first).pointee.previous
        stream(added).initialize(
            to: MuxStream(
                socket: index, identifier: identifier, target: .none, next: first == MuxSocket.none ? added : first, previous: last,
                hashNext: MuxSocket.none, lastActivity: state.pointee.shard.now, opening: .passRetained(opening), sessionPlace: nil,
                addressPlace: nil, phase: .resolving, clientFinished: false, targetFinished: false, paused: false))
        if first == MuxSocket.none {
            socket.pointee.firstStream = added
            socket.pointee.nextResumed = added
        } else {
            stream(last).pointee.next = added
            stream(first).pointee.previous = added
        }
        socket.pointee.streamCount += 1
        state.pointee.index.insert(added, state.pointee.streams.entries)
        state.pointee.counters.add(.streamsOpened)
        state.pointee.counters.add(.streamsActive)
        return added
    }

    // MARK: - The name

    private func resolve(_ index: UInt32, _ opening: MuxOpening, _ name: String) {
        let shared = state.pointee.shared
        let session = socket(stream(index).pointee.socket).pointee.identity.takeUnretainedValue().session
        guard let place = shared.limits.lookups.acquire(session, limit: MuxLimits.lookupsOfSession) else {
            return fail(index, .placesExceeded)
        }
        guard let lookup = state.pointee.shard.lookUp(name, owner: state.pointee.targetOwner, context: index) else {
            shared.limits.lookups.release(place)
            return lookupFailed(index)
        }
        state.pointee.lookupPlaces[lookup] = place
        opening.lookup = lookup
    }

    private func lookupFailed(_ index: UInt32) {
        state.pointee.counters.add(.lookupFailed)
        fail(index, .dialFailed)
    }

    func resolved(_ index: UInt32, _ event: Event) {
        let addresses = state.pointee.shard.takeAddresses(event.detail)
        if let place = state.pointee.lookupPlaces.removeValue(forKey: event.detail) { state.pointee.shared.limits.lookups.release(place) }
        let stream = stream(index)
        // The stream may be gone, and its place given to another.
        guard Int(index) < state.pointee.streams.touched, stream.pointee.phase == .resolving,
            let opening = stream.pointee.opening?.takeUnretainedValue(), opening.lookup == event.detail
        else { return }
        opening.lookup = nil
        guard event.result == 0, !addresses.isEmpty else { return lookupFailed(index) }
        let policy = socket(stream.pointee.socket).pointee.rules.takeUnretainedValue().policy
        let permitted = addresses.filter { address in IPAddress(bytes: address.bytes).map { policy.permits($0) } ?? false }
        guard !permitted.isEmpty else {
            state.pointee.counters.add(.blockedByAddressPolicy)
            return fail(index, .refused(.noAddressAcceptable))
        }
        opening.candidates = permitted.map { address in
            var address = address
            address.port = opening.port
            return address
        }
        askForPlaces(index, opening)
    }

    // MARK: - The places

    /// Asks for places; the answer may come later when instances share their counts.
    private func askForPlaces(_ index: UInt32, _ opening: MuxOpening) {
        let socket = socket(stream(index).pointee.socket)
        let shard = state.pointee.shard
        let identity = socket.pointee.identity.takeUnretainedValue()
        let waiter = PlaceWaiter(shard: shard.index, owner: state.pointee.targetOwner, context: index)
        let admission = state.pointee.shared.limits.places.admit(
            session: identity.session, address: identity.address, limits: socket.pointee.rules.takeUnretainedValue().places, for: waiter)
        if case .pending(let claim) = admission {
            opening.claim = claim
            opening.claimDeadline = shard.now + PlaceKeeper.decisionMilliseconds
            shard.setTimer(socket.pointee.client, afterMilliseconds: PlaceKeeper.decisionMilliseconds)
            return
        }
        admitted(index, opening, admission)
    }

    /// A claim of this shard's streams was decided.
    public func placesDecided(_ claim: PlaceClaim) {
        let index = claim.waiter.context
        // The stream may be gone, and its place given to another; what was granted then went back.
        guard Int(index) < state.pointee.streams.touched, stream(index).pointee.phase == .resolving,
            let opening = stream(index).pointee.opening?.takeUnretainedValue(), opening.claim === claim
        else { return }
        opening.claim = nil
        guard let admission = claim.take() else { return }
        admitted(index, opening, admission)
    }

    /// The store did not decide in time, not even by being given up: this process does.
    func placesLate(_ index: UInt32, _ opening: MuxOpening, _ claim: PlaceClaim) {
        let places = state.pointee.shared.limits.places
        let socket = socket(stream(index).pointee.socket)
        let identity = socket.pointee.identity.takeUnretainedValue()
        opening.claim = nil
        places.cancel(claim)
        admitted(index, opening, places.admitAlone(
            session: identity.session, address: identity.address, limits: socket.pointee.rules.takeUnretainedValue().places))
    }

    private func admitted(_ index: UInt32, _ opening: MuxOpening, _ admission: Admission) {
        guard case .granted(let places) = admission else { return fail(index, .placesExceeded) }
        let stream = stream(index)
        stream.pointee.sessionPlace = .passRetained(places.session)
        stream.pointee.addressPlace = places.address.map { .passRetained($0) }
        stream.pointee.phase = .connecting
        let rules = socket(stream.pointee.socket).pointee.rules.takeUnretainedValue()
        opening.deadline = state.pointee.shard.now + rules.connectMilliseconds
        if !dialNext(index) { connectFailed(index) }
    }

    // MARK: - The target

    private func connectFailed(_ index: UInt32) {
        state.pointee.counters.add(.connectFailed)
        fail(index, .dialFailed)
    }

    /// Dials the next permitted address; what is queued for a target that could not be reached goes along. False when
    /// none is left.
    private func dialNext(_ index: UInt32) -> Bool {
        let stream = stream(index)
        guard let opening = stream.pointee.opening?.takeUnretainedValue() else { return false }
        let shard = state.pointee.shard
        while !opening.candidates.isEmpty {
            let address = opening.candidates.removeFirst()
            var error: Int32 = 0
            let slot = shard.connect(to: address, owner: state.pointee.targetOwner, context: index, error: &error)
            guard slot != .none else { continue }
            let former = stream.pointee.target
            if former != .none {
                shard.moveQueue(from: former, to: slot)
                shard.close(former)
            }
            stream.pointee.target = slot
            shard.countQueueExactly(slot)
            for early in opening.early { shard.send(slot, early.buffer, start: 0, count: early.count) }
            opening.early = []
            opening.earlyBytes = 0
            if stream.pointee.clientFinished { shard.finish(slot) }
            if socket(stream.pointee.socket).pointee.poolPaused { shard.notifyWhenDrained(slot) }
            let now = shard.now
            shard.setTimer(slot, afterMilliseconds: opening.deadline > now ? opening.deadline - now : 0)
            return true
        }
        return false
    }

    func targetConnected(_ index: UInt32) {
        let stream = stream(index)
        let shard = state.pointee.shard
        stream.pointee.phase = .open
        dropOpening(stream)
        stream.pointee.lastActivity = shard.now
        shard.setTimer(stream.pointee.target, afterMilliseconds: idleMilliseconds(stream))
        beginReading(stream)
    }

    /// The target broke, or could not be reached.
    func targetFailed(_ index: UInt32) {
        if stream(index).pointee.phase == .connecting {
            if !dialNext(index) { connectFailed(index) }
        } else {
            state.pointee.counters.add(.targetFailed)
            fail(index, .dialFailed)
        }
    }

    func idleMilliseconds(_ stream: UnsafeMutablePointer<MuxStream>) -> UInt64 {
        socket(stream.pointee.socket).pointee.rules.takeUnretainedValue().idleMilliseconds
    }

    // MARK: - Before there is a target

    /// Keeps bytes that came before there was a target; false without buffers.
    @inline(never)
    func keepEarly(_ index: UInt32, _ source: UnsafeRawPointer, _ count: Int, _ key: UInt32) -> Bool {
        let shard = state.pointee.shard
        guard let opening = stream(index).pointee.opening?.takeUnretainedValue() else { return false }
        var done = 0
        while done < count {
            var used = opening.early.last?.count ?? EngineLimits.smallBufferBytes
            if used == EngineLimits.smallBufferBytes {
                guard let buffer = shard.acquire(.small) else { return false }
                opening.early.append((buffer: buffer, count: 0))
                used = 0
            }
            let last = opening.early.count - 1
            let part = min(count - done, EngineLimits.smallBufferBytes - used)
            ByteKernel.unmask(source + done, shard.bytes(opening.early[last].buffer) + used, part, key: ByteKernel.rotate(key, by: done))
            opening.early[last].count += part
            done += part
        }
        opening.earlyBytes += count
        return true
    }

    /// Whether a DATA frame of this length is too much for the stream: the bytes accepted from the client that the kernel has
    /// not taken would exceed the cap. If so, the stream is destroyed.
    @inline(never)
    func overflows(_ index: UInt32, _ found: UInt32, _ count: Int) -> Bool {
        let stream = stream(found)
        var held = count
        if state.pointee.run.stream == found { held += state.pointee.run.end - state.pointee.run.start }
        let maximum = socket(index).pointee.maximumStreamBytes
        if stream.pointee.target == .none {
            held += stream.pointee.opening?.takeUnretainedValue().earlyBytes ?? 0
        } else if held <= maximum {
            held += state.pointee.shard.unsentBytes(stream.pointee.target)
        }
        guard held > maximum else { return false }
        if state.pointee.run.stream == found { state.pointee.run.drop() }
        abort(found)
        return true
    }
}

extension SocketAddress {
    /// The address of the policy's type with a port.
    init(_ address: IPAddress, port: UInt16) {
        let bytes = address.bytes
        if bytes.count == 4 {
            self.init(ipv4: (bytes[0], bytes[1], bytes[2], bytes[3]), port: port)
        } else {
            self.init(ipv6: bytes, port: port)
        }
    }
}
