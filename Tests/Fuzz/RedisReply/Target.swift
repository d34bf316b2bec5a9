import Replies

/// Any bytes as a server's answers, cut in two anywhere: what is read does not depend on the cut, is within its limits, and
/// what is taken from it is what a store may say.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRedisReply(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 1 else { return 0 }
    let bytes = UnsafeRawBufferPointer(start: start + 1, count: count - 1)
    let cut = Int(start[0]) % count
    let whole = replies([bytes])
    let parted = replies([UnsafeRawBufferPointer(rebasing: bytes[..<cut]), UnsafeRawBufferPointer(rebasing: bytes[cut...])])
    precondition(whole == parted)
    for reply in whole { judge(reply) }
    return 0
}

private func replies(_ parts: [UnsafeRawBufferPointer]) -> [RedisReply] {
    let reader = RedisReplyReader()
    var replies: [RedisReply] = []
    for part in parts {
        guard reader.feed(part) else { return replies }
        while case .reply(let reply) = reader.next() { replies.append(reply) }
    }
    return replies
}

private func judge(_ reply: RedisReply) {
    precondition(elements(reply) <= RedisReplyReader.elementsMaximum + 1)
    if let places = StoreAnswer.places(reply, held: 3) { precondition(places.places >= 3 && places.others >= 0) }
    if let pulse = StoreAnswer.pulse(reply) { precondition(pulse.revokedCount >= 0) }
    for count in 0..<4 {
        if let rates = StoreAnswer.rates(reply, count: count) { precondition(rates.count == count && rates.allSatisfy(\.isFinite)) }
    }
    if let full = StoreAnswer.denied(reply) { precondition(full >= 0) }
    if let watch = StoreAnswer.watch(reply) { precondition(watch.instances >= 1 && watch.version >= 0) }
    if let denials = StoreAnswer.denials(reply) { precondition(denials.last >= 0 && denials.documents.count <= elements(reply)) }
    if let message = StoreAnswer.message(reply) { precondition(message.payload.utf8.count + message.channel.utf8.count >= 0) }
    if let page = StoreAnswer.revocations(reply) {
        precondition(page.revoked.count <= page.members && page.revoked.keys.allSatisfy { $0.utf8.count == 64 })
    }
}

private func elements(_ reply: RedisReply) -> Int { 1 + (reply.elements?.reduce(0) { $0 + elements($1) } ?? 0) }
