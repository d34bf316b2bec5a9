import CRing
import CSocket
import Glibc
import Ring

/// The turn: see the theory of operation in `Shard.swift`.
///
/// Nothing here may count a reference or allocate: it runs for every entry into the kernel. What touches a class (look-ups)
/// stands in functions of its own that run only when there is something to take.
extension Shard {
    /// One turn: flush output, submit everything, wait for something to happen.
    ///
    /// - Parameter wait: false only looks, for tests and simulation.
    public func turn(wait: Bool = true) {
        flush()
        if state.pointee.trainsUsed > state.pointee.trainsSubmitted { submitTrains() }
        armBehindSends()
        recycle()
        let state = state
        let timeout = wait ? waitNanoseconds() : 0
        state.pointee.turnsSoon = false
        state.pointee.statistics.add(.submissions, UInt64(ring_prepared(state.pointee.ring.pointer)))
        let result = state.pointee.ring.enter(waitingFor: 1, timeoutNanoseconds: timeout)
        state.pointee.statistics.add(.turns)
        let completions = state.pointee.statistics.read(.completions)
        state.pointee.statistics.addTurn(completions: completions &- state.pointee.completionsCounted)
        state.pointee.completionsCounted = completions
        if result < 0 { enterFailed(result) }
        if state.pointee.silentCount > 0 { retireSilentSends() }
        if state.pointee.trainsUsed > 0 { concludeTrains() }
        if !state.pointee.secureLater.isEmpty || state.pointee.handshakes.steps > 0 { resumeSecureWork() }
        // A kernel short of memory leaves entries behind, which still point at their vectors.
        if state.pointee.ring.unconsumed == 0 { state.pointee.vectorsUsed = 0 }
        let now = ring_now_nanoseconds(state.pointee.ring.pointer)
        state.pointee.nowNanoseconds = now
        state.pointee.nowMilliseconds = (now &- state.pointee.startNanoseconds) / 1_000_000
        trimIfDue()
        // Also without timers: one that is set later is counted from the wheel's own time.
        state.pointee.timers.advance(toMilliseconds: state.pointee.nowMilliseconds)
    }

    @inline(never)
    private func enterFailed(_ result: Int32) {
        switch -result {
        case ETIME, EINTR: break
        case EBUSY, EAGAIN:
            // The completion queue is full, or the kernel is short of memory: reap what is there and come again.
            state.pointee.statistics.add(.enterBusy)
        default:
            preconditionFailure("io_uring_enter failed with errno \(-result)")
        }
        if ring_overflowed(state.pointee.ring.pointer) { state.pointee.statistics.add(.completionOverflows) }
    }

    private func waitNanoseconds() -> UInt64 {
        var milliseconds = EngineLimits.turnMilliseconds
        if state.pointee.timers.count > 0, let deadline = state.pointee.timers.nextDeadline() {
            let now = state.pointee.nowMilliseconds
            milliseconds = min(milliseconds, deadline > now ? deadline &- now : 0)
        }
        // Output that found no place for its vector, or a stream whose silent send is now known to have succeeded.
        if state.pointee.dirty != SlotIndex.none.raw { milliseconds = 0 }
        if !state.pointee.secureWork.isEmpty { milliseconds = 0 }
        if !state.pointee.secureLater.isEmpty {
            milliseconds = min(milliseconds, state.pointee.small.freeCount > 0 ? 0 : EngineLimits.bufferRetryMilliseconds)
        }
        // Buffers that come back with the sends of this turn may be what a socket waits for.
        if state.pointee.datagramsParked > 0, state.pointee.sendingHead != BufferIndex.none.raw { milliseconds = 0 }
        if state.pointee.turnsSoon || state.pointee.inboxPending || state.pointee.resolver.pointee.hasFinished { milliseconds = 0 }
        return milliseconds &* 1_000_000
    }

    /// The next event of this turn, or false when there is none left.
    public func next(_ event: inout Event) -> Bool {
        var completion = ring_completion()
        while state.pointee.ring.next(&completion) {
            if dispatch(completion, &event) { return true }
        }
        state.pointee.ring.consumed()
        return nextWithoutCompletion(&event)
    }

    @inline(never)
    private func nextWithoutCompletion(_ event: inout Event) -> Bool {
        if !state.pointee.secureWork.isEmpty, nextSecure(&event) { return true }
        if state.pointee.lateDrainedCount > 0, nextLateDrained(&event) { return true }
        while let timer = state.pointee.timers.takeDue() {
            state.pointee.statistics.add(.timersFired)
            if timerFired(timer, &event) { return true }
        }
        if state.pointee.resolver.pointee.hasFinished, nextLookup(&event) { return true }
        if state.pointee.inboxPending {
            state.pointee.inboxPending = false
            event.kind = .inbox
            event.owner = .engine
            event.slot = .none
            return true
        }
        return false
    }

    private func timerFired(_ timer: UInt32, _ event: inout Event) -> Bool {
        guard Int(timer) >= state.pointee.slotCapacity else { return slotTimerFired(SlotIndex(timer), &event) }
        let number = timer &- UInt32(state.pointee.slotCapacity)
        switch ShardTimer(rawValue: number) {
        case .acceptRetry:
            resumeAccepting()
            return false
        case .resolver:
            resolverTimePassed()
            return false
        default:
            event.kind = .shardTimer
            event.owner = .engine
            event.slot = .none
            event.detail = number &- ShardTimer.feature0.rawValue
            return true
        }
    }

    private func slotTimerFired(_ slot: SlotIndex, _ event: inout Event) -> Bool {
        let record = state.pointee.slots + Int(slot.raw)
        guard record.pointee.flags.contains(.used), !record.pointee.flags.contains(.closing) else { return false }
        if record.pointee.owner == Owner.engine.raw {
            lingerTimePassed(slot)
            return false
        }
        if record.pointee.flags.contains(.handshaking), isServer(slot) {
            handshakeTimePassed(slot)
            return false
        }
        fill(&event, .timer, slot)
        return true
    }

    /// Sets one of the shard timers of the layer above (0 to 3), in milliseconds from now.
    public func setShardTimer(_ number: UInt32, afterMilliseconds: UInt64) {
        precondition(number < 4)
        let timer = UInt32(state.pointee.slotCapacity) &+ ShardTimer.feature0.rawValue &+ number
        state.pointee.timers.set(timer, atMilliseconds: now &+ afterMilliseconds)
    }

    func setShardTimer(_ timer: ShardTimer, afterMilliseconds: UInt64) {
        state.pointee.timers.set(UInt32(state.pointee.slotCapacity) &+ timer.rawValue, atMilliseconds: now &+ afterMilliseconds)
    }

    /// Sets the stream's one timer, in milliseconds from now.
    public func setTimer(_ slot: SlotIndex, afterMilliseconds: UInt64) {
        state.pointee.timers.set(slot.raw, atMilliseconds: now &+ afterMilliseconds)
    }

    /// Clears the stream's timer.
    public func clearTimer(_ slot: SlotIndex) { state.pointee.timers.clear(slot.raw) }

    @inline(__always)
    func fill(_ event: inout Event, _ kind: Event.Kind, _ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        event.kind = kind
        event.slot = slot
        event.owner = Owner(record.pointee.owner)
        event.context = record.pointee.context
    }

    /// Offers freed buffers to the kernel again and arms the receives that found none.
    @inline(__always)
    private func recycle() {
        state.pointee.small.refill()
        // Before bulk buffers are offered: a starved stream may have become bulk.
        if state.pointee.starvedHead != SlotIndex.none.raw {
            if state.pointee.small.offered == 0, state.pointee.small.freeCount > 0 { armStarvedHandshake() }
            armStarved()
        }
        let wanted = min(state.pointee.bulkArmed &+ 1, state.pointee.bulk.offeredMaximum)
        if state.pointee.bulkArmed > 0 {
            state.pointee.bulk.offeredTarget = wanted
            state.pointee.bulk.refill()
        }
        if state.pointee.datagramSockets > 0 { recycleDatagrams() }
        publishGauges()
    }

    @inline(__always)
    private func publishGauges() {
        let statistics = state.pointee.statistics
        let small = UInt64(state.pointee.small.held)
        let bulk = UInt64(state.pointee.bulk.held)
        statistics.set(.buffersSmallUsed, small)
        statistics.set(.buffersBulkUsed, bulk)
        statistics.set(.buffersSmallOffered, UInt64(state.pointee.small.offered))
        statistics.set(.buffersBulkOffered, UInt64(state.pointee.bulk.offered))
        if small > statistics.read(.buffersSmallPeak) { statistics.set(.buffersSmallPeak, small) }
        if bulk > statistics.read(.buffersBulkPeak) { statistics.set(.buffersBulkPeak, bulk) }
        if state.pointee.datagramSockets > 0 { publishDatagramGauges() }
    }

    /// Streams that are not read may hold every buffer that receives can have, and wait for one whose TLS handshake needs another: a
    /// handshake returns its buffer at once, so it may have one of the reserve.
    @inline(never)
    private func armStarvedHandshake() {
        var index = state.pointee.starvedHead
        while index != SlotIndex.none.raw, !state.pointee.slots[Int(index)].flags.contains(.handshaking) {
            index = state.pointee.slots[Int(index)].nextStarved
        }
        guard index != SlotIndex.none.raw else { return }
        forgetStarved(SlotIndex(index))
        state.pointee.small.offer(1)
        armReceive(SlotIndex(index))
    }

    @inline(never)
    private func armStarved() {
        // Each armed receive takes at most one buffer before this runs again.
        var budget = state.pointee.small.offered
        while budget > 0, state.pointee.starvedHead != SlotIndex.none.raw {
            let index = state.pointee.starvedHead
            let record = state.pointee.slots + Int(index)
            state.pointee.starvedHead = record.pointee.nextStarved
            if state.pointee.starvedHead == SlotIndex.none.raw { state.pointee.starvedTail = SlotIndex.none.raw }
            record.pointee.flags.remove(.starved)
            record.pointee.nextStarved = SlotIndex.none.raw
            if record.pointee.flags.contains(.used), !record.pointee.flags.contains(.closing) { armReceive(SlotIndex(index)) }
            budget &-= 1
        }
    }
}
