import Engine
import Glibc
import Policy
import Wire

/// Bindings and their sockets.
extension UDPRelay {
    /// The socket a frame leaves from, its binding and inbound filter brought up to date; none when there cannot be one.
    @inline(__always)
    func boundSocket(_ index: UInt32, _ header: RelayHeader) -> UInt32 {
        let session = session(index)
        let now = state.pointee.shard.now
        let binding: RelayBinding
        switch session.pointee.bindings.bind(header.guestPort, nowMilliseconds: now) {
        case .existing(let known): binding = known
        case .opened(let opened, let closed):
            binding = opened
            bindingOpened(index, closed)
        }
        if session.pointee.bindings.sent(binding, to: header.remote, nowMilliseconds: now) {
            state.pointee.counters.add(.allowlistEvictions)
        }
        let family = header.remote.address.family
        return session.pointee.bindings.socket(binding, family) ?? openSocket(index, binding, family)
    }

    /// A guest port is bound; another one may have had to go for it.
    @inline(never)
    private func bindingOpened(_ index: UInt32, _ closed: RelayClosedBinding?) {
        state.pointee.counters.add(.bindingsOpened)
        state.pointee.counters.add(.bindingsActive)
        if let closed {
            state.pointee.counters.add(.bindingsEvicted)
            bindingClosed(index, closed)
        }
        let session = session(index)
        guard session.pointee.nextSweep == RelaySession.never else { return }
        session.pointee.nextSweep = state.pointee.shard.now + session.pointee.rules.pointee.shared.settings.bindings.sweepMilliseconds
        schedule(index)
    }

    /// Lets go of the sockets of a binding that is no more.
    func bindingClosed(_ index: UInt32, _ closed: RelayClosedBinding) {
        state.pointee.counters.subtract(.bindingsActive)
        session(index).pointee.socketCount -= closed.socketCount
        if let number = closed.socketV4 { retire(number) }
        if let number = closed.socketV6 { retire(number) }
    }

    /// Opens the socket of a binding for a family; none when it cannot be had, and the frame is dropped.
    @inline(never)
    private func openSocket(_ index: UInt32, _ binding: RelayBinding, _ family: IPAddress.Family) -> UInt32 {
        let session = session(index)
        if family == .v6, session.pointee.lacksIPv6 { return RelaySession.none }
        let shard = state.pointee.shard
        state.pointee.socketsThisTurn += 1
        state.pointee.hasWork = true
        if state.pointee.socketsThisTurn >= RelayBounds.socketsPerTurn { state.pointee.socketsUsedUp = true }
        guard let number = state.pointee.sockets.take() ?? takeFromWhoeverHasMost(for: index) else {
            state.pointee.counters.add(.socketsRefused)
            return RelaySession.none
        }
        var options = DatagramOptions()
        // What is longer than a payload may be must be seen to be.
        if session.pointee.maximumPayloadBytes >= EngineLimits.packetBytes { options.reading = .trains }
        var error: Int32 = 0
        let slot = shard.openDatagrams(
            at: SocketAddress(anyOf: family == .v4 ? AF_INET : AF_INET6), options: options, owner: state.pointee.socketOwner,
            context: number, error: &error)
        let guestPort = session.pointee.bindings.guestPort(binding)
        socket(number).initialize(
            to: RelaySocket(session: index, binding: binding, family: family, slot: slot, guestPort: guestPort))
        guard slot != .none else {
            state.pointee.sockets.put(number)
            state.pointee.counters.add(.socketsFailed)
            if family == .v6, error == EAFNOSUPPORT || error == EADDRNOTAVAIL { session.pointee.lacksIPv6 = true }
            return RelaySession.none
        }
        state.pointee.counters.add(.datagramSocketsActive)
        session.pointee.socketCount += 1
        session.pointee.bindings.setSocket(binding, family, number)
        shard.resumeReceive(slot)
        return number
    }

    /// A socket will be closed once what was gathered for it has left.
    private func retire(_ number: UInt32) {
        socket(number).pointee.session = RelaySession.none
        socket(number).pointee.next = state.pointee.closingNext
        state.pointee.closingNext = number
        state.pointee.hasWork = true
    }

    /// A socket cannot be read any more: the next frame of its binding opens another.
    func socketFailed(_ number: UInt32) {
        let index = socket(number).pointee.session
        // A retired one is closed in its time.
        if index == RelaySession.none { return }
        session(index).pointee.bindings.setSocket(socket(number).pointee.binding, socket(number).pointee.family, nil)
        session(index).pointee.socketCount -= 1
        state.pointee.counters.add(.socketsFailed)
        closeSocket(number)
    }

    func closeSocket(_ number: UInt32) {
        state.pointee.counters.subtract(.datagramSocketsActive)
        state.pointee.shard.close(socket(number).pointee.slot)
        state.pointee.sockets.put(number)
    }

    /// The end of a turn with work left.
    @inline(never)
    func finishTurn() {
        state.pointee.hasWork = false
        state.pointee.socketsThisTurn = 0
        state.pointee.socketsUsedUp = false
        var number = state.pointee.closing
        while number != RelaySession.none {
            let next = socket(number).pointee.next
            closeSocket(number)
            number = next
        }
        state.pointee.closing = state.pointee.closingNext
        state.pointee.closingNext = RelaySession.none
        readParked()
        guard state.pointee.closing != RelaySession.none || state.pointee.parkedHead != RelaySession.none else { return }
        state.pointee.hasWork = true
        state.pointee.shard.turnSoon()
    }
}

extension SocketAddress {
    /// The kernel's form of an address and port.
    @inline(__always)
    init(endpoint: Endpoint) {
        self.init()
        storage.sin6_port = endpoint.port.bigEndian
        if endpoint.address.family == .v4 {
            storage.sin6_family = sa_family_t(AF_INET)
            // struct sockaddr_in has its address where sockaddr_in6 has the flow label.
            storage.sin6_flowinfo = UInt32(truncatingIfNeeded: endpoint.address.low).bigEndian
        } else {
            storage.sin6_family = sa_family_t(AF_INET6)
            withUnsafeMutableBytes(of: &storage.sin6_addr) { bytes in
                bytes.storeBytes(of: endpoint.address.high.bigEndian, toByteOffset: 0, as: UInt64.self)
                bytes.storeBytes(of: endpoint.address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
        }
    }
}

extension Endpoint {
    /// What the kernel says a datagram came from.
    @inline(__always)
    init(_ source: SocketAddress) {
        let port = UInt16(bigEndian: source.storage.sin6_port)
        if source.family == AF_INET {
            self.init(IPAddress(v4: UInt32(bigEndian: source.storage.sin6_flowinfo)), port: port)
        } else {
            let (high, low) = withUnsafeBytes(of: source.storage.sin6_addr) { bytes in
                (bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            }
            self.init(IPAddress(v6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low)), port: port)
        }
    }
}
