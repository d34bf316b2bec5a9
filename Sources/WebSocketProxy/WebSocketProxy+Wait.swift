import Engine
import HTTP
import Policy
import Wire

/// Bytes of a client that have been read and cannot be passed on yet.
///
/// - While its upstream is dialled a client goes on being read, so that its leaving is noticed at once; what it sends waits here, and when
///   that is as much as may wait for a receiver it is read no more.
/// - A client above its rate is stopped between two messages, inside a buffer if need be: what is in front leaves, the rest waits here
///   for the next slot, and whatever else was under way waits behind it.
extension WebSocketProxy {
    /// Keeps bytes behind those that wait already; takes the buffer over. Small ones join the last buffer, so that many reads of a few
    /// bytes hold few. False when there are more than any kernel can have had under way.
    func keep(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ count: Int) -> Bool {
        let details = details(index)
        let shard = state.pointee.shard
        details.earlyBytes += count
        if let last = details.early.last, count <= EngineLimits.smallBufferBytes,
            last.start + last.count + count <= shard.capacity(last.buffer)
        {
            (shard.bytes(last.buffer) + last.start + last.count).copyMemory(from: shard.bytes(buffer) + start, byteCount: count)
            details.early[details.early.count - 1].count += count
            shard.release(buffer)
            return true
        }
        details.early.append((buffer, start, count))
        return details.early.count <= ProxyBounds.earlyBuffers
    }

    /// Reads a client that has no upstream yet, or stops reading it when enough of it waits. Before the answer to its upgrade no client
    /// sends anything (RFC 6455 section 4.1), and one that is not judged yet takes no more room than it has.
    func readWhileWaiting(_ index: UInt32) {
        let session = session(index)
        var most = 1
        if session.pointee.phase == .dialling { most = EngineLimits.smallBufferBytes }
        if session.pointee.phase == .admitted { most = session.pointee.bufferBytes }
        let slot = session.pointee.client.slot
        if details(index).earlyBytes < most { state.pointee.shard.resumeReceive(slot) } else { state.pointee.shard.pauseReceive(slot) }
    }

    /// What waited is read now, as far as it may.
    func replay(_ index: UInt32) {
        let details = details(index)
        let session = session(index)
        let client = side(session, .client)
        client.pointee.flags.insert(.replayed)
        while client.pointee.flags.isDisjoint(with: [.pausedRate, .pausedJudged]),
            ![.dialling, .judged, .admitted].contains(session.pointee.phase), let piece = details.early.first
        {
            details.early.removeFirst()
            details.earlyBytes -= piece.count
            read(index, .client, piece.buffer, piece.start, piece.start + piece.count)
        }
        client.pointee.flags.remove(.replayed)
    }

    // MARK: Rate

    /// How long the client's next message has to wait: it, and all before it, are paid for when this is 0.
    func waitNanoseconds(_ session: UnsafeMutablePointer<ProxySession>, forMessages messages: UInt64) -> UInt64 {
        guard session.pointee.phase == .open, let cell = session.pointee.rateCell, let rate = session.pointee.rate else { return 0 }
        let now = state.pointee.shard.nowNanoseconds
        while session.pointee.charged < messages {
            let wait = cell._withUnsafeGuaranteedRef { $0.take(rate, nowNanoseconds: now) }
            if wait > 0 { return wait }
            session.pointee.charged &+= 1
        }
        return 0
    }

    /// Whether what the client sends at `base + cursor` has to wait, and how long: 0 for no. Without room for a copy of what stands in
    /// front of it in its buffer it passes, and is paid for before the client is read again.
    @inline(never)
    func mustWait(
        _ session: UnsafeMutablePointer<ProxySession>, _ base: UnsafeRawPointer, _ cursor: Int, _ end: Int, inFront: Int
    ) -> UInt64 {
        let sieve = session.pointee.client.sieve
        guard cursor < end, sieve.beginsMessage(base, cursor) else { return 0 }
        let wait = waitNanoseconds(session, forMessages: sieve.messages &+ 1)
        guard wait > 0, inFront > 0 else { return wait }
        // A header in front, for payload that leaves without its own.
        let room = inFront + FrameHeader.maximumClientBytes
        return state.pointee.shard.canAppend(session.pointee.upstream.slot, room, fromReserve: false) ? wait : 0
    }

    /// The rest of a buffer waits for the next slot, in front of what waits already, and the client is not read.
    @inline(never)
    func hold(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int, _ waitNanoseconds: UInt64) {
        let details = details(index)
        details.early.insert((buffer, start, end - start), at: 0)
        details.earlyBytes += end - start
        shut(index, waitNanoseconds: waitNanoseconds)
    }

    /// Charges the messages that have come from the client without being paid for; while there are some it is not read.
    func throttle(_ index: UInt32) {
        let session = session(index)
        let wait = waitNanoseconds(session, forMessages: session.pointee.client.sieve.messages)
        if wait > 0 { return shut(index, waitNanoseconds: wait) }
        if session.pointee.client.flags.isDisjoint(with: [.pausedRate, .replayed]) { session.pointee.throttledAt = 0 }
    }

    @inline(never)
    private func shut(_ index: UInt32, waitNanoseconds: UInt64) {
        let session = session(index)
        let shard = state.pointee.shard
        if session.pointee.client.flags.isDisjoint(with: [.pausedRate, .replayed]) {
            state.pointee.counters.add(.throttled, session.pointee.route, 1)
            // Whoever was read on for a while was not throttled all the time.
            if shard.now &- session.pointee.rateOpens > ProxyBounds.throttlePauseMilliseconds { session.pointee.throttledAt = 0 }
        }
        if session.pointee.throttledAt == 0 { session.pointee.throttledAt = max(1, shard.now) }
        pause(side(session, .client), .pausedRate)
        session.pointee.rateOpens = shard.now &+ (waitNanoseconds &+ 999_999) / 1_000_000
        schedule(index)
    }

    /// Something else does not keep a client's bytes back any more: its slot may have come meanwhile.
    func lookForSlot(_ index: UInt32) {
        if session(index).pointee.client.flags.contains(.pausedRate) { schedule(index) }
    }

    /// The next slot has come: what waits goes on.
    func slotCame(_ index: UInt32) {
        let session = session(index)
        let client = side(session, .client)
        let isThrottled = client.pointee.flags.contains(.throttled)
        let wait = isThrottled ? waitNanoseconds(session, forMessages: session.pointee.client.sieve.messages) : 0
        if wait > 0 {
            session.pointee.rateOpens = state.pointee.shard.now &+ (wait &+ 999_999) / 1_000_000
            return
        }
        client.pointee.flags.remove(.pausedRate)
        session.pointee.rateOpens = state.pointee.shard.now
        replay(index)
        guard session.pointee.phase == .open || session.pointee.phase == .closing, !client.pointee.flags.contains(.pausedRate)
        else { return }
        if client.pointee.flags.contains(.endsLater) { return sideEnded(index, .client) }
        resume(client, .pausedRate)
    }

    /// What waits for its budget is passed on whatever that is: its session ends, or what it waits for has been said.
    func passWaiting(_ index: UInt32) {
        let client = side(session(index), .client)
        guard client.pointee.flags.contains(.throttled) else { return }
        client.pointee.flags.remove(.throttled)
        slotCame(index)
    }
}
