import Foundation

/// The functions of some object files, and what each of them refers to: calls, jumps, addresses taken.
///
/// Theory of operation
/// - `objdump -d -r` lists the instructions of each function with the relocations in them. A relocation names the symbol
///   that the linker will put there; a branch within one object may need none and then names its target itself.
/// - A name means the function of the same object, if it has one of that name, else the only one elsewhere.
/// - From a root, everything that can be reached without going through a cold function is found by walking the references.
///   Indirect calls cannot be followed; the data path has closures and existentials nowhere, so it has none to hide behind.
struct MachineCode {
    struct Function {
        let object: String
        let symbol: String
        /// The symbol as Swift spells it.
        var name: String
        var references: Set<String> = []
    }

    private(set) var functions: [Function] = []
    private var byObject: [String: [String: Int]] = [:]
    private var anywhere: [String: Int] = [:]

    /// Reads what `objdump -d -r --no-show-raw-insn` printed for one object.
    mutating func add(listing: String, object: String) {
        var current: Int?
        for line in listing.split(separator: "\n") {
            if line.hasSuffix(">:"), let open = line.firstIndex(of: "<") {
                let symbol = String(line[line.index(after: open)...].dropLast(2))
                current = functions.count
                functions.append(Function(object: object, symbol: symbol, name: symbol))
                byObject[object, default: [:]][symbol] = functions.count - 1
                anywhere[symbol] = functions.count - 1
            } else if let current, let reference = Self.reference(line), reference != functions[current].symbol {
                functions[current].references.insert(reference)
            }
        }
    }

    /// The symbol a line of a listing refers to.
    static func reference(_ line: Substring) -> String? {
        if let kind = line.range(of: "R_X86_64_") ?? line.range(of: "R_AARCH64_") {
            guard var symbol = line[kind.upperBound...].split(whereSeparator: \.isWhitespace).last else { return nil }
            // An addend follows the last sign: `symbol-0x4`.
            if let addend = symbol.range(of: "[-+]0x", options: [.regularExpression, .backwards]) { symbol = symbol[..<addend.lowerBound] }
            // A function known only to its object is named by the section it has for itself.
            if symbol.hasPrefix(".text.") { symbol = symbol.dropFirst(6) }
            return String(symbol)
        }
        guard line.hasSuffix(">"), let open = line.lastIndex(of: "<") else { return nil }
        let target = line[line.index(after: open)...].dropLast()
        // A call that waits for its relocation is shown with the address behind it, somewhere inside whatever symbol comes before.
        return target.contains("+") ? nil : String(target)
    }

    /// Gives every function its Swift name.
    mutating func demangle() throws {
        let symbols = functions.map(\.symbol).joined(separator: "\n")
        let names = try Tool.run("swift", "demangle", "--compact", input: symbols).output.split(separator: "\n")
        guard names.count == functions.count else { throw Tool.Failure(description: "swift demangle lost symbols") }
        for index in functions.indices { functions[index].name = String(names[index]) }
    }

    func function(_ symbol: String, seenFrom object: String) -> Int? { byObject[object]?[symbol] ?? anywhere[symbol] }

    /// What can be reached from `root`, and the cold functions at which the walk stopped.
    ///
    /// - Parameter isCold: whether a function with this name is the edge of what is walked.
    func reachable(from root: String, isCold: (String) -> Bool) -> (inside: [Int], edge: [Int]) {
        guard let start = functions.firstIndex(where: { $0.name == root }) else { return ([], []) }
        var seen: Set<Int> = [start]
        var inside: [Int] = []
        var edge: [Int] = []
        var pending = [start]
        while let index = pending.popLast() {
            if isCold(functions[index].name) {
                edge.append(index)
                continue
            }
            inside.append(index)
            for reference in functions[index].references {
                guard let next = function(reference, seenFrom: functions[index].object), seen.insert(next).inserted else { continue }
                pending.append(next)
            }
        }
        return (inside, edge)
    }
}

extension MachineCode {
    /// Reads object files with the machine's own tools.
    init(objects: [URL]) throws {
        for object in objects {
            let listing = try Tool.run("objdump", "-d", "-r", "--no-show-raw-insn", object.path)
            guard listing.status == 0 else { throw Tool.Failure(description: "objdump cannot read \(object.path)") }
            add(listing: listing.output, object: object.lastPathComponent)
        }
        try demangle()
    }
}
