import Engine
import Glibc
import Policy
import Wire

/// What every frame of a train begins with.
struct RelayReply {
    let version: RelayVersion
    let guestPort: UInt16
    let remote: Endpoint
    /// Of the frame, without the WebSocket's.
    let headerBytes: Int

    /// Bytes of both headers in front of a payload.
    @inline(__always)
    func messageHeaderBytes(_ payloadBytes: Int) -> Int { FrameHeader.bytes(forPayload: headerBytes &+ payloadBytes) &+ headerBytes }

    /// Writes both headers in front of a payload; returns their length.
    @inline(__always) @discardableResult
    func encode(_ payloadBytes: Int, endingAt end: UnsafeMutableRawPointer) -> Int {
        RelayFrame.encodeMessage(version, guestPort: guestPort, remote: remote, payloadBytes: payloadBytes, endingAt: end)
    }
}

/// Datagrams of one remote inside a received buffer: one, or several of equal size and perhaps a shorter last one.
struct RelayTrain {
    let buffer: BufferIndex
    /// From the buffer's first payload byte.
    var start: Int
    var count: Int
    let segmentBytes: Int

    @inline(__always)
    var segments: Int { count > segmentBytes ? (count &+ segmentBytes &- 1) / segmentBytes : 1 }
}

/// The data path to the client: what runs for every received datagram or train.
extension UDPRelay {
    /// Takes what a socket received.
    @inline(__always)
    func datagrams(_ event: Event) {
        let socket = socket(event.context)
        let index = socket.pointee.session
        if index == RelaySession.none { return state.pointee.shard.release(event.buffer) }
        let train = RelayTrain(buffer: event.buffer, start: Int(event.start), count: event.count, segmentBytes: Int(event.detail))
        if train.segmentBytes > session(index).pointee.maximumPayloadBytes || event.result != 0 { return oversized(event, train) }
        filter(event, index, train)
    }

    /// Datagrams are too long, but perhaps the last of a train.
    @inline(never)
    private func oversized(_ event: Event, _ train: RelayTrain) {
        let index = socket(event.context).pointee.session
        let last = train.count &- (train.segments &- 1) &* train.segmentBytes
        guard event.result == 0, train.segments > 1, last <= session(index).pointee.maximumPayloadBytes else {
            drop(.droppedOversized, UInt64(train.segments))
            return state.pointee.shard.release(train.buffer)
        }
        drop(.droppedOversized, UInt64(train.segments &- 1))
        filter(event, index, RelayTrain(buffer: train.buffer, start: train.start &+ train.count &- last, count: last, segmentBytes: last))
    }

    /// Whether the client may hear the remote, and how it is told.
    @inline(__always)
    private func filter(_ event: Event, _ index: UInt32, _ train: RelayTrain) {
        let shard = state.pointee.shard
        let socket = socket(event.context)
        let session = session(index)
        let remote = Endpoint(shard.datagramSource(event))
        guard session.pointee.bindings.admits(socket.pointee.binding, from: remote, nowMilliseconds: shard.now) else {
            state.pointee.counters.add(.allowlistDrops, UInt64(truncatingIfNeeded: train.segments))
            return shard.release(train.buffer)
        }
        let family = remote.address.family
        let version = RelayVersion.toClient(
            family, guestPort: socket.pointee.guestPort, prefersV2: session.pointee.prefersV2, v2Seen: session.pointee.hasSeenV2)
        let reply = RelayReply(
            version: version, guestPort: socket.pointee.guestPort, remote: remote, headerBytes: RelayFrame.headerBytes(version, family))
        let bytes = train.count &+ train.segments &* reply.headerBytes
        if session.pointee.rules.pointee.limitsToClient
            || shard.queuedBytes(session.pointee.client) &+ bytes > session.pointee.sendQueueBytes
        {
            return select(index, train, reply)
        }
        deliver(index, train, reply)
    }

    /// Drops what exceeds the limit towards the client, or does not fit into its queue, and delivers the rest.
    @inline(never)
    private func select(_ index: UInt32, _ train: RelayTrain, _ reply: RelayReply) {
        let shard = state.pointee.shard
        let session = session(index)
        let client = session.pointee.client
        // What was only queued in this turn is offered to the kernel before it counts against the client.
        let queued = shard.isStalled(client) ? shard.queuedBytes(client) : shard.unsentBytes(client)
        var room = session.pointee.sendQueueBytes &- queued
        let first = shard.bytes(train.buffer) + train.start
        var kept = RelayTrain(buffer: train.buffer, start: train.start, count: 0, segmentBytes: train.segmentBytes)
        var number = 0
        var stop = RelayStop.none
        for segment in 0..<train.segments {
            let offset = segment &* train.segmentBytes
            let payloadBytes = min(train.segmentBytes, train.count &- offset)
            let frameBytes = payloadBytes &+ reply.headerBytes
            let admission = session.pointee.limiter.admitToClient(bytes: frameBytes, nowMilliseconds: shard.now)
            if admission.outcome != .admitted {
                stop = refused(admission)
                if stop != .none { break }
                continue
            }
            guard frameBytes <= room else {
                drop(.droppedBackpressure)
                continue
            }
            room &-= frameBytes
            let place = number &* train.segmentBytes
            if place != offset { memmove(first + place, first + offset, payloadBytes) }
            kept.count = place &+ payloadBytes
            number &+= 1
        }
        if number > 0 { deliver(index, kept, reply) } else { shard.release(train.buffer) }
        if stop != .none { finish(index, stop) }
    }

    /// Queues frames for the client.
    @inline(__always)
    private func deliver(_ index: UInt32, _ train: RelayTrain, _ reply: RelayReply) {
        let shard = state.pointee.shard
        let client = session(index).pointee.client
        let segments = train.segments
        // The client's queue may hold the buffer for long: not when others run out of them.
        let isBehind = shard.isStalled(client) || shard.queuedBuffers(client) >= RelayBounds.queuedBuffers
        if isBehind || shard.runsLow(train.buffer.bufferClass) { return copy(client, train, reply) }
        if segments > 1 { return spread(client, train, reply) }
        count(1, train.count)
        let header = reply.encode(train.count, endingAt: shard.bytes(train.buffer) + train.start)
        shard.send(client, train.buffer, start: train.start &- header, count: header &+ train.count)
    }

    @inline(__always)
    private func count(_ frames: Int, _ bytes: Int) {
        state.pointee.counters.add(.datagramsOut, UInt64(truncatingIfNeeded: frames))
        state.pointee.counters.add(.bytesToClient, UInt64(truncatingIfNeeded: bytes))
    }

    /// A train leaves in its buffer, the datagrams moved apart for their headers. A last one whose header is shorter than the others'
    /// does not fit their step: it follows as a copy.
    private func spread(_ client: SlotIndex, _ train: RelayTrain, _ reply: RelayReply) {
        let shard = state.pointee.shard
        let headerBytes = reply.messageHeaderBytes(train.segmentBytes)
        let lastBytes = train.count &- (train.segments &- 1) &* train.segmentBytes
        let lastHeaderBytes = reply.messageHeaderBytes(lastBytes)
        var evenBytes = train.count
        let last = state.pointee.scratch + RelayFrame.maximumMessageHeaderBytes
        if lastHeaderBytes != headerBytes {
            evenBytes &-= lastBytes
            last.copyMemory(from: shard.bytes(train.buffer) + (train.start &+ evenBytes), byteCount: lastBytes)
            reply.encode(lastBytes, endingAt: last)
        }
        // Behind what the short one may take: its header says fewer than 126 bytes.
        let header = state.pointee.scratch + RelayBounds.scratchBytes
        let lastHeader = header - RelayFrame.maximumMessageHeaderBytes
        reply.encode(train.segmentBytes, endingAt: header)
        reply.encode(lastHeaderBytes == headerBytes ? lastBytes : train.segmentBytes, endingAt: lastHeader)
        let isQueued = shard.sendSpread(
            client, train.buffer, start: train.start, count: evenBytes, segmentBytes: train.segmentBytes, headerBytes: headerBytes,
            header: header - headerBytes, lastHeader: lastHeader - headerBytes)
        guard isQueued else { return copy(client, train, reply) }
        count(evenBytes / train.segmentBytes &+ (evenBytes % train.segmentBytes == 0 ? 0 : 1), evenBytes)
        guard evenBytes < train.count else { return }
        guard shard.append(client, last - lastHeaderBytes, lastHeaderBytes &+ lastBytes) else { return drop(.droppedBackpressure) }
        count(1, lastBytes)
    }

    /// The client is behind: frames are copied behind one another, and the buffer goes back.
    @inline(never)
    private func copy(_ client: SlotIndex, _ train: RelayTrain, _ reply: RelayReply) {
        let shard = state.pointee.shard
        var source = UnsafeRawPointer(shard.bytes(train.buffer) + train.start)
        var left = train.count
        let header = state.pointee.scratch + RelayFrame.maximumMessageHeaderBytes
        for _ in 0..<train.segments {
            let payloadBytes = min(left, train.segmentBytes)
            let headerBytes = reply.encode(payloadBytes, endingAt: header)
            if append(client, header - headerBytes, headerBytes, source, payloadBytes) {
                count(1, payloadBytes)
                state.pointee.counters.add(.framesCopied)
            } else {
                drop(.droppedBackpressure)
            }
            source += payloadBytes
            left &-= payloadBytes
        }
        shard.release(train.buffer)
    }

    /// Copies a frame to the end of the queue; false without buffers, or when they run low and the client holds many.
    private func append(_ client: SlotIndex, _ header: UnsafeRawPointer, _ headerBytes: Int, _ payload: UnsafeRawPointer,
                        _ payloadBytes: Int) -> Bool {
        let shard = state.pointee.shard
        if let place = shard.reserveMessage(client, headerBytes &+ payloadBytes) {
            place.copyMemory(from: header, byteCount: headerBytes)
            (place + headerBytes).copyMemory(from: payload, byteCount: payloadBytes)
            shard.commitMessage(client, headerBytes &+ payloadBytes)
            return true
        }
        if shard.runsLow, shard.queuedBuffers(client) >= RelayBounds.queuedBuffersLow { return false }
        guard shard.canAppend(client, headerBytes &+ payloadBytes) else { return false }
        return shard.append(client, header, headerBytes) && (payloadBytes == 0 || shard.append(client, payload, payloadBytes))
    }
}
