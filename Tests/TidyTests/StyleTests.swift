import Foundation
import Testing

/// Rules that a reader of the repository relies on. Each is a function from files to faults, so that it can be shown to fail.
enum StyleRule {
    static let lineColumnsMaximum = 140
    static let fileLinesMaximum = 700
    /// A file of these targets that is longer than this opens with a word on how it works.
    static let undocumentedLinesMaximum = 120

    static let topLevel: Set<String> = [
        "Package.swift", "README.md", "Sources", "CSupport", "Tests", "Perf", "deploy", ".ci", ".gitignore", ".swift-format",
    ]

    static func topLevelFaults(_ paths: [String]) -> [String] {
        Set(paths.compactMap { $0.split(separator: "/").first.map(String.init) }).subtracting(topLevel).sorted()
    }

    private static func lineFaults(_ files: [SourceFile], _ what: String, _ isWrong: (Substring) -> Bool) -> [String] {
        files.flatMap { file in
            file.lines.enumerated().filter { isWrong($0.element) }.map { "\(file.path):\($0.offset + 1): \(what)" }
        }
    }

    static func tabFaults(_ files: [SourceFile]) -> [String] { lineFaults(files, "tab") { $0.utf8.contains(9) } }

    static func longLineFaults(_ files: [SourceFile]) -> [String] {
        lineFaults(files, "longer than \(lineColumnsMaximum) columns") { line in
            line.utf8.count > lineColumnsMaximum && line.count > lineColumnsMaximum
        }
    }

    /// Work that is put off belongs to the issue tracker.
    static func postponedFaults(_ files: [SourceFile]) -> [String] {
        let marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X:"]
        return lineFaults(files, "postponed work") { line in marks.contains { line.contains($0) } }
    }

    static func longFileFaults(_ files: [SourceFile]) -> [String] {
        files.filter { $0.lines.count > fileLinesMaximum + 1 }.map { "\($0.path): \($0.lines.count - 1) lines" }
    }

    /// A comment before anything but imports: the theory of operation, or the first declaration's documentation.
    static func undocumentedFaults(_ files: [SourceFile]) -> [String] {
        files.filter { file in
            guard file.lines.count > undocumentedLinesMaximum + 1 else { return false }
            let first = file.lines.first { line in
                let text = line.trimmingCharacters(in: .whitespaces)
                return !text.isEmpty && !["import ", "#if", "#endif", "@"].contains { text.hasPrefix($0) }
            }
            return first?.hasPrefix("//") != true
        }.map { "\($0.path): says nothing about how it works" }
    }

    /// Paths of somebody's machine, which mean nothing on another one.
    static func machinePathFaults(_ files: [SourceFile], checkout: String) -> [String] {
        let directories = ["home", "root", "Users", "work"]
        // At the start of a path only: `$build/work/` and `/results/work/` are fine.
        let start = "(?:^|[^A-Za-z0-9_.$})*/-])"
        guard let pattern = try? Regex(start + "/(?:\(directories.joined(separator: "|")))/[A-Za-z0-9.]") else { return ["bad pattern"] }
        // The checkout's own path; a short one could be a word of the text.
        let own = checkout.split(separator: "/").count > 1 ? checkout : nil
        return lineFaults(files, "path of a machine") { line in
            if let own, line.contains(own + "/") { return true }
            return directories.contains { line.contains("/\($0)/") } && line.contains(pattern)
        }
    }

    /// The repository speaks about the product, not about the tools it was written with.
    static func toolWordFaults(_ files: [SourceFile]) -> [String] {
        let exact = ["A" + "I", "LL" + "M"]
        let anyCase = [
            "clau" + "de", "chat" + "gpt", "open" + "ai", "anthro" + "pic", "co" + "pilot", "language " + "model", "chat" + "bot",
            "session " + "log", "co-authored" + "-by", "generated " + "with", "as an " + "assistant",
        ]
        return lineFaults(files, "word about tooling") { line in
            let lower = line.lowercased()
            if anyCase.contains(where: { lower.contains($0) }) { return true }
            guard exact.contains(where: { line.contains($0) }) else { return false }
            return line.split { !($0.isLetter || $0.isNumber || $0 == "_") }.contains { exact.contains(String($0)) }
        }
    }

    /// Fuzz targets without a corpus start from nothing and forget what was found.
    static func corpusFaults(_ paths: [String]) -> [String] {
        let parts = paths.map { $0.split(separator: "/") }.filter { $0.starts(with: ["Tests", "Fuzz"]) }
        let targets = Set(parts.filter { $0.count == 4 && $0[3] == "sources" }.map { $0[2] })
        let corpora = Set(parts.filter { $0.count == 5 && $0[2] == "corpus" }.map { $0[3] })
        return targets.subtracting(corpora).sorted().map { "Tests/Fuzz/\($0): no corpus" }
            + corpora.subtracting(targets).sorted().map { "Tests/Fuzz/corpus/\($0): no target" }
    }
}

@Suite("Style")
struct StyleTests {
    private func example(_ text: String, path: String = "Sources/Engine/Example.swift") -> [SourceFile] {
        [SourceFile(path: path, text: text)]
    }

    @Test("the top level holds what the README names and nothing else")
    func topLevel() {
        expectNone(StyleRule.topLevelFaults(Repository.trackedPaths))
        #expect(StyleRule.topLevelFaults(["README.md", "notes.txt", "scripts/run"]) == ["notes.txt", "scripts"])
    }

    @Test("no tabs")
    func tabs() throws {
        expectNone(StyleRule.tabFaults(try Repository.code()))
        #expect(StyleRule.tabFaults(example("let a = 1\n\tlet b = 2")).count == 1)
    }

    @Test("no line is longer than 140 columns")
    func longLines() throws {
        expectNone(StyleRule.longLineFaults(try Repository.code()))
        #expect(StyleRule.longLineFaults(example(String(repeating: "─", count: 140))).isEmpty)
        #expect(StyleRule.longLineFaults(example(String(repeating: "─", count: 141))).count == 1)
    }

    @Test("no file under Sources is longer than 700 lines")
    func longFiles() throws {
        expectNone(StyleRule.longFileFaults(try Repository.sources()))
        #expect(StyleRule.longFileFaults(example(String(repeating: "\n", count: 700))).isEmpty)
        #expect(StyleRule.longFileFaults(example(String(repeating: "\n", count: 701))).count == 1)
    }

    @Test("nothing is put off in a comment")
    func postponed() throws {
        expectNone(StyleRule.postponedFaults(try Repository.code()))
        #expect(StyleRule.postponedFaults(example("// TO" + "DO: later\n// FIX" + "ME")).count == 2)
    }

    @Test("long files of the engine, the bridge and the server say how they work")
    func documented() throws {
        let targets: Set<String> = ["Engine", "TCPBridge", "HTTP"]
        expectNone(StyleRule.undocumentedFaults(try Repository.sources().filter { targets.contains($0.target) }))
        let code = "extension Shard {\n" + String(repeating: "\n", count: 130) + "}\n"
        #expect(StyleRule.undocumentedFaults(example("import Ring\n\n" + code)).count == 1)
        #expect(StyleRule.undocumentedFaults(example("import Ring\n\n/// Receiving.\n" + code)).isEmpty)
        #expect(StyleRule.undocumentedFaults(example("import Ring\n\nextension Shard {\n}\n")).isEmpty)
    }

    @Test("no path of somebody's machine")
    func machinePaths() throws {
        let files = try Repository.files { !$0.hasPrefix("Tests/Fuzz/corpus/") }
        #expect(files.count > 250)
        expectNone(StyleRule.machinePathFaults(files, checkout: Repository.root.path))
        let wrong = "see /ho" + "me/ann/notes\npath = \"/ro" + "ot/x\"\n(/wo" + "rk/main)\n/srv/checkout/README.md\n"
        let right = "$build/work/x\n/Perf/results/work/\n~/src\nGET /home\n"
        #expect(StyleRule.machinePathFaults(example(wrong), checkout: "/srv/checkout").count == 4)
        #expect(StyleRule.machinePathFaults(example(right), checkout: "/srv/checkout").isEmpty)
    }

    @Test("no word about the tools it was written with")
    func toolWords() throws {
        let files = try Repository.files { !$0.hasPrefix("Tests/Fuzz/corpus/") }
        expectNone(StyleRule.toolWordFaults(files))
        let wrong = "written by A" + "I\nCo-Authored" + "-By: x\nChat" + "GPT said\nfrom the session " + "log\n"
        let right = "AI_PASSIVE\nEMAIL\nOrigin-Agent-Cluster\na session is logged\n"
        #expect(StyleRule.toolWordFaults(example(wrong)).count == 4)
        #expect(StyleRule.toolWordFaults(example(right)).isEmpty)
    }

    @Test("every fuzz target has a corpus, every corpus a target")
    func corpora() {
        expectNone(StyleRule.corpusFaults(Repository.trackedPaths))
        #expect(Repository.trackedPaths.contains { $0.hasPrefix("Tests/Fuzz/corpus/") })
        let paths = ["Tests/Fuzz/A/sources", "Tests/Fuzz/B/sources", "Tests/Fuzz/corpus/A/1", "Tests/Fuzz/corpus/C/1"]
        #expect(StyleRule.corpusFaults(paths) == ["Tests/Fuzz/B: no corpus", "Tests/Fuzz/corpus/C: no target"])
    }
}
