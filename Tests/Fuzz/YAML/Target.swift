@testable import Configuration

/// Any bytes as a YAML text: refused with a place, or a tree within the limits that says the same when it is written out
/// and read again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzYAML(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    var limits = YAMLLimits()
    limits.bytes = 2048
    limits.depth = 12
    limits.nodes = 500
    let root: YAMLNode?
    do {
        root = try YAMLDocument.parse(bytes, limits: limits)
    } catch {
        precondition(!error.message.isEmpty && error.position.line >= 1 && error.position.column >= 1)
        return 0
    }
    guard let root else { return 0 }
    var nodes = 0
    check(root, depth: 1, limits, &nodes)
    precondition(nodes <= limits.nodes)
    // Everything quoted, so that the second reading depends on no rule for plain text.
    limits.bytes = .max
    guard let again = try? YAMLDocument.parse(written(root), limits: limits) else { fatalError("a written tree is refused") }
    precondition(isSame(root, again))
    return 0
}

private func check(_ node: YAMLNode, depth: Int, _ limits: YAMLLimits, _ nodes: inout Int) {
    nodes += 1
    precondition(depth <= limits.depth && node.position.line >= 1 && node.position.column >= 1)
    switch node.content {
    case .scalar: break
    case .sequence(let items): for item in items { check(item, depth: depth + 1, limits, &nodes) }
    case .mapping(let entries):
        precondition(Set(entries.map(\.key)).count == entries.count)
        for entry in entries { check(entry.value, depth: depth + 1, limits, &nodes) }
    }
}

private func written(_ node: YAMLNode) -> String {
    switch node.content {
    case .scalar(let text, _): return quoted(text)
    case .sequence(let items): return "[" + items.map(written).joined(separator: ", ") + "]"
    // An explicit key: a long one may not stand in front of a colon otherwise.
    case .mapping(let entries): return "{" + entries.map { "? " + quoted($0.key) + " : " + written($0.value) }.joined(separator: ", ") + "}"
    }
}

private func quoted(_ text: String) -> String {
    var output = "\""
    for scalar in text.unicodeScalars {
        if scalar.value >= 0x20, scalar.value < 0x7F, scalar != "\"", scalar != "\\" {
            output.unicodeScalars.append(scalar)
        } else {
            let digits = String(scalar.value, radix: 16)
            output += "\\U" + String(repeating: "0", count: 8 - digits.count) + digits
        }
    }
    return output + "\""
}

private func isSame(_ left: YAMLNode, _ right: YAMLNode) -> Bool {
    switch (left.content, right.content) {
    case (.scalar(let left, _), .scalar(let right, _)): return left.unicodeScalars.elementsEqual(right.unicodeScalars)
    case (.sequence(let left), .sequence(let right)):
        return left.count == right.count && zip(left, right).allSatisfy { isSame($0, $1) }
    case (.mapping(let left), .mapping(let right)):
        return left.count == right.count && zip(left, right).allSatisfy { $0.key == $1.key && isSame($0.value, $1.value) }
    default: return false
    }
}
