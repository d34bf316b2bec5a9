import Foundation
import Testing

/// A text file of the repository.
struct SourceFile {
    /// From the root of the repository.
    let path: String
    let lines: [Substring]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    /// The second path component: the target of a file under `Sources`.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
}

/// The checkout the tests were built from.
enum Repository {
    /// Found from this very file, links resolved.
    static let root: URL = {
        var url = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { url.deleteLastPathComponent() }
        return url
    }()

    /// Paths of all files that belong to the repository; of an unpacked archive, those that are not built.
    static let trackedPaths: [String] = {
        if let listing = try? Tool.run("git", "-C", root.path, "ls-files", "-z"), listing.status == 0 {
            return listing.output.split(separator: "\0").map(String.init).filter { isFile($0) }
        }
        let walk = FileManager.default.enumerator(atPath: root.path)
        let paths = walk?.compactMap { $0 as? String } ?? []
        return paths.filter { !$0.hasPrefix(".build/") && !$0.contains("/__pycache__/") && isFile($0) }
    }()

    /// The files at these paths that are text, in the order of their paths.
    static func files(where matches: (String) -> Bool) throws -> [SourceFile] {
        try trackedPaths.filter(matches).sorted().compactMap { path in
            let data = try Data(contentsOf: root.appendingPathComponent(path))
            return String(data: data, encoding: .utf8).map { SourceFile(path: path, text: $0) }
        }
    }

    /// Swift files under `Sources`.
    static func sources() throws -> [SourceFile] { try files { $0.hasPrefix("Sources/") && $0.hasSuffix(".swift") } }

    /// Swift and C that is written by hand.
    static func code() throws -> [SourceFile] {
        try files { path in
            [".swift", ".c", ".h"].contains { path.hasSuffix($0) } && path.contains("/")
        }
    }

    private static func isFile(_ path: String) -> Bool {
        var isDirectory: ObjCBool = false
        return FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path, isDirectory: &isDirectory)
            && !isDirectory.boolValue
    }
}

/// Running a program of this machine.
enum Tool {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// What a program wrote and how it ended.
    static func run(_ arguments: String..., input: String = "") throws -> (status: Int32, output: String) {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("sluice-tidy-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        // Files, not pipes: neither side can block the other.
        let inputURL = directory.appendingPathComponent("input")
        let outputURL = directory.appendingPathComponent("output")
        try Data(input.utf8).write(to: inputURL)
        try Data().write(to: outputURL)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardInput = try FileHandle(forReadingFrom: inputURL)
        process.standardOutput = try FileHandle(forWritingTo: outputURL)
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: try Data(contentsOf: outputURL), as: UTF8.self))
    }

    /// Whether a program is on the search path.
    static func exists(_ name: String) -> Bool { (try? run("sh", "-c", "command -v \(name)"))?.status == 0 }
}

/// Expects no fault, and names those there are, one a line.
func expectNone(_ faults: [String], sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(faults.isEmpty, "\(faults.prefix(50).joined(separator: "\n"))", sourceLocation: sourceLocation)
}
