import Wire

/// The first byte chooses direction and version, the second how the rest is cut: packets are the same however they are
/// cut, heads and bodies are the stream, a packet that is whole at first sight is so, and SUBSCRIBEs without some filters read as they
/// should.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMQTTScanner(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let direction: MQTTDirection = start[0] & 1 == 0 ? .fromClient : .fromServer
    let version: MQTTVersion = start[0] & 2 == 0 ? .v5 : .v311
    let stream = Array(UnsafeBufferPointer(start: start + 2, count: count - 2))
    let whole = scan(stream, piece: max(stream.count, 1), direction, version)
    precondition(scan(stream, piece: 1, direction, version) == whole)
    precondition(scan(stream, piece: Int(start[1]) % 61 + 1, direction, version) == whole)
    precondition(Array(whole.bytes) == Array(stream[..<whole.bytes.count]))
    for packet in whole.filterPackets { takeOut(packet, version, salt: start[1]) }
    for packet in whole.answers { repair(packet, version, salt: start[1]) }
    return 0
}

private struct Scan: Equatable {
    var heads: [[Int]] = []
    var bytes: [UInt8] = []
    var filterPackets: [[UInt8]] = []
    var answers: [[UInt8]] = []
    var fault: MQTTFault?
    var isAtBoundary = false
}

private func scan(_ stream: [UInt8], piece: Int, _ direction: MQTTDirection, _ version: MQTTVersion) -> Scan {
    var scanner = MQTTScanner(direction, version, maximumPacketBytes: 1500)
    defer { scanner.release() }
    var result = Scan()
    var start = 0
    while start < stream.count, result.fault == nil {
        let part = Array(stream[start..<min(start + piece, stream.count)])
        start += part.count
        part.withUnsafeBytes { raw in
            guard let base = raw.baseAddress else { return }
            var cursor = 0
            walk: while true {
                let whole = scanner.wholePublish(base, cursor, raw.count)
                let item = scanner.next(base, &cursor, raw.count)
                if let whole { compare(whole, item) }
                switch item {
                case .needMore: break walk
                case .failed(let fault): result.fault = fault; break walk
                case .body(let place, let count, _): result.bytes += part[place..<place + count]
                case .packet(let head):
                    let bytes = Array(head.bytes)
                    precondition(head.count <= head.packetBytes && head.topic.upperBound <= head.count)
                    if head.type == .publish, direction == .fromClient { precondition(Array(head.topicBytes) == Array(bytes[head.topic])) }
                    result.heads.append([
                        Int(head.type.rawValue), head.count, head.packetBytes, Int(head.packetID), Int(head.topicAlias),
                        head.topic.lowerBound, head.topic.upperBound,
                    ])
                    result.bytes += bytes
                    if head.type == .subscribe { result.filterPackets.append(bytes) }
                    if head.type == .suback { result.answers.append(bytes) }
                    if head.type == .connack { _ = MQTTConnack(bytes.span, version) }
                }
            }
        }
    }
    result.isAtBoundary = scanner.isAtBoundary
    return result
}

/// A packet that is whole at first sight is what a closer look finds.
private func compare(_ whole: MQTTWholePublish, _ item: MQTTItem) {
    guard case .packet(let head) = item else { fatalError("a whole packet is none") }
    precondition(head.type == .publish && head.packetBytes == whole.packetBytes && head.flags == whole.flags && head.topicAlias == 0)
    precondition(head.topic == whole.topic..<(whole.topic + whole.topicBytes) && whole.qos < 2)
}

private func filters(_ list: MQTTFilterList, _ packet: [UInt8]) -> [[UInt8]] {
    var filters: [[UInt8]] = []
    list.forEach(packet.span) { _, entry in filters.append(Array(packet[entry.filter]) + [entry.options]) }
    return filters
}

private func takeOut(_ packet: [UInt8], _ version: MQTTVersion, salt: UInt8) {
    guard let list = MQTTFilterList(packet.span, version) else { return }
    let all = filters(list, packet)
    precondition(all.count == list.count && list.isSubscribe)
    let denied = (0..<list.count).map { UInt8($0 % 8) & salt & 7 == salt & 7 ? UInt8(0x87) : 0 }
    let kept = zip(all, denied).filter { $0.1 == 0 }.map(\.0)
    guard let written = list.packet(without: denied, from: packet.span) else { return precondition(kept.isEmpty) }
    guard let again = MQTTFilterList(written.span, version) else { fatalError("a rewritten SUBSCRIBE is not read") }
    precondition(again.packetID == list.packetID && filters(again, written) == kept)
}

private func repair(_ packet: [UInt8], _ version: MQTTVersion, salt: UInt8) {
    for filters in 1..<6 {
        var repairs = MQTTSubscribeRepairs()
        let behind = packet.count - bytesBehindHeader(packet)
        let id = packet.count > behind + 1 ? UInt16(packet[behind]) << 8 | UInt16(packet[behind + 1]) : 1
        let noted = repairs.note(id, refusals: (0..<filters).map { salt >> UInt8($0) & 1 == 1 ? 0x80 : 0 })
        precondition(noted)
        if case .repaired(let written) = repairs.repair(packet.span, version) {
            precondition(bytesBehindHeader(written) >= bytesBehindHeader(packet))
        }
    }
}

/// MQTT 3.1.1 lets a length take more bytes than it needs; what is written takes as few as it can.
private func bytesBehindHeader(_ packet: [UInt8]) -> Int {
    packet.dropFirst().drop { $0 >= 0x80 }.count - 1
}
