import Policy
import Wire

extension ProxyPolicy {
    /// The code a drain tells.
    var drainCode: CloseCode { CloseCode(rawValue: UInt16(draft.drain.code)) }

    /// The close frame that tells an end.
    func close(_ end: ProxyEnd) -> ProxyClose { end.close(codes, draining: drainCode) }
}

extension ProxyClose {
    /// The frame as a server sends it.
    var frame: [UInt8] {
        let payload = ForwardedClose.close(self).payload
        return [0x88, UInt8(payload.count)] + payload
    }
}
