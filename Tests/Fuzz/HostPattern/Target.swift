import Policy

/// Any text as a list of host patterns: the list is the sum of its items, and what it denies cannot be reached under
/// another spelling.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHostPattern(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    var items: [HostPattern] = []
    var isValid = true
    for item in text.split(separator: ",") {
        do { items.append(try HostPattern(parsing: String(item))) } catch {
            // A refusal is said in one line and names an item that is not blank; blank items are no items.
            if !item.unicodeScalars.allSatisfy({ $0.properties.isWhitespace || $0 == "\u{FEFF}" }) { isValid = false }
            precondition(!error.description.isEmpty)
        }
    }
    let list = try? HostPattern.list(parsing: text)
    precondition(list == (isValid ? items : nil))
    for pattern in items {
        switch pattern {
        case .exact(let name): deny(pattern, [name, name.uppercased(), name + ".", " " + name + "\t"], kept: "a." + name)
        case .subdomains(let parent):
            deny(pattern, ["a." + parent, "A.b." + parent.uppercased() + "."], kept: parent)
            precondition(!pattern.matches(TargetHost(classifying: "a" + parent)))
        case .address(let address):
            deny(pattern, [address.description, "[" + address.description + "]"], kept: nil)
            if case .name(let name) = TargetHost(classifying: "a." + address.description) { precondition(!pattern.matches(.name(name))) }
        }
    }
    return 0
}

/// `spellings` match and are denied; `kept` does not match.
private func deny(_ pattern: HostPattern, _ spellings: [String], kept: String?) {
    for spelling in spellings {
        let host = TargetHost(classifying: spelling)
        // A longer name than the DNS has is malformed, and denied as that.
        if host == .malformed { continue }
        precondition(pattern.matches(host))
    }
    if let kept { precondition(!pattern.matches(TargetHost(classifying: kept))) }
}
