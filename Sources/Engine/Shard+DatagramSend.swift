import CRing
import Glibc
import Ring

/// Sending datagrams.
///
/// Theory of operation
/// - `sendDatagram` only gathers: datagrams of one turn from one socket to one destination with one size become a *train*. The
///   last of a train may be shorter. One request sends it, and the kernel cuts it apart (UDP_SEGMENT).
/// - A payload is sent from where it lies; what lies between two payloads of a train costs one more part of the request's
///   vector. The bytes stay the caller's until `releaseAfterSends` of the buffer they lie in.
/// - Trains leave in the order in which they began, and datagrams to one destination keep their order, except that what the kernel
///   refuses at first is overtaken by what it takes in the same turn.
/// - A train's request does not wait (MSG_DONTWAIT) and is silent: it ends inside the entry that submits it and reports only
///   failure. After the entry every train without a completion is sent, and the buffers go back.
/// - The socket's own buffer was full: what the train holds is copied to the socket's queue and waits there.
/// - The kernel refuses to cut: the datagrams go through the queue one by one, and the socket never again asks for segments of that
///   size or more (a path's MTU), or for any (no such feature).
/// - Any other error drops the train and is counted: nobody is told.
extension Shard {
    /// Sends a datagram at the end of this turn. The payload stays where it is until then: it lies in a buffer that the caller
    /// has, and gives back with `releaseAfterSends`. False when it was dropped, and counted.
    ///
    /// - Parameters:
    ///   - destination: of the socket's family; ignored by a connected socket.
    ///   - count: up to `EngineLimits.datagramBytesMaximum`.
    @inline(__always) @discardableResult
    public func sendDatagram(_ slot: SlotIndex, to destination: SocketAddress, _ payload: UnsafeRawPointer, count: Int) -> Bool {
        let socket = state.pointee.slots + Int(slot.raw)
        assert(socket.pointee.flags.contains(.datagram))
        if socket.pointee.queuedBuffers > 0 { return queueDatagram(slot, destination, payload, count) }
        var number = socket.pointee.lastTrain
        var depth = 0
        while number != SlotIndex.none.raw, depth < EngineLimits.trainSearchDepth {
            let train = state.pointee.trainRecords + Int(number)
            if isTo(train, destination) {
                if Int(number) >= state.pointee.trainsSubmitted, join(train, Int(number), payload, count) { return true }
                break
            }
            number = train.pointee.previous
            depth &+= 1
        }
        return beginTrain(slot, destination, payload, count)
    }

    /// Sends a datagram on a connected socket; see above.
    @inline(__always) @discardableResult
    public func sendDatagram(_ slot: SlotIndex, _ payload: UnsafeRawPointer, count: Int) -> Bool {
        sendDatagram(slot, to: SocketAddress(), payload, count: count)
    }

    /// Trains that wait for the end of this turn. A datagram that does not change it has joined one and costs no send of its own.
    @inline(__always)
    public var trainsGathered: Int { state.pointee.trainsUsed }

    /// Returns a buffer from which datagrams of this turn are sent: it goes back to the pool behind them.
    @inline(__always)
    public func releaseAfterSends(_ buffer: BufferIndex) {
        if state.pointee.trainsUsed == 0 { return release(buffer) }
        let entry = record(buffer)
        precondition(entry.pointee.holder == .owner)
        entry.pointee.holder = .sending
        entry.pointee.next = state.pointee.sendingHead
        state.pointee.sendingHead = buffer.raw
    }

    // MARK: gathering

    @inline(__always)
    func isTo(_ train: UnsafeMutablePointer<ring_train>, _ destination: SocketAddress) -> Bool {
        var one = train.pointee.destination
        var other = destination.storage
        return ring_same_address(&one, &other)
    }

    /// Whether a datagram of so many bytes may become the train's next.
    @inline(__always)
    func takes(_ train: UnsafeMutablePointer<ring_train>, _ count: Int) -> Bool {
        !train.pointee.sealed && count > 0 && count <= Int(train.pointee.segment_bytes)
            && Int(train.pointee.bytes) &+ count <= EngineLimits.datagramBytesMaximum
            && Int(train.pointee.segments) < EngineLimits.trainSegments
    }

    /// Counts a datagram that became the train's next.
    @inline(__always)
    func extend(_ train: UnsafeMutablePointer<ring_train>, _ count: Int) {
        train.pointee.segments &+= 1
        train.pointee.bytes &+= UInt32(truncatingIfNeeded: count)
        if count < Int(train.pointee.segment_bytes) { train.pointee.sealed = true }
    }

    @inline(__always)
    private func join(_ train: UnsafeMutablePointer<ring_train>, _ number: Int, _ payload: UnsafeRawPointer, _ count: Int) -> Bool {
        guard takes(train, count) else { return false }
        let parts = state.pointee.trainParts + number &* EngineLimits.trainSegments
        let last = parts + (Int(train.pointee.parts) &- 1)
        if UnsafeRawPointer(last.pointee.iov_base! + last.pointee.iov_len) == payload {
            last.pointee.iov_len &+= count
        } else {
            parts[Int(train.pointee.parts)] = iovec(iov_base: UnsafeMutableRawPointer(mutating: payload), iov_len: count)
            train.pointee.parts &+= 1
        }
        extend(train, count)
        return true
    }

    private func beginTrain(_ slot: SlotIndex, _ destination: SocketAddress, _ payload: UnsafeRawPointer, _ count: Int) -> Bool {
        let socket = state.pointee.slots + Int(slot.raw)
        if !socket.pointee.flags.isDisjoint(with: [.closing, .failed]) || count > EngineLimits.datagramBytesMaximum {
            state.pointee.statistics.add(.datagramSendErrors)
            return false
        }
        if state.pointee.trainsUsed == EngineLimits.trainsPerTurn, !freeTrains() {
            state.pointee.statistics.add(.datagramsDroppedFull)
            return false
        }
        // What was just submitted may have found the socket full.
        if socket.pointee.queuedBuffers > 0 { return queueDatagram(slot, destination, payload, count) }
        let number = state.pointee.trainsUsed
        state.pointee.trainsUsed &+= 1
        let train = state.pointee.trainRecords + number
        start(train, slot, destination, count)
        train.pointee.previous = socket.pointee.lastTrain
        socket.pointee.lastTrain = UInt32(truncatingIfNeeded: number)
        state.pointee.trainParts[number &* EngineLimits.trainSegments] = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: payload), iov_len: count)
        return true
    }

    /// Makes a train of one datagram.
    @inline(__always)
    func start(_ train: UnsafeMutablePointer<ring_train>, _ slot: SlotIndex, _ destination: SocketAddress, _ count: Int) {
        train.pointee.slot = slot.raw
        train.pointee.destination = destination.storage
        if state.pointee.addresses[Int(slot.raw)].address.family != 0 { train.pointee.destination.sin6_family = 0 }
        train.pointee.segment_bytes = UInt16(truncatingIfNeeded: count)
        train.pointee.segments = 1
        train.pointee.parts = 1
        train.pointee.bytes = UInt32(truncatingIfNeeded: count)
        train.pointee.result = 0
        // An empty datagram cannot be a segment.
        train.pointee.sealed = count == 0 || count > Int(state.pointee.slots[Int(slot.raw)].segmentLimit)
    }

    // MARK: leaving

    /// Makes requests of what was gathered.
    func submitTrains() {
        for number in state.pointee.trainsSubmitted..<state.pointee.trainsUsed {
            let train = state.pointee.trainRecords + number
            train.pointee.sequence &+= 1
            if train.pointee.slot == SlotIndex.none.raw { continue }  // its socket was closed meanwhile
            let socket = state.pointee.slots + Int(train.pointee.slot)
            if !socket.pointee.flags.contains(.trainsInFlight) {
                socket.pointee.flags.insert(.trainsInFlight)
                socket.pointee.inFlight &+= 1
            }
            let token = Token(
                .train, slot: train.pointee.slot, generation: train.pointee.sequence, detail: UInt16(truncatingIfNeeded: number))
            let entry = state.pointee.ring.entry()
            ring_prepare_train(
                entry, socket.pointee.descriptor, train, state.pointee.trainParts + number &* EngineLimits.trainSegments,
                UInt32(train.pointee.parts), train.pointee.segments > 1, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT),
                token.packed)
            ring_silence_success(entry)
        }
        state.pointee.trainsSubmitted = state.pointee.trainsUsed
    }

    /// All records are used: what is gathered leaves now.
    @inline(never)
    private func freeTrains() -> Bool {
        submitTrains()
        _ = state.pointee.ring.enter(waitingFor: 0, timeoutNanoseconds: 0)
        concludeTrains()
        return state.pointee.trainsUsed < EngineLimits.trainsPerTurn
    }

    /// A train has reported: it was not sent.
    func noteTrain(_ token: Token, _ result: Int32) {
        let train = state.pointee.trainRecords + Int(token.detail)
        // Concluded already, from a look at the completions that waited, when the life is another.
        guard Int(token.detail) < state.pointee.trainsSubmitted, train.pointee.sequence == token.generation else { return }
        train.pointee.result = result
    }

    /// After an entry: trains that reported nothing are sent, and nobody reads the buffers any more.
    func concludeTrains() {
        let ring = state.pointee.ring.pointer
        // A report may be held back, or a train not even submitted: then nothing can be concluded yet.
        if state.pointee.ring.unconsumed > 0 || ring_overflowed(ring) || state.pointee.trainsSubmitted < state.pointee.trainsUsed { return }
        for index in 0..<ring_waiting(ring) {
            let token = Token(packed: ring_waiting_token(ring, index))
            if token.operation == .train { noteTrain(token, ring_waiting_result(ring, index)) }
        }
        let count = state.pointee.trainsUsed
        for number in 0..<count { concludeTrain(number) }
        // From here on a report that is read again is one of a former life.
        for number in 0..<count where state.pointee.trainRecords[number].result < 0 { state.pointee.trainRecords[number].sequence &+= 1 }
        state.pointee.trainsUsed = 0
        state.pointee.trainsSubmitted = 0
        while state.pointee.sendingHead != BufferIndex.none.raw {
            let buffer = BufferIndex(state.pointee.sendingHead)
            state.pointee.sendingHead = record(buffer).pointee.next
            put(buffer, from: .sending)
        }
    }

    @inline(__always)
    private func concludeTrain(_ number: Int) {
        let train = state.pointee.trainRecords + number
        if train.pointee.slot == SlotIndex.none.raw { return }
        let slot = SlotIndex(train.pointee.slot)
        let socket = state.pointee.slots + Int(slot.raw)
        if train.pointee.result < 0 {
            trainFailed(train, number)
        } else {
            countSent(slot, Int(train.pointee.segments), Int(train.pointee.bytes))
        }
        socket.pointee.lastTrain = SlotIndex.none.raw
        guard socket.pointee.flags.contains(.trainsInFlight) else { return }
        socket.pointee.flags.remove(.trainsInFlight)
        socket.pointee.inFlight &-= 1
        if socket.pointee.flags.contains(.closing) { closeStep(slot) }
    }

    @inline(__always)
    func countSent(_ slot: SlotIndex, _ segments: Int, _ bytes: Int) {
        let statistics = state.pointee.statistics
        statistics.add(.datagramsSent, UInt64(segments))
        statistics.add(.datagramBytesSent, UInt64(bytes))
        statistics.addTrain(.sent, segments: segments)
        state.pointee.slots[Int(slot.raw)].sentBytes &+= UInt64(bytes)
    }

    @inline(never)
    private func trainFailed(_ train: UnsafeMutablePointer<ring_train>, _ number: Int) {
        let slot = SlotIndex(train.pointee.slot)
        if state.pointee.slots[Int(slot.raw)].flags.contains(.closing) { return }
        switch sendFault(slot, -train.pointee.result, isTrain: train.pointee.segments > 1, Int(train.pointee.segment_bytes)) {
        case .full:
            state.pointee.statistics.add(.datagramSendsDelayed)
            queueTrain(train, number)
        case .uncut, .foreign: queueTrain(train, number)
        case .lost: state.pointee.statistics.add(.datagramSendErrors, UInt64(train.pointee.segments))
        }
    }
}
