import Engine

extension DNSService {
    /// Opens a connection to a DoH upstream; `.none` with the reason when there is none to be had. One over TLS is
    /// connected when the upstream has proven its name.
    func dial(_ address: SocketAddress, _ isSecure: Bool, _ host: String, _ context: UInt32, _ error: inout Int32) -> SlotIndex {
        guard isSecure else { return shard.connect(to: address, owner: owner, context: context, error: &error) }
        guard let trust = trust() else { return .none }
        return shard.connect(to: address, owner: owner, context: context, error: &error, tls: trust, serverName: host)
    }

    /// Whom the upstreams' certificates must be signed by; read when it is first needed, and nil while it cannot be read.
    private func trust() -> TLSClientContext? {
        let path = shared.settings.upstreamAuthoritiesPath
        let digest = shared.settings.upstreamAuthoritiesDigest
        if let authorities, authorities.path == path, authorities.digest == digest { return authorities.context }
        guard let context = try? TLSClientContext(authoritiesPath: path.isEmpty ? nil : path) else { return nil }
        authorities = (path, digest, context)
        return context
    }
}
