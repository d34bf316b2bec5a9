import Engine
import Glibc
import HTTP
import Policy
import Wire

/// Exchanges: joining one, beginning one, going from upstream to upstream, ending one.
extension DNSService {
    // MARK: - Waiting

    /// Makes the client of a query wait: with an exchange under way, or a new one. Nil when there are too many, of all clients or of
    /// the session.
    func wait(_ message: UnsafeRawBufferPointer, _ question: DNSQuery, _ traits: DNSQuery.Traits?, _ name: UnsafeRawBufferPointer,
              _ client: DNSClient, _ request: RequestView) -> UInt32? {
        guard waiterCount < DNSLimits.waiters,
            let place = shared.limits.queries.acquire(client.sessionID, limit: DNSLimits.waitersPerSession)
        else { return nil }
        guard let ticket = exchange(message, question, traits, name, client.isDocument, request) else {
            shared.limits.queries.release(place)
            return nil
        }
        waiters[Int(ticket)].place = Unmanaged.passRetained(place)
        return ticket
    }

    private func exchange(_ message: UnsafeRawBufferPointer, _ question: DNSQuery, _ traits: DNSQuery.Traits?,
                          _ name: UnsafeRawBufferPointer, _ isDocument: Bool, _ request: RequestView) -> UInt32? {
        let hash = DNSCache.hash(UnsafeRawBufferPointer(rebasing: message[2...]))
        if let present = underWay(message, hash) {
            guard exchanges[Int(present)].waiterCount < DNSLimits.waitersPerExchange else { return nil }
            guard let ticket = join(present, question.identifier, isDocument) else { return nil }
            metrics.add(.coalesced)
            return ticket
        }
        guard let index = openExchange() else { return nil }
        fill(index, message, question, traits, name, hash, request)
        let ticket = join(index, question.identifier, isDocument)
        ask(index)
        return ticket
    }

    private func underWay(_ message: UnsafeRawBufferPointer, _ hash: UInt64) -> UInt32? {
        var index = chains[Int(truncatingIfNeeded: hash) & (DNSLimits.exchangeChains - 1)]
        while index != .max {
            let exchange = exchanges + Int(index)
            if exchange.pointee.hash == hash, exchange.pointee.phase != .finished, exchange.pointee.queryBytes == message.count,
                memcmp(exchange.pointee.block! + 2, message.baseAddress! + 2, message.count - 2) == 0
            {
                return index
            }
            index = exchange.pointee.chain
        }
        return nil
    }

    private func join(_ index: UInt32, _ identifier: UInt16, _ isDocument: Bool) -> UInt32? {
        let ticket: UInt32
        if freeWaiter != .max {
            ticket = freeWaiter
            freeWaiter = waiters[Int(ticket)].next
        } else {
            guard waitersTouched < DNSLimits.waiters else { return nil }
            ticket = UInt32(waitersTouched)
            waitersTouched += 1
        }
        waiterCount += 1
        (waiters + Int(ticket)).initialize(to: Waiter(exchange: index, identifier: identifier, isDocument: isDocument))
        let exchange = exchanges + Int(index)
        if exchange.pointee.lastWaiter == .max {
            exchange.pointee.firstWaiter = ticket
        } else {
            waiters[Int(exchange.pointee.lastWaiter)].next = ticket
        }
        exchange.pointee.lastWaiter = ticket
        exchange.pointee.waiterCount += 1
        return ticket
    }

    private func openExchange() -> UInt32? {
        let index: UInt32
        if freeExchange != .max {
            index = freeExchange
            freeExchange = exchanges[Int(index)].next
        } else {
            guard exchangesTouched < DNSLimits.exchanges else { return nil }
            index = UInt32(exchangesTouched)
            exchangesTouched += 1
        }
        (exchanges + Int(index)).initialize(to: Exchange())
        exchangeCount += 1
        return index
    }

    private func fill(_ index: UInt32, _ message: UnsafeRawBufferPointer, _ question: DNSQuery, _ traits: DNSQuery.Traits?,
                      _ name: UnsafeRawBufferPointer, _ hash: UInt64, _ request: RequestView) {
        let exchange = exchanges + Int(index)
        let trace = Self.trace(request)
        let block = UnsafeMutableRawBufferPointer.allocate(
            byteCount: message.count + name.count + trace.parent.utf8.count + trace.state.utf8.count, alignment: 1)
        block.copyMemory(from: message)
        UnsafeMutableRawBufferPointer(rebasing: block[message.count...]).copyMemory(from: name)
        UnsafeMutableRawBufferPointer(rebasing: block[(message.count + name.count)...]).copyBytes(from: (trace.parent + trace.state).utf8)
        exchange.pointee.block = block.baseAddress
        exchange.pointee.queryBytes = message.count
        exchange.pointee.nameBytes = name.count
        exchange.pointee.traceParentBytes = trace.parent.utf8.count
        exchange.pointee.traceStateBytes = trace.state.utf8.count
        exchange.pointee.endMilliseconds = shard.now + DNSLimits.answerMilliseconds
        exchange.pointee.question = question
        exchange.pointee.traits = traits
        exchange.pointee.hash = hash
        exchange.pointee.plan = plans.count - 1
        let chain = Int(truncatingIfNeeded: hash) & (DNSLimits.exchangeChains - 1)
        exchange.pointee.chain = chains[chain]
        chains[chain] = index
    }

    // MARK: - Attempts

    /// Asks the present upstream, or gives up when there is none left, or no time.
    func ask(_ index: UInt32) {
        let exchange = exchanges + Int(index)
        let plan = plans[exchange.pointee.plan]
        guard exchange.pointee.step < plan.count, shard.now < exchange.pointee.endMilliseconds else { return finish(index, answer: 0..<0) }
        exchange.pointee.upstream = plan[exchange.pointee.step]
        exchange.pointee.place = upstreams[exchange.pointee.upstream].preferred
        exchange.pointee.trials = 0
        exchange.pointee.attemptNanoseconds = monotonicNanoseconds()
        exchange.pointee.deadlineMilliseconds = min(
            shard.now + UInt64(shared.settings.upstreamTimeoutMilliseconds), exchange.pointee.endMilliseconds)
        proceed(index)
    }

    /// Goes on with the present attempt once its upstream's address is known.
    func proceed(_ index: UInt32) {
        let exchange = exchanges + Int(index)
        let number = exchange.pointee.upstream
        if case .unusable = upstreams[number].kind { return attemptFailed(index) }
        guard let address = upstreams[number].address(at: exchange.pointee.place, nowMilliseconds: shard.now) else { return name(index) }
        switch upstreams[number].kind {
        case .datagram: sendDatagram(index, address)
        case .https: sendRequest(index, address)
        case .unusable: break
        }
    }

    /// Waits for the address of the present upstream.
    private func name(_ index: UInt32) {
        let number = exchanges[Int(index)].upstream
        if upstreams[number].lookup == nil {
            let context = DNSContext(.name, UInt32(number)).raw
            upstreams[number].lookup = shard.lookUp(upstreams[number].host, owner: owner, context: context)
            if upstreams[number].lookup == nil { return attemptFailed(index) }
        }
        exchanges[Int(index)].phase = .naming
        naming.append(index, exchanges)
        setTick()
    }

    /// A look-up ended: everyone who waits for it goes on.
    func named(_ number: Int, _ event: Event) {
        guard number < upstreams.count, upstreams[number].lookup == event.detail else {
            _ = shard.takeAddresses(event.detail)
            return
        }
        upstreams[number].learn(shard.takeAddresses(event.detail), nowMilliseconds: shard.now)
        let isKnown = upstreams[number].addressCount > 0
        var waiting = naming
        naming = IndexQueue()
        while let index = waiting.removeFirst(exchanges) {
            if exchanges[Int(index)].upstream != number {
                naming.append(index, exchanges)
            } else if isKnown {
                proceed(index)
            } else {
                attemptFailed(index)
            }
        }
    }

    /// The present upstream has no answer: while there is time it is asked at its next address; then it is counted, and the next is
    /// asked.
    func attemptFailed(_ index: UInt32) {
        let exchange = exchanges + Int(index)
        exchange.pointee.trials += 1
        if exchange.pointee.trials < upstreams[exchange.pointee.upstream].addressCount, shard.now < exchange.pointee.deadlineMilliseconds {
            leave(index)
            exchange.pointee.dropInput()
            exchange.pointee.place += 1
            return proceed(index)
        }
        attemptEnded(index, failed: true)
        upstreams[exchange.pointee.upstream].doubt()
        exchange.pointee.dropInput()
        exchange.pointee.step += 1
        ask(index)
    }

    /// Closes what the present try has open.
    private func leave(_ index: UInt32) {
        let exchange = exchanges + Int(index)
        if exchange.pointee.slot != .none { shard.close(exchange.pointee.slot) }
        exchange.pointee.slot = .none
    }

    private func attemptEnded(_ index: UInt32, failed: Bool) {
        let exchange = exchanges + Int(index)
        leave(index)
        let elapsed = monotonicNanoseconds() &- exchange.pointee.attemptNanoseconds
        metrics.attempted(exchange.pointee.upstream, nanoseconds: elapsed, failed: failed)
    }

    /// The time within a turn counts too: an upstream on this machine answers within one.
    private func monotonicNanoseconds() -> UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) &* 1_000_000_000 &+ UInt64(now.tv_nsec)
    }

    /// Judges bytes from the present upstream as the answer.
    func judge(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) -> DNSResponse.Judgement {
        let exchange = exchanges[Int(index)]
        return DNSResponse.judge(
            Span(_unsafeElements: bytes.octets), identifier: exchange.identifier, name: Span(_unsafeElements: exchange.name.octets),
            type: exchange.question.type, recordClass: exchange.question.recordClass)
    }

    /// The answer is there: it is kept, if it may be, and its waiters are answered. `bytes` may stand in `input`.
    func answered(_ index: UInt32, _ bytes: UnsafeRawBufferPointer, _ response: DNSResponse) {
        let exchange = exchanges + Int(index)
        attemptEnded(index, failed: false)
        upstreams[exchange.pointee.upstream].prefer(exchange.pointee.place)
        keep(exchange, bytes, response)
        let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 1)
        copy.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        exchange.pointee.dropInput()
        exchange.pointee.input = copy
        exchange.pointee.inputBytes = bytes.count
        finish(index, answer: 0..<bytes.count)
    }

    /// Never a truncated answer, nor one for this client alone, nor one whose question is not spelt out, nor one of upstreams
    /// that a reload has replaced: the cache of those that followed must not learn from them.
    private func keep(_ exchange: UnsafeMutablePointer<Exchange>, _ bytes: UnsafeRawBufferPointer, _ response: DNSResponse) {
        let nameBytes = exchange.pointee.nameBytes
        guard let traits = exchange.pointee.traits, exchange.pointee.plan == plans.count - 1, !response.isTruncated, !response.isPersonal,
            response.questionEnd == DNSHeader.bytes + nameBytes + 4
        else { return }
        let lifetime = response.lifetimeSeconds(
            maximum: shared.settings.cacheMaxLifetimeSeconds, negativeDefault: shared.settings.cacheNegativeLifetimeSeconds)
        guard lifetime > 0 else { return }
        key.copyMemory(from: exchange.pointee.name)
        let whole = DNSKey.complete(key, nameBytes: nameBytes, exchange.pointee.question, traits)
        shared.cache.store(whole, bytes, questionEnd: response.questionEnd, lifetimeSeconds: lifetime, nowNanoseconds: shard.nowNanoseconds)
    }

    // MARK: - The end

    private func finish(_ index: UInt32, answer: Range<Int>) {
        exchanges[Int(index)].phase = .finished
        exchanges[Int(index)].answer = answer
        finished.append(index, exchanges)
    }

    /// Whether there are answers to hand out.
    public var hasFinished: Bool { !finished.isEmpty }

    /// The next answer and its ticket, which is no longer valid; nil when there is none.
    public func nextFinished() -> (ticket: UInt32, answer: DNSAnswer)? {
        while !finished.isEmpty {
            let index = finished.head
            let exchange = exchanges + Int(index)
            let ticket = exchange.pointee.firstWaiter
            guard ticket != .max else {
                _ = finished.removeFirst(exchanges)
                release(index)
                continue
            }
            let waiter = waiters[Int(ticket)]
            if let place = waiter.place { shared.limits.queries.release(place.takeRetainedValue()) }
            waiters[Int(ticket)].place = nil
            exchange.pointee.firstWaiter = waiter.next
            waiters[Int(ticket)].next = freeWaiter
            freeWaiter = ticket
            waiterCount -= 1
            return (ticket, answer(exchange, waiter))
        }
        return nil
    }

    private func answer(_ exchange: UnsafeMutablePointer<Exchange>, _ waiter: Waiter) -> DNSAnswer {
        let asked = exchange.pointee.question
        let question = DNSQuery(
            identifier: waiter.identifier, flags: asked.flags, type: asked.type, recordClass: asked.recordClass, end: asked.end)
        key.copyMemory(from: exchange.pointee.name)
        let name = UnsafeRawBufferPointer(rebasing: key[..<exchange.pointee.nameBytes])
        guard !exchange.pointee.answer.isEmpty, let input = exchange.pointee.input else {
            return unanswered(question, name, isDocument: waiter.isDocument)
        }
        let message = UnsafeMutableRawBufferPointer(start: input, count: exchange.pointee.answer.count)
        DNSMessageEdit.setIdentifier(message, waiter.identifier)
        let code = UInt16(message[3]) & DNSHeader.codeMask
        metrics.answered(type: asked.type, code: code, .upstream)
        let copy = UnsafeMutableRawBufferPointer(rebasing: scratch[..<message.count])
        copy.copyMemory(from: UnsafeRawBufferPointer(message))
        let record = DNSRecordOfAnswer(type: asked.type, code: code, isCacheHit: false, name: name)
        return answered(UnsafeRawBufferPointer(copy), record, isDocument: waiter.isDocument)
    }

    private func release(_ index: UInt32) {
        let exchange = exchanges + Int(index)
        let chain = Int(truncatingIfNeeded: exchange.pointee.hash) & (DNSLimits.exchangeChains - 1)
        if chains[chain] == index {
            chains[chain] = exchange.pointee.chain
        } else {
            var previous = chains[chain]
            while exchanges[Int(previous)].chain != index { previous = exchanges[Int(previous)].chain }
            exchanges[Int(previous)].chain = exchange.pointee.chain
        }
        exchange.pointee.block?.deallocate()
        exchange.pointee.block = nil
        exchange.pointee.dropInput()
        exchange.pointee.phase = .free
        exchange.pointee.next = freeExchange
        freeExchange = index
        exchangeCount -= 1
    }
}
