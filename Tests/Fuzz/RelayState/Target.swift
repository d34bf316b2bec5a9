import Policy
import Wire

/// Any sequence of frames, datagrams, pauses and time-outs over bindings, filters, limits and rules: bounds hold, handles tell the truth,
/// and what is closed was open. Four bytes make a step.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRelayState(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    guard input.count >= 4 else { return 0 }
    var settings = RelayBindingSettings()
    settings.maximumBindings = Int(input[0] & 7) + 1
    settings.maximumRemotes = Int(input[0] >> 3 & 7) + 1
    settings.idleMilliseconds = 100
    settings.remoteIdleMilliseconds = 60
    var limits = RelayLimits()
    limits.framesPerSecond = Int(input[1] & 15)
    limits.bytesPerSecond = Int(input[1] >> 4) * 10
    limits.framesPerSecondPerDestination = Int(input[2] & 3)
    limits.uniqueDestinations = Int(input[2] >> 2 & 15)
    limits.destinationBuckets = Int(input[2] >> 6) + 1
    limits.hardCloseViolations = Int(input[3])
    var bindings = RelayBindings(settings)
    var limiter = RelayLimiter(limits, nowMilliseconds: 0)
    var open: [UInt16: RelayBinding] = [:]
    var now: UInt64 = 0
    var index = 4
    while index + 4 <= input.count {
        let step = Array(input[index..<(index + 4)])
        index += 4
        now += UInt64(step[0] >> 2)
        let address = step[2] & 1 == 0 ? IPAddress(v4: UInt32(step[2])) : IPAddress(v6High: 1, low: UInt64(step[2]))
        let remote = Endpoint(address, port: UInt16(step[3]))
        let port = UInt16(step[1] & 15)
        switch step[0] & 3 {
        case 0, 1:
            let wasClosed = limiter.isClosed
            let admission = limiter.admitToRemote(remote, payloadBytes: Int(step[1]), nowMilliseconds: now)
            precondition(wasClosed == (admission.outcome == .closed) && limiter.isClosed == (wasClosed || admission.closesSession))
            switch bindings.bind(port, nowMilliseconds: now) {
            case .existing(let binding): precondition(open[port] == binding)
            case .opened(let binding, let closed):
                precondition(open[port] == nil)
                if let closed {
                    precondition(open.removeValue(forKey: closed.guestPort) == closed.binding && !bindings.isOpen(closed.binding))
                }
                open[port] = binding
            }
            if let binding = open[port] {
                _ = bindings.sent(binding, to: remote, nowMilliseconds: now)
                precondition(bindings.admits(binding, from: remote, nowMilliseconds: now) && bindings.guestPort(binding) == port)
            }
        case 2:
            if let binding = open[port] { _ = bindings.admits(binding, from: remote, nowMilliseconds: now) }
        default:
            while let closed = bindings.expired(nowMilliseconds: now) {
                precondition(open.removeValue(forKey: closed.guestPort) == closed.binding && !bindings.isOpen(closed.binding))
            }
        }
        precondition(bindings.count == open.count && open.count <= settings.maximumBindings)
        precondition(open.values.allSatisfy { bindings.isOpen($0) })
    }
    while let closed = bindings.closeOne() { precondition(open.removeValue(forKey: closed.guestPort) == closed.binding) }
    precondition(open.isEmpty && bindings.tableBytes == 0)
    return 0
}
