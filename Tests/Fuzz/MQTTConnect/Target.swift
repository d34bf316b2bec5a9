import Wire

/// The first bytes of a session: what is read is inside the packet, is read the same with anything behind it, and reads the
/// same again after it was rewritten.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMQTTConnect(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let detection = MQTTDetection.judge(bytes.span)
    for length in 0..<min(count, 13) where MQTTDetection.judge(Array(bytes[..<length]).span) != .needMore {
        precondition(MQTTDetection.judge(Array(bytes[..<length]).span) == detection)
    }
    let outcome = MQTTConnect.read(bytes.span, acceptsPasswordAlone: true)
    guard case .complete(let connect) = outcome else {
        if case .needMore(let needed) = outcome { precondition(needed > count && needed <= MQTTLimits.defaultConnectBytes) }
        return 0
    }
    precondition(detection == .mqtt)
    let end = connect.packet.upperBound
    precondition(MQTTConnect.read((Array(bytes[..<end]) + [0xC0, 0]).span, acceptsPasswordAlone: true) == outcome)
    for length in 0..<end {
        guard case .needMore = MQTTConnect.read(Array(bytes[..<length]).span, acceptsPasswordAlone: true) else {
            // A beginning may only be refused for what the whole would be refused for.
            fatalError("decided on a part")
        }
    }
    for range in [connect.clientID, connect.properties, connect.username, connect.password, connect.will?.topic, connect.will?.payload] {
        if let range { precondition(range.lowerBound >= 0 && range.upperBound <= end) }
    }
    guard let same = try? connect.rewritten(MQTTConnectRewrite(), from: bytes.span) else { fatalError("identity failed") }
    precondition(same == Array(bytes[..<end]))
    rewrite(connect, bytes)
    return 0
}

private func rewrite(_ connect: MQTTConnect, _ bytes: [UInt8]) {
    let change = MQTTConnectRewrite(
        clientID: .prepend([0x61, 0x2D]), username: .replace([0x62]), password: .replace([1, 2, 3]), userPropertyName: "roles",
        userPropertyValue: "x,y")
    guard let written = try? connect.rewritten(change, from: bytes.span) else {
        precondition(connect.clientID.count > 65_533)
        return
    }
    guard case .complete(let again) = MQTTConnect.read(written.span, maximumBytes: 200_000) else { fatalError("not read again") }
    precondition(again.packet.count == written.count && again.version == connect.version && again.flags | 0xC0 == connect.flags | 0xC0)
    precondition(Array(written[again.clientID]) == [0x61, 0x2D] + Array(bytes[connect.clientID]))
    precondition(again.username.map { Array(written[$0]) } == [0x62] && again.password.map { Array(written[$0]) } == [1, 2, 3])
    precondition(again.will.map { Array(written[$0.topic]) } == connect.will.map { Array(bytes[$0.topic]) })
    precondition(again.will.map { Array(written[$0.payload]) } == connect.will.map { Array(bytes[$0.payload]) })
    precondition(again.will.map { Array(written[$0.properties]) } == connect.will.map { Array(bytes[$0.properties]) })
    precondition(again.keepAliveSeconds == connect.keepAliveSeconds)
    // Once rewritten, the same change of the property changes nothing more.
    let roles = MQTTConnectRewrite(userPropertyName: "roles", userPropertyValue: "x,y")
    precondition((try? again.rewritten(roles, from: written.span)) == written)
}
