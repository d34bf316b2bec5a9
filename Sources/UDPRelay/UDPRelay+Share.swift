import Policy

/// Sharing a shard's sockets between its sessions.
///
/// Theory of operation. Each session has a bound of its own, but a shard has fewer sockets than all its sessions together may want. At
/// the shard's bound a guest port that needs one takes it from the session that has most, its longest unused one, or from its own
/// session when nobody has more. So who cycles through ports cannot keep others out, and takes from itself what it goes on wanting.
/// What is used in this millisecond stays: its datagrams may not have left. Then the frame is dropped, and counted.
extension UDPRelay {
    /// Sockets that are looked at to find whoever has most, beginning where the last look ended: some microseconds. Who has many is
    /// met early.
    private static let socketsLookedAt = 64
    /// Bindings closed for one socket at most; those that never got one free none.
    private static let bindingsClosed = 8

    /// A place among the sockets that another binding had; nil when there is none to take.
    @inline(never)
    func takeFromWhoeverHasMost(for index: UInt32) -> UInt32? {
        reportSocketsUsedUp()
        let now = state.pointee.shard.now
        let victim = whoeverHasMost(otherThan: index)
        for _ in 0..<Self.bindingsClosed {
            guard let closed = session(victim).pointee.bindings.displace(nowMilliseconds: now) else { return nil }
            state.pointee.counters.add(.bindingsDisplaced)
            state.pointee.counters.subtract(.bindingsActive)
            session(victim).pointee.socketCount -= closed.socketCount
            if let number = closed.socketV4 { closeSocket(number) }
            if let number = closed.socketV6 { closeSocket(number) }
            if closed.socketCount > 0 { return state.pointee.sockets.take() }
        }
        return nil
    }

    /// Of the sessions whose sockets are looked at the one that has most, if that is more than this session has with one more.
    private func whoeverHasMost(otherThan index: UInt32) -> UInt32 {
        var found = index
        var most = session(index).pointee.socketCount + 1
        let places = UInt32(state.pointee.sockets.touched)
        for _ in 0..<min(Self.socketsLookedAt, Int(places)) {
            state.pointee.hand = state.pointee.hand &+ 1 < places ? state.pointee.hand &+ 1 : 0
            guard state.pointee.sockets.isTaken(state.pointee.hand) else { continue }
            let holder = socket(state.pointee.hand).pointee.session
            guard holder != RelaySession.none, session(holder).pointee.socketCount > most else { continue }
            found = holder
            most = session(holder).pointee.socketCount
        }
        return found
    }
}
