@testable import Configuration

nonisolated(unsafe) private let schema = ConfigurationSchema()

/// A configuration text, and behind the first NUL variables of the environment as NAME=VALUE, separated by NUL: refused
/// in lines fit for a terminal, or in force with an effective text that loads again to the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConfiguration(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let parts = UnsafeBufferPointer(start: start, count: count).split(separator: 0, omittingEmptySubsequences: false)
        .map { String(decoding: $0, as: Unicode.UTF8.self) }
    var environment: [String: String] = [:]
    for part in parts.dropFirst() {
        guard let equals = part.firstIndex(of: "=") else { continue }
        environment[String(part[..<equals])] = String(part[part.index(after: equals)...])
    }
    switch load(parts[0], environment) {
    case .failure(let faults):
        precondition(!faults.faults.isEmpty)
        for fault in faults.faults { precondition(!fault.message.isEmpty && isOneLine(fault.description)) }
    case .success(let loaded):
        for warning in loaded.warnings { precondition(isOneLine(warning)) }
        precondition((try? YAMLDocument.parse(loaded.effectiveText)) != nil)
    }
    return 0
}

private func load(_ text: String, _ environment: [String: String]) -> Result<LoadedConfiguration, ConfigurationFaults> {
    var folding = ConfigurationFolding(schema: schema)
    folding.apply(text: text) { .file("file", $0) }
    folding.apply(environment: environment)
    do { return .success(try folding.finish(fallbackSecret: [1], environment: environment)) } catch { return .failure(error) }
}

/// What is logged or printed must not be able to forge a line or drive a terminal.
private func isOneLine(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) && !(0x2028...0x2029).contains($0.value) }
}
