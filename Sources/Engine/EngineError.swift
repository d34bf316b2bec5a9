import Glibc

/// Why a shard could not start.
public enum EngineError: Error, CustomStringConvertible {
    case outOfMemory(String)
    case kernel(String, Int32)

    /// One line.
    public var description: String {
        switch self {
        case .outOfMemory(let what): "no memory for \(what)"
        case .kernel(let what, let code): "\(what): \(String(cString: strerror(code)))"
        }
    }
}
