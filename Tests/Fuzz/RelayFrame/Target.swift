import Wire

/// Any bytes as a frame: what is accepted says where its payload is and comes out as it went in, whatever the limit.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRelayFrame(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // A copy of exactly this size, so that a read past the end is found.
    let message = Array(UnsafeBufferPointer(start: start, count: count))
    guard case .frame(let header) = RelayFrame.decode(message.span, maximumPayloadBytes: Int.max) else {
        for limit in [0, 1200] {
            guard case .malformed = RelayFrame.decode(message.span, maximumPayloadBytes: limit) else { preconditionFailure("limit") }
        }
        return 0
    }
    let payloadBytes = count - header.headerBytes
    precondition(payloadBytes >= 0)
    precondition(RelayFrame.decode(message.span, maximumPayloadBytes: payloadBytes) == .frame(header))
    precondition(payloadBytes == 0 || RelayFrame.decode(message.span, maximumPayloadBytes: payloadBytes - 1) == .oversized)
    precondition(header.remote.address == header.remote.address.normalized)
    let room = RelayFrame.headerBytes(header.version, header.remote.address.family)
    precondition(room == header.headerBytes || header.remote.address.family == .v4)
    withUnsafeTemporaryAllocation(byteCount: room, alignment: 1) { buffer in
        let written = RelayFrame.encodeHeader(
            header.version, guestPort: header.guestPort, remote: header.remote, endingAt: buffer.baseAddress! + room)
        precondition(written == room)
        if room == header.headerBytes {
            precondition(buffer.elementsEqual(message[..<room]))
        } else {
            guard case .frame(let again) = RelayFrame.decode(Array(buffer).span, maximumPayloadBytes: 0) else {
                preconditionFailure("a written header reads")
            }
            precondition(again.guestPort == header.guestPort && again.remote == header.remote)
        }
    }
    return 0
}
