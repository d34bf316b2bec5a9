import Foundation

/// The release build, whose machine code and whose processes the gates examine.
enum ReleaseBuild {
    /// `SLUICE_BUILD`, or where `swift build -c release` puts it.
    static let directory: URL = {
        guard let given = ProcessInfo.processInfo.environment["SLUICE_BUILD"] else {
            return Repository.root.appendingPathComponent(".build/release")
        }
        return URL(fileURLWithPath: given, relativeTo: Repository.root)
    }()

    static func executable(_ name: String) -> URL { directory.appendingPathComponent(name) }

    /// Why the build cannot stand for the sources; nil when it can.
    static let obstacle: String? = {
        guard let built = modified(executable("sluice")) else {
            return "there is no release build in \(directory.path): swift build -c release"
        }
        let sources = Repository.trackedPaths.filter { $0.hasPrefix("Sources/") || $0.hasPrefix("CSupport/") || $0 == "Package.swift" }
        let newer = sources.first { (modified(Repository.root.appendingPathComponent($0)) ?? .distantPast) > built }
        return newer.map { "the release build is older than \($0): swift build -c release" }
    }()

    /// Whether the gates can run; prints why not, once.
    static let isUsable: Bool = {
        if let obstacle { print("Gates on the release build are skipped: \(obstacle)") }
        return obstacle == nil
    }()

    /// Object files of one target's folder.
    static func objects(of target: String) throws -> [URL] {
        let folder = directory.appendingPathComponent("\(target).build")
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "o" }.sorted { $0.path < $1.path }
    }

    private static func modified(_ url: URL) -> Date? {
        try? FileManager.default.attributesOfItem(atPath: url.resolvingSymlinksInPath().path)[.modificationDate] as? Date
    }
}
