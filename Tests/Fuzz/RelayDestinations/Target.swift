import Policy
import Wire

/// Any text as lists of blocks and of ports: the tables agree with the lists they were made from, address by address.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRelayDestinations(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    if let ports = RelayDestinationSettings.ports(text) {
        var settings = RelayDestinationSettings()
        (settings.allowsByDefault, settings.allowsPrivate, settings.allowedPorts) = (true, true, ports)
        let owner = RelayDestinations(settings)
        var probes: [UInt16] = [0, 1, 53, 65_535]
        for range in ports { probes += [range.lowerBound, range.upperBound, range.lowerBound &- 1, range.upperBound &+ 1] }
        for port in probes {
            let permits = owner.rules.permits(Endpoint(IPAddress(v4: 1), port: port))
            precondition(permits == (port != 0 && ports.contains { $0.contains(port) }))
        }
    }
    guard let blocks = RelayDestinationSettings.blocks(text) else { return 0 }
    var settings = RelayDestinationSettings()
    (settings.allowsPrivate, settings.allowedBlocks) = (true, blocks)
    let owner = RelayDestinations(settings)
    for block in blocks {
        // A mapped address is an IPv4 address, also where an IPv6 block goes around it.
        let ends = [block.first, block.last, neighbour(block.first, -1), neighbour(block.last, 1)]
        for address in ends where address == address.normalized {
            let listed = blocks.contains {
                $0.first.family == address.family && isOrdered($0.first, address) && isOrdered(address, $0.last)
            }
            precondition(owner.rules.permits(Endpoint(address, port: 1)) == listed)
        }
    }
    return 0
}

private func isOrdered(_ left: IPAddress, _ right: IPAddress) -> Bool { (left.high, left.low) <= (right.high, right.low) }

/// The next address, or the one before, in a circle.
private func neighbour(_ address: IPAddress, _ step: Int64) -> IPAddress {
    if let value = address.v4Value { return IPAddress(v4: value &+ UInt32(truncatingIfNeeded: step)) }
    let low = address.low &+ UInt64(bitPattern: step)
    let carries = step > 0 ? low == 0 : address.low == 0
    return IPAddress(v6High: carries ? address.high &+ UInt64(bitPattern: step) : address.high, low: low)
}
