import Wire

/// A name at a place in a message: all readers agree on whether it is one, and its canonical form is canonical.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDNSName(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 1 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let message = Array(input.dropFirst())
    let place = Int(input[0])
    let space = UnsafeMutableRawBufferPointer.allocate(byteCount: DNSName.maximumBytes, alignment: 1)
    defer { space.deallocate() }
    var writer = ByteWriter(space)
    let end = DNSName.end(message.span, place)
    precondition(DNSName.canonical(message.span, place, to: &writer) == end)
    let text = DNSName.text(message.span, place)
    precondition((text == nil) == (end == nil))
    guard let end else { return 0 }
    precondition(end > place && end <= message.count)
    let canonical = Array(UnsafeRawBufferPointer(start: space.baseAddress, count: writer.count))
    precondition(canonical.count <= DNSName.maximumBytes && canonical.last == 0)
    precondition(DNSName.equals(message.span, place, canonical.span) && DNSName.end(canonical.span, 0) == canonical.count)
    var again = ByteWriter(space)
    precondition(DNSName.canonical(canonical.span, 0, to: &again) == canonical.count && again.count == canonical.count)
    return 0
}
