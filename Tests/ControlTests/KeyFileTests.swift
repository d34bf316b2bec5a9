import Foundation
import Testing

@testable import Control

/// Key sets on disk: who may have written what is believed.
@Suite struct KeyFileTests {
    private static func directory() throws -> String {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("sluice-keys-\(UUID())").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    private static let content = Array("sluice-keys 1\nurl: https://id.test/certs\n\n{}".utf8)

    @Test("what was written is read again, for its owner alone, and leaves nothing beside it")
    func roundTrip() throws {
        let files = KeyFiles(directory: try Self.directory())
        defer { try? FileManager.default.removeItem(atPath: files.directory) }
        #expect(try files.read(provider: "main", source: 0) == nil)
        try files.write([1, 2, 3], provider: "main", source: 0)
        try files.write(Self.content, provider: "main", source: 0)
        #expect(try files.read(provider: "main", source: 0) == Self.content)
        #expect(try files.read(provider: "main", source: 1) == nil)
        #expect(try files.read(provider: "other", source: 0) == nil)
        let names = try FileManager.default.contentsOfDirectory(atPath: files.directory)
        #expect(names.count == 1)
        let attributes = try FileManager.default.attributesOfItem(atPath: files.path(provider: "main", source: 0))
        #expect((attributes[.posixPermissions] as? Int) == 0o600)
        try files.write([], provider: "main", source: 0)
        #expect(try files.read(provider: "main", source: 0) == nil)
        try files.write([], provider: "main", source: 0)
    }

    @Test("a name of a provider is no path")
    func names() {
        let files = KeyFiles(directory: "/state")
        let path = files.path(provider: "../../etc/passwd\0", source: 0)
        #expect(path.hasPrefix("/state/") && path.dropFirst(7).allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "." })
    }

    @Test("what others could have written is not read", arguments: [0o644, 0o660, 0o602])
    func modes(mode: Int) throws {
        let files = KeyFiles(directory: try Self.directory())
        defer { try? FileManager.default.removeItem(atPath: files.directory) }
        try files.write(Self.content, provider: "main", source: 0)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: files.path(provider: "main", source: 0))
        #expect(throws: KeyFiles.Fault.self) { try files.read(provider: "main", source: 0) }
    }

    @Test("links, directories, pipes and files without end are not read")
    func kinds() throws {
        let files = KeyFiles(directory: try Self.directory())
        defer { try? FileManager.default.removeItem(atPath: files.directory) }
        let path = files.path(provider: "main", source: 0)
        try files.write(Self.content, provider: "other", source: 0)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: files.path(provider: "other", source: 0))
        #expect(throws: KeyFiles.Fault.self) { try files.read(provider: "main", source: 0) }
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        #expect(throws: KeyFiles.Fault.self) { try files.read(provider: "main", source: 0) }
        try FileManager.default.removeItem(atPath: path)
        #expect(mkfifo(path, 0o600) == 0)
        #expect(throws: KeyFiles.Fault.self) { try files.read(provider: "main", source: 0) }
        try FileManager.default.removeItem(atPath: path)
        #expect(FileManager.default.createFile(
            atPath: path, contents: Data(count: 1 << 21), attributes: [.posixPermissions: 0o600]))
        #expect(throws: KeyFiles.Fault.self) { try files.read(provider: "main", source: 0) }
    }

    @Test("a draft that lies in the way is replaced, whatever it is")
    func drafts() throws {
        let files = KeyFiles(directory: try Self.directory())
        defer { try? FileManager.default.removeItem(atPath: files.directory) }
        let path = files.path(provider: "main", source: 0)
        let victim = files.directory + "/victim"
        #expect(FileManager.default.createFile(atPath: victim, contents: Data("kept".utf8)))
        try FileManager.default.createSymbolicLink(atPath: path + ".new", withDestinationPath: victim)
        try files.write(Self.content, provider: "main", source: 0)
        #expect(try files.read(provider: "main", source: 0) == Self.content)
        #expect(FileManager.default.contents(atPath: victim) == Data("kept".utf8))
    }

    @Test("a directory that is none is a fault of the configuration")
    func directories() throws {
        let directory = try Self.directory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        #expect(KeyFiles.problem(directory) == nil)
        #expect(KeyFiles.problem(directory + "/none")?.contains("create it") == true)
        #expect(FileManager.default.createFile(atPath: directory + "/file", contents: nil))
        #expect(KeyFiles.problem(directory + "/file")?.contains("not a directory") == true)
        let files = KeyFiles(directory: directory + "/none")
        #expect(throws: KeyFiles.Fault.self) { try files.write(Self.content, provider: "main", source: 0) }
    }
}
