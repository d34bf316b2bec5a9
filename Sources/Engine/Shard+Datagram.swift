import CRing
import CSocket
import Glibc
import Ring

/// Datagram sockets: opening, asking, closing.
///
/// Theory of operation
/// - A datagram socket is a slot like a stream: it has an owner, a context, one timer, a generation; `resumeReceive`,
///   `pauseReceive`, `transfer` and `close` are the same, and a close joins what is under way in the same way.
/// - What arrives comes as `datagrams` events (`Shard+DatagramReceive.swift`): one datagram, or a train of equal ones that the
///   kernel has joined, in a buffer that the owner then has. In front of the payload lies what was said about it, and in
///   front of that the headroom: a header written before the payload makes the buffer a message for a stream, uncopied.
/// - What leaves is gathered (`Shard+DatagramSend.swift`): the datagrams of one turn with one destination and size become one
///   request that the kernel cuts apart. Payloads are sent from where they lie, whatever lies between them.
/// - What finds the socket's own buffer full waits (`Shard+DatagramQueue.swift`), up to a bound; beyond it the newest are
///   dropped and counted.
/// - Nothing ends a datagram socket: an empty datagram is one, an ICMP error is counted and reading goes on. `failed` comes only
///   when the kernel cannot read from it at all.
public struct DatagramOptions: Sendable {
    /// What a socket reads into.
    public enum Reading: Sendable {
        /// Single datagrams of up to `EngineLimits.packetBytes`; longer ones are cut.
        case packets
        /// Packets, and trains once more than a few datagrams come in a turn (for good: what the kernel has joined meanwhile
        /// could not be told apart without).
        case adaptive
        /// Trains, and so datagrams of any length, from the start.
        case trains
    }

    /// What the socket reads into.
    public var reading = Reading.adaptive
    /// Whether datagrams may leave as trains that the kernel cuts apart.
    public var sendsTrains = true
    /// Whether other sockets of this process may be bound to the same port (one for each shard).
    public var sharesPort = false
    /// Size of the kernel's receive buffer, within the system's limit; 0 is the system's default.
    public var receiveBufferBytes: Int32 = 0

    /// The default.
    public init() {}
}

extension Shard {
    /// Opens a datagram socket. Nothing is read before `resumeReceive`.
    ///
    /// - Parameters:
    ///   - local: where it is bound; port 0 lets the kernel choose. An IPv6 socket carries no IPv4.
    ///   - peer: when given, only it can be sent to and heard, and what ICMP says about it comes as `unreachable`.
    /// - Returns: `.none` when no slot or descriptor is left or the addresses are refused; `error` then holds the errno.
    public func openDatagrams(at local: SocketAddress, peer: SocketAddress? = nil, options: DatagramOptions = DatagramOptions(),
                              owner: Owner, context: UInt32, error: inout Int32) -> SlotIndex {
        var wanted = ring_datagram_socket(
            local: local.storage, peer: peer?.storage ?? sockaddr_in6(), receive_buffer_bytes: options.receiveBufferBytes,
            shares_port: options.sharesPort)
        let descriptor = ring_open_datagram_socket(state.pointee.ring.pointer, &wanted)
        guard descriptor >= 0 else {
            error = -descriptor
            return .none
        }
        let slot = openSlot(descriptor, owner: owner, context: context)
        guard slot != .none else {
            state.pointee.statistics.add(.refusedNoSlot)
            ring_close_descriptor(state.pointee.ring.pointer, descriptor)
            error = ENOBUFS
            return .none
        }
        let socket = state.pointee.slots + Int(slot.raw)
        socket.pointee.flags.insert(.datagram)
        socket.pointee.segmentLimit = options.sendsTrains ? .max : 0
        if options.reading == .packets { socket.pointee.burst = .max }
        if options.reading == .trains { socket.pointee.flags.insert(.bulk) }
        state.pointee.addresses[Int(slot.raw)].address = peer ?? SocketAddress()
        state.pointee.addresses[Int(slot.raw)].lostCounted = 0
        state.pointee.datagramSockets &+= 1
        return slot
    }

    /// Opens a datagram socket with a random port of its own, from which only `peer` can be reached and heard.
    public func connectDatagram(to peer: SocketAddress, owner: Owner, context: UInt32, error: inout Int32) -> SlotIndex {
        state.pointee.statistics.add(.connects)
        var options = DatagramOptions()
        options.reading = .packets
        return openDatagrams(
            at: SocketAddress(anyOf: peer.family), peer: peer, options: options, owner: owner, context: context, error: &error)
    }

    /// Where the socket is bound; the unspecified address when the kernel does not say.
    public func localAddress(_ slot: SlotIndex) -> SocketAddress {
        var address = SocketAddress()
        _ = ring_local_address(state.pointee.ring.pointer, state.pointee.slots[Int(slot.raw)].descriptor, &address.storage)
        return address
    }

    /// A socket that is being closed: what it had gathered is not sent.
    func forgetDatagrams(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        countLost(slot)
        if socket.pointee.flags.contains(.creditUsed) {
            socket.pointee.flags.remove(.creditUsed)
            state.pointee.datagramsParked &-= 1
        }
        var number = socket.pointee.lastTrain
        while number != SlotIndex.none.raw, Int(number) >= state.pointee.trainsSubmitted {
            state.pointee.trainRecords[Int(number)].slot = SlotIndex.none.raw
            number = state.pointee.trainRecords[Int(number)].previous
        }
        socket.pointee.lastTrain = number
    }

    /// Counts what the kernel dropped at a full socket since it was last asked.
    func countLost(_ slot: SlotIndex) {
        let place = state.pointee.addresses + Int(slot.raw)
        let lost = ring_datagrams_lost(state.pointee.ring.pointer, state.pointee.slots[Int(slot.raw)].descriptor)
        state.pointee.statistics.add(.datagramsLostInKernel, UInt64(lost &- place.pointee.lostCounted))
        place.pointee.lostCounted = lost
    }

    // MARK: memory

    static var trainPartBytes: Int { EngineLimits.trainsPerTurn * EngineLimits.trainSegments * MemoryLayout<iovec>.stride }

    func prepareDatagrams() {
        let header = state.pointee.receiveHeader
        header.initialize(to: msghdr())
        header.pointee.msg_namelen = RING_DATAGRAM_NAME_BYTES.rawValue
        header.pointee.msg_controllen = Int(RING_DATAGRAM_CONTROL_BYTES.rawValue)
        state.pointee.packets.offeredTarget = min(EngineLimits.packetsOffered, state.pointee.packets.offeredMaximum)
        state.pointee.trains.offeredTarget = min(EngineLimits.trainsOffered, state.pointee.trains.offeredMaximum)
    }

    func dropDatagrams() {
        let sources = state.pointee.packets.count + state.pointee.trains.count
        memory_unmap(state.pointee.packetSources, sources * MemoryLayout<BufferSource>.stride)
        state.pointee.packets.unmap()
        state.pointee.trains.unmap()
        state.pointee.receiveHeader.deallocate()
        memory_unmap(state.pointee.trainRecords, EngineLimits.trainsPerTurn * MemoryLayout<ring_train>.stride)
        memory_unmap(state.pointee.trainParts, Self.trainPartBytes)
    }

    func publishDatagramGauges() {
        let statistics = state.pointee.statistics
        let packets = UInt64(state.pointee.packets.held)
        let trains = UInt64(state.pointee.trains.held)
        statistics.set(.buffersPacketUsed, packets)
        statistics.set(.buffersTrainUsed, trains)
        statistics.set(.buffersPacketOffered, UInt64(state.pointee.packets.offered))
        statistics.set(.buffersTrainOffered, UInt64(state.pointee.trains.offered))
        if packets > statistics.read(.buffersPacketPeak) { statistics.set(.buffersPacketPeak, packets) }
        if trains > statistics.read(.buffersTrainPeak) { statistics.set(.buffersTrainPeak, trains) }
    }
}
