import CSocket
import Glibc
import Ring

/// Connected datagram sockets, for asking somebody a question.
///
/// Such a slot is used like a stream's: `send` queues buffers, `received` brings them, `close` ends it. The differences:
/// - every buffer sent is one datagram, and every `received` is one, cut to the buffer when it was longer;
/// - nothing ends it: an empty datagram is dropped, and there is no FIN, so `finish` and `linger` are not for it;
/// - it is connected at once, without an event; that nobody listens there comes as `failed` (ICMP) after a send.
extension Shard {
    /// Opens a socket with a random port of its own, from which only `address` can be reached and heard. `.none` when no
    /// slot or descriptor is left, or there is no way to the address; `error` then holds the errno.
    public func connectDatagram(to address: SocketAddress, owner: Owner, context: UInt32, error: inout Int32) -> SlotIndex {
        // The simulated kernel has no datagrams.
        guard state.pointee.ring.pointer.pointee.kernel == nil else {
            error = ENOSYS
            return .none
        }
        var address = address
        let descriptor = socket_connect_datagram(&address.storage, address.byteCount)
        guard descriptor >= 0 else {
            error = -descriptor
            return .none
        }
        let slot = openSlot(descriptor, owner: owner, context: context)
        guard slot != .none else {
            state.pointee.statistics.add(.refusedNoSlot)
            descriptor_close(descriptor)
            error = ENOBUFS
            return .none
        }
        state.pointee.statistics.add(.connects)
        state.pointee.slots[Int(slot.raw)].flags.insert(.datagram)
        state.pointee.addresses[Int(slot.raw)].address = address
        return slot
    }
}
