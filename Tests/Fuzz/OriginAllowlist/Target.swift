import Policy

/// A list of origins, and behind the first line feed an Origin, behind the second a Host: the list admits what stands in
/// it and nothing else.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOriginAllowlist(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let parts = UnsafeBufferPointer(start: start, count: count).split(separator: 10, maxSplits: 2, omittingEmptySubsequences: false)
        .map { String(decoding: $0, as: Unicode.UTF8.self) }
    guard let list = try? OriginAllowlist(parsing: parts[0]) else { return 0 }
    for text in list.origins {
        guard let origin = Origin(text) else { fatalError("a listed origin is none") }
        precondition(origin.text == text && list.judge(originLines: [text]) == .allowed(origin))
        precondition(list.judge(originLines: [text, text]) == .refused)
    }
    let sent = parts.count > 1 ? parts[1] : ""
    let hosts = parts.count > 2 ? [parts[2]] : []
    let decision = list.judge(originLines: [sent], hosts: hosts)
    guard let origin = Origin(sent) else {
        precondition(decision == .refused)
        return 0
    }
    let isListed = list.admitsAnyOrigin || list.origins.contains(origin.text)
    let isSameHost = !list.admitsAnyOrigin && list.origins.isEmpty && hosts.count == 1 && origin.isSameHost(as: hosts[0])
    precondition(decision == (isListed || isSameHost ? .allowed(origin) : .refused))
    precondition(list.judge(originLines: [], hosts: hosts) == .absent)
    return 0
}
