import HTTP
import Wire

/// Revoked sessions.
extension TCPBridge {
    /// Closes the WebSockets of sessions that were revoked with 1008. One pass over the shard's bridges, at a revocation.
    public func closeRevoked() {
        for index in 0..<UInt32(state.pointee.touched) {
            switch bridge(index).pointee.phase {
            case .free, .ending: continue
            case .resolving:
                guard let opening = bridge(index).pointee.opening?.takeUnretainedValue(), isRevoked(opening) else { continue }
                refuse(index, status: 401, message: "Unauthorized")
            case .connecting, .open:
                guard let place = bridge(index).pointee.sessionPlace, place.takeUnretainedValue().isRevoked else { continue }
                end(index, .revoked, .policyViolation, drainMilliseconds: Self.acceptedBytesMilliseconds)
            }
        }
    }

    /// Whether the session was revoked since its cookie was accepted.
    func isRevoked(_ opening: BridgeOpening) -> Bool {
        state.pointee.shared.limits.revocations.contains(sessionID: opening.sessionKey)
    }
}
