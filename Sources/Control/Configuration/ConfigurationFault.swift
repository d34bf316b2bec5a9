// What is wrong with a configuration, said so that it can be mended: where it stands, which key, what is allowed.

/// Where a value comes from. Later cases override earlier ones.
public enum ConfigurationSource: Sendable, Hashable {
    /// The configuration of `sluice serve --demo`.
    case demonstration
    /// A flag of the command line, as typed.
    case flag(String)
    case file(String, TextPosition)
    /// A variable of the environment.
    case environment(String)
    /// The file named by the variable with `_FILE` appended.
    case environmentFile(String, path: String)

    /// For the comment behind an effective value.
    public var summary: String {
        switch self {
        case .demonstration: "demonstration"
        case .flag(let flag): "flag \(flag)"
        case .file(let path, let position): "\(path):\(position.line)"
        case .environment(let name): "environment \(name)"
        case .environmentFile(let name, let path): "environment \(name)_FILE (\(path))"
        }
    }
}

/// One thing that is wrong.
public struct ConfigurationFault: Error, Sendable, Equatable, CustomStringConvertible {
    /// nil when the fault lies in how several values go together.
    public var source: ConfigurationSource?
    /// The full key path, such as `tcp.allowed_ports`; empty when no key is concerned.
    public var key: String
    /// What is wrong and what is allowed, on one line.
    public var message: String

    /// A fault of `key`, found in `source`.
    public init(source: ConfigurationSource?, key: String, message: String) {
        self.source = source
        self.key = key
        self.message = message
    }

    /// Longest line: a path and a value in a message are shorter.
    private static let maximumCharacters = 1024

    /// One line: `file:line:column: key: message`, or what stands for the place. Keys come from the file as they are, so
    /// control characters in them are made visible.
    public var description: String { Quantity.excerpt(line, characters: Self.maximumCharacters) }

    private var line: String {
        let subject = key.isEmpty ? message : "\(key): \(message)"
        switch source {
        case .file(let path, let position): return "\(path):\(position.line):\(position.column): \(subject)"
        case .flag(let flag): return "\(flag): \(subject)"
        case .demonstration: return "demonstration: \(subject)"
        // The variable is in the message already, in the words the reference uses.
        case .environment, .environmentFile: return "environment: \(message)"
        case nil: return subject
        }
    }
}

/// Every fault found; never empty.
public struct ConfigurationFaults: Error, Sendable, CustomStringConvertible {
    /// In the order in which the layers were read.
    public var faults: [ConfigurationFault]
    /// The process would have been a UDP relay alone, whose users expect its exit status.
    public var ofRelay = false

    /// One line for each fault.
    public var description: String { faults.map(\.description).joined(separator: "\n") }
}

/// Finding what was meant.
public enum NearestName {
    /// The candidate with the smallest edit distance to `name`, when it is close enough to be a slip of the hand.
    public static func find(_ name: String, among candidates: some Sequence<String>) -> String? {
        let limit = max(2, name.utf8.count / 3)
        var best: (name: String, distance: Int)?
        for candidate in candidates {
            let distance = distance(Array(name.utf8), Array(candidate.utf8))
            if distance <= limit, distance < candidate.utf8.count, distance < best?.distance ?? .max {
                best = (candidate, distance)
            }
        }
        return best?.name
    }

    /// Edits that turn one into the other: insertion, deletion, substitution, exchange of neighbours.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for i in 0..<left.count {
            var row = [i + 1]
            row.reserveCapacity(right.count + 1)
            for j in 0..<right.count {
                var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] { cost = min(cost, beforeLast[j - 1] + 1) }
                row.append(cost)
            }
            beforeLast = last
            last = row
        }
        return last[right.count]
    }
}
