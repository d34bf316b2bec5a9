import Engine
import Wire

/// Whom an event of the service's owner is for: the kind in the top two bits of the context, the index below.
struct DNSContext {
    enum Kind: UInt32 {
        case exchange, connection, name
    }

    let raw: UInt32
    init(_ kind: Kind, _ index: UInt32) { raw = kind.rawValue << 30 | index }
    init(raw: UInt32) { self.raw = raw }
    var kind: Kind? { Kind(rawValue: raw >> 30) }
    var index: UInt32 { raw & 0x3FFF_FFFF }
}

/// Events, and attempts over UDP and TCP.
extension DNSService {
    /// Deals with an event of one of the service's streams or look-ups.
    public func handle(_ event: Event) {
        let context = DNSContext(raw: event.context)
        switch context.kind {
        case .exchange where exchanges[Int(context.index)].slot != event.slot,
            .connection where connections[Int(context.index)].slot != event.slot:
            // Of a stream that was given up: its place may serve another attempt by now.
            if event.kind == .received { shard.release(event.buffer) }
        case .exchange where exchanges[Int(context.index)].phase == .datagram: datagramEvent(context.index, event)
        case .exchange: streamEvent(context.index, event)
        case .connection: connectionEvent(context.index, event)
        case .name: named(Int(context.index), event)
        case nil: preconditionFailure("an event for nobody")
        }
    }

    func setTick() {
        if tickIsSet { return }
        tickIsSet = true
        shard.setShardTimer(tick, afterMilliseconds: DNSLimits.tickMilliseconds)
    }

    /// The shard timer fired: what waits without a stream of its own may have waited too long.
    public func timePassed() {
        tickIsSet = false
        var late = naming
        naming = IndexQueue()
        while let index = late.removeFirst(exchanges) { expire(index) { $0.naming.append(index, $0.exchanges) } }
        for number in upstreams.indices {
            var late = upstreams[number].queue
            upstreams[number].queue = IndexQueue()
            while let index = late.removeFirst(exchanges) { expire(index) { $0.upstreams[number].queue.append(index, $0.exchanges) } }
        }
        if !naming.isEmpty || upstreams.contains(where: { !$0.queue.isEmpty }) { setTick() }
    }

    private func expire(_ index: UInt32, keep: (DNSService) -> Void) {
        if shard.now >= exchanges[Int(index)].deadlineMilliseconds { attemptFailed(index) } else { keep(self) }
    }

    /// What is left of the present attempt's time.
    func millisecondsLeft(_ index: UInt32) -> UInt64 {
        let deadline = exchanges[Int(index)].deadlineMilliseconds
        return deadline > shard.now ? deadline - shard.now : 1
    }

    // MARK: - UDP

    /// Asks from a socket of its own, which hears nobody else, under an identifier nobody can foresee (RFC 5452).
    func sendDatagram(_ index: UInt32, _ address: SocketAddress) {
        let exchange = exchanges + Int(index)
        exchange.pointee.phase = .datagram
        exchange.pointee.identifier = UInt16.random(in: .min ... .max, using: &random)
        var error: Int32 = 0
        let slot = shard.connectDatagram(to: address, owner: owner, context: DNSContext(.exchange, index).raw, error: &error)
        exchange.pointee.slot = slot
        guard slot != .none, let buffer = queryBuffer(index, prefix: 0) else { return attemptFailed(index) }
        shard.resumeReceive(slot)
        shard.setTimer(slot, afterMilliseconds: millisecondsLeft(index))
        shard.sendDatagram(slot, shard.bytes(buffer), count: exchange.pointee.queryBytes)
        shard.releaseAfterSends(buffer)
    }

    /// A buffer with the query under the attempt's identifier, behind `prefix` bytes.
    func queryBuffer(_ index: UInt32, prefix: Int) -> BufferIndex? {
        let exchange = exchanges[Int(index)]
        let isSmall = prefix + exchange.queryBytes <= EngineLimits.smallBufferBytes
        guard let buffer = shard.acquire(isSmall ? .small : .bulk) else { return nil }
        let place = UnsafeMutableRawBufferPointer(start: shard.bytes(buffer) + prefix, count: exchange.queryBytes)
        place.copyMemory(from: exchange.query)
        DNSMessageEdit.setIdentifier(place, exchange.identifier)
        return buffer
    }

    private func datagramEvent(_ index: UInt32, _ event: Event) {
        switch event.kind {
        case .datagrams:
            let bytes = UnsafeRawBufferPointer(start: shard.bytes(event.buffer) + Int(event.start), count: event.count)
            if event.count > 0 { datagram(index, bytes, isWhole: event.result == 0) }
            shard.release(event.buffer)
        case .unreachable, .failed, .timer: attemptFailed(index)
        default: break
        }
    }

    private func datagram(_ index: UInt32, _ bytes: UnsafeRawBufferPointer, isWhole: Bool) {
        switch judge(index, bytes) {
        case .foreign: metrics.add(.foreignAnswers)
        case .answer(let response) where response.isTruncated || !isWhole: retryOverStream(index)
        case .malformed where !isWhole: retryOverStream(index)
        case .malformed: attemptFailed(index)
        case .answer where bytes.count > responseBytesMaximum: attemptFailed(index)
        case .answer(let response): answered(index, bytes, response)
        }
    }

    // MARK: - TCP

    /// The answer did not fit into a datagram: the same upstream, in what is left of its time (RFC 7766 section 5).
    private func retryOverStream(_ index: UInt32) {
        let exchange = exchanges + Int(index)
        metrics.add(.truncatedRetries)
        let address = shard.peerAddress(exchange.pointee.slot)
        shard.close(exchange.pointee.slot)
        exchange.pointee.phase = .stream
        var error: Int32 = 0
        exchange.pointee.slot = shard.connect(to: address, owner: owner, context: DNSContext(.exchange, index).raw, error: &error)
        guard exchange.pointee.slot != .none, let buffer = queryBuffer(index, prefix: 2) else { return attemptFailed(index) }
        let count = exchange.pointee.queryBytes
        shard.bytes(buffer).storeBytes(of: UInt16(truncatingIfNeeded: count).bigEndian, as: UInt16.self)
        shard.resumeReceive(exchange.pointee.slot)
        shard.setTimer(exchange.pointee.slot, afterMilliseconds: millisecondsLeft(index))
        shard.send(exchange.pointee.slot, buffer, start: 0, count: count + 2)
    }

    private func streamEvent(_ index: UInt32, _ event: Event) {
        switch event.kind {
        case .received:
            let bytes = UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count)
            let fits = exchanges[Int(index)].append(bytes, limit: DNSHeader.maximumMessageBytes + 2)
            shard.release(event.buffer)
            if fits { streamGrew(index) } else { attemptFailed(index) }
        case .failed, .timer, .ended: attemptFailed(index)
        default: break
        }
    }

    private func streamGrew(_ index: UInt32) {
        let exchange = exchanges[Int(index)]
        guard exchange.inputBytes >= 2, let input = exchange.input else { return }
        let count = Int(UInt16(bigEndian: input.loadUnaligned(as: UInt16.self)))
        guard count <= responseBytesMaximum else { return attemptFailed(index) }
        guard exchange.inputBytes >= count + 2 else { return }
        let bytes = UnsafeRawBufferPointer(start: input + 2, count: count)
        guard case .answer(let response) = judge(index, bytes) else { return attemptFailed(index) }
        answered(index, bytes, response)
    }
}
