import Foundation
import Policy

@testable import Control

/// What loading came to: a configuration, or the lines of its faults.
enum Outcome {
    case loaded(LoadedConfiguration)
    case refused([String])

    var configuration: Configuration? {
        guard case .loaded(let loaded) = self else { return nil }
        return loaded.configuration
    }

    var faults: [String] {
        guard case .refused(let faults) = self else { return [] }
        return faults
    }
}

/// A file that lives as long as the value.
final class TemporaryFile {
    let path: String

    init(_ text: String, name: String = "sluice.yaml") {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString)-\(name)").path
        _ = FileManager.default.createFile(atPath: path, contents: Data(text.utf8))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Loads the layers. The file's path is cut from the faults, which then begin with `line:column:`.
func load(
    file: String? = nil, environment: [String: String] = [:], set: [String] = [], port: UInt16? = nil,
    demonstration: Bool = false
) -> Outcome {
    let temporary = file.map { TemporaryFile($0) }
    var loader = ConfigurationLoader()
    loader.filePath = temporary?.path
    loader.environment = environment
    loader.port = port
    loader.demonstration = demonstration
    for text in set {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        loader.assignments.append(.init(key: parts[0], value: parts.count > 1 ? parts[1] : "", flag: "--set \(parts[0])"))
    }
    do {
        return .loaded(try loader.load())
    } catch {
        return .refused(
            error.faults.map { fault in
                let line = fault.description
                guard let path = temporary?.path, line.hasPrefix(path + ":") else { return line }
                return String(line.dropFirst(path.utf8.count + 1))
            })
    }
}
