import Engine

/// Clients that wait for the next turn, with the bytes that were read of them.
extension UDPRelay {
    /// The turn's sockets are used up, or the client's share of it: the rest of its bytes is read at the turn's end or in the next
    /// one, and no more until then.
    @inline(never)
    func parkRest(_ index: UInt32, _ buffer: BufferIndex, _ cursor: Int, _ end: Int) {
        let session = session(index)
        session.pointee.isParked = true
        session.pointee.next = RelaySession.none
        if state.pointee.parkedTail == RelaySession.none {
            state.pointee.parkedHead = index
        } else {
            self.session(state.pointee.parkedTail).pointee.next = index
        }
        state.pointee.parkedTail = index
        state.pointee.hasWork = true
        state.pointee.shard.pauseReceive(session.pointee.client)
        park(index, buffer, cursor, end)
    }

    /// Keeps bytes of a client that waits. It is not read: this is what was under way.
    @inline(never)
    func park(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        session(index).pointee.detail.takeUnretainedValue().parked.append((buffer, start, end))
    }

    /// Reads on for those who waited, the first first.
    func readParked() {
        var index = state.pointee.parkedHead
        state.pointee.parkedHead = RelaySession.none
        state.pointee.parkedTail = RelaySession.none
        while index != RelaySession.none {
            let session = session(index)
            let next = session.pointee.next
            let detail = session.pointee.detail.takeUnretainedValue()
            let pieces = detail.parked
            detail.parked = []
            session.pointee.isParked = false
            session.pointee.messagesLeft = RelayBounds.messagesPerTurn
            for piece in pieces {
                if session.pointee.phase == .ending {
                    state.pointee.shard.release(piece.buffer)
                } else {
                    clientBytes(index, piece.buffer, piece.start, piece.end)
                }
            }
            if session.pointee.phase != .ending { resumeClient(session) }
            index = next
        }
    }

    /// A session ends that waits.
    func unpark(_ index: UInt32) {
        guard session(index).pointee.isParked else { return }
        session(index).pointee.isParked = false
        let detail = session(index).pointee.detail.takeUnretainedValue()
        // What was read of the first may have datagrams that leave with this turn.
        for piece in detail.parked { state.pointee.shard.releaseAfterSends(piece.buffer) }
        detail.parked = []
        var previous = RelaySession.none
        var current = state.pointee.parkedHead
        while current != index {
            previous = current
            current = session(current).pointee.next
        }
        let next = session(index).pointee.next
        if previous == RelaySession.none { state.pointee.parkedHead = next } else { session(previous).pointee.next = next }
        if state.pointee.parkedTail == index { state.pointee.parkedTail = previous }
    }
}
