import Policy
import Wire

/// Two filters over a small alphabet, a slash apart from other bytes: inclusion, overlap and what an index of both finds are what
/// trying every short topic says. And a table of rights, with the input as its claims: asking it never fails, and templates fill in
/// nothing that means more.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTopicFilter(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let parts = bytes.split(separator: 10, maxSplits: 1, omittingEmptySubsequences: false).map(Array.init)
    let left = small(parts[0])
    let right = small(parts.count > 1 ? parts[1] : [])
    if TopicFilter.isFilter(left.span), TopicFilter.isFilter(right.span) { compare(left, right) }
    _ = TopicFilter.isFilter(bytes.span)
    if let range = TopicFilter.unshared(bytes.span) { precondition(range.upperBound == count) }
    rights(parts.count > 1 ? parts[1] : bytes, topic: parts[0])
    return 0
}

/// At most seven characters of `a $ / + #`.
private func small(_ bytes: [UInt8]) -> [UInt8] { bytes.prefix(7).map { Array("a$/+#b/+".utf8)[Int($0 & 7)] } }

/// All topics of one to five characters. Levels that are no literal of either filter are all alike, so one letter more than the filters
/// have is enough: `c`.
private let topics: [[UInt8]] = {
    let letters = Array("ab$/c".utf8)
    var all: [[UInt8]] = []
    var last: [[UInt8]] = [[]]
    for _ in 0..<5 {
        last = last.flatMap { head in letters.map { head + [$0] } }
        all += last
    }
    return all
}()

private func compare(_ left: [UInt8], _ right: [UInt8]) {
    var isInside = true
    var meets = false
    // The same two as entries of a list, where the first that fits decides: found through an index.
    let list = "{\"acl\":[{\"permission\":\"deny\",\"action\":\"publish\",\"topic\":\"\(text(left))\"},"
        + "{\"permission\":\"allow\",\"action\":\"publish\",\"topic\":\"\(text(right))\"}]}"
    guard let claims = JSONReader.read(Array(list.utf8).span, depth: 8) else { fatalError("the list is well formed") }
    let rights = TopicRights(TopicSettings(modes: .acl), TopicIdentity(claims: claims, username: "", clientID: ""))
    for topic in topics {
        let isAllowed = !matches(left, topic) && matches(right, topic)
        precondition((rights.table.publish(topic.span, qos: 0, isRetained: false) == .allowed) == isAllowed)
        let inRight = TopicFilter.matches(right.span, topic.span)
        precondition(inRight == matches(right, topic))
        guard inRight else { continue }
        let inLeft = TopicFilter.matches(left.span, topic.span)
        if inLeft { meets = true } else { isInside = false }
    }
    // Short topics can show that a filter is not inside, or that two meet; whether they can show the rest depends on length.
    if TopicFilter.includes(left.span, right.span) { precondition(isInside) }
    if meets { precondition(TopicFilter.overlap(left.span, right.span)) }
    if left.count + right.count <= 6 {
        precondition(TopicFilter.includes(left.span, right.span) == isInside)
        precondition(TopicFilter.overlap(left.span, right.span) == meets)
    }
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Matching as the standard words it, level by level.
private func matches(_ filter: [UInt8], _ topic: [UInt8]) -> Bool {
    let wanted = filter.split(separator: 0x2F, omittingEmptySubsequences: false).map(Array.init)
    let given = topic.split(separator: 0x2F, omittingEmptySubsequences: false).map(Array.init)
    if topic.first == 0x24, wanted[0] == [0x2B] || wanted[0] == [0x23] { return false }
    for (index, level) in wanted.enumerated() {
        if level == [0x23] { return true }
        guard index < given.count, level == [0x2B] || level == given[index] else { return false }
        if index == given.count - 1 { return wanted.count == given.count || wanted.count == given.count + 1 && wanted.last == [0x23] }
    }
    return wanted.count == given.count
}

private func rights(_ text: [UInt8], topic: [UInt8]) {
    guard let claims = JSONReader.read(text.span, depth: 16) else { return }
    guard let template = try? TopicTemplate("u/${claim:/sub}/%c/#") else { fatalError("the template is well formed") }
    let settings = TopicSettings(
        modes: [.scopes, .acl, .rules], combination: .any, rules: [TopicRule(publish: [template], subscribe: [template])])
    let rights = TopicRights(settings, TopicIdentity(claims: claims, username: "u", clientID: "c"))
    precondition(rights.table.count <= TopicRights.maximumEntries)
    let verdict = rights.table.publish(topic.span, qos: 1, isRetained: false)
    precondition((verdict == .malformed) == !TopicFilter.isName(topic.span))
    if let all = rights.table.publishRights(topic.span) {
        precondition(all.contains(qos: 1, isRetained: false) == (verdict == .allowed))
    }
    _ = rights.table.subscribe(topic.span, qos: 2)
}
