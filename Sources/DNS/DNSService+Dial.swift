import Engine

extension DNSService {
    /// Opens a connection to a DoH upstream; `.none` with the reason when there is none to be had.
    func dial(_ address: SocketAddress, _ isSecure: Bool, _ host: String, _ context: UInt32, _ error: inout Int32) -> SlotIndex {
        guard !isSecure else { return .none }
        return shard.connect(to: address, owner: owner, context: context, error: &error)
    }
}
