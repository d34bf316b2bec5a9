import Testing

/// What each target under `Sources` may import. Lowest first; an import only points upwards in this list.
struct Layer {
    let target: String
    let imports: Set<String>
    /// Modules of the system besides those every layer may use.
    var system: Set<String> = []
    /// Any target above this one in the list, and any C shim.
    var importsAll = false

    static let systemEverywhere: Set<String> = ["Glibc", "Synchronization", "Swift"]
    static let features = ["SessionGateway", "TCPBridge", "TCPMux", "UDPRelay", "WebSocketProxy", "DNS", "SharedState", "Demo"]
    private static let belowFeatures: Set<String> = ["HTTP", "Engine", "Wire", "Policy", "CCrypto", "CRedis", "CPostgres"]

    static let all: [Layer] = [
        Layer(target: "Wire", imports: []),
        Layer(target: "Policy", imports: ["Wire", "CCrypto"]),
        Layer(target: "Ring", imports: ["CRing"]),
        Layer(target: "Engine", imports: ["Ring", "Wire", "CRing", "CSocket", "CResolve", "CTLS"]),
        Layer(target: "HTTP", imports: ["Engine", "Wire", "Policy", "CCrypto"]),
    ] + features.map { Layer(target: $0, imports: belowFeatures) } + [
        Layer(target: "Control", imports: [], system: ["Foundation", "Dispatch"], importsAll: true),
        Layer(target: "sluice", imports: ["Control"]),
    ]
}

/// Imports only point downwards (README.md, the layers).
@Suite("Layers")
struct LayerTests {
    /// The module a line imports, if it imports one.
    static func importedModule(_ line: Substring) -> String? {
        var words = line.split { $0 == " " || $0 == "\t" }[...]
        let modifiers: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
        while let first = words.first, first.hasPrefix("@") || modifiers.contains(first) { words.removeFirst() }
        guard words.popFirst() == "import", var module = words.popFirst() else { return nil }
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
        if kinds.contains(module), let named = words.popFirst() { module = named }
        return module.split(separator: ".").first.map(String.init)
    }

    /// What is wrong with the imports of these files.
    static func faults(_ files: [SourceFile]) -> [String] {
        let shims: Set<String> = ["CRing", "CSocket", "CCrypto", "CYAML", "CResolve", "CTLS", "CRedis", "CPostgres"]
        var faults: [String] = []
        for file in files {
            guard let position = Layer.all.firstIndex(where: { $0.target == file.target }) else {
                faults.append("\(file.path): no layer is called \(file.target)")
                continue
            }
            let layer = Layer.all[position]
            var allowed = layer.imports.union(layer.system).union(Layer.systemEverywhere)
            if layer.importsAll { allowed.formUnion(shims.union(Layer.all[..<position].map(\.target))) }
            for (number, line) in file.lines.enumerated() {
                guard let module = importedModule(line), !allowed.contains(module) else { continue }
                faults.append("\(file.path):\(number + 1): \(layer.target) imports \(module)")
            }
        }
        return faults
    }

    @Test("every import under Sources points to a lower layer")
    func imports() throws {
        let files = try Repository.sources()
        #expect(files.count > 100)
        #expect(Set(files.map(\.target)) == Set(Layer.all.map(\.target)), "the list of layers names every target")
        expectNone(Self.faults(files))
    }

    @Test("an import that points up, or to a neighbour, is found", arguments: [
        ("Wire", "import Glibc\nimport Policy"), ("Wire", "import Foundation"), ("Policy", "import CRing"),
        ("Ring", "import Engine"), ("Engine", "@preconcurrency import HTTP"), ("HTTP", "import TCPBridge"),
        ("HTTP", "import Dispatch"), ("TCPBridge", "import SessionGateway"), ("Demo", "import struct TCPBridge.Bridge"),
        ("SessionGateway", "public import Control"), ("Control", "import sluice"), ("sluice", "import Engine"),
        ("Control", "import liburing"), ("Unknown", ""),
    ])
    func negative(target: String, text: String) {
        #expect(Self.faults([SourceFile(path: "Sources/\(target)/Example.swift", text: text)]).count == 1)
    }

    /// liburing's header breaks debug and sanitizer builds when a Swift module sees it unprepared; CRing prepares it.
    static func liburingFaults(_ files: [SourceFile]) -> [String] {
        files.filter { !$0.path.hasPrefix("CSupport/CRing/") && !$0.path.hasPrefix("Perf/Floor/") }.flatMap { file in
            file.lines.filter { $0.contains("liburing" + ".h") }.map { "\(file.path): \($0)" }
        }
    }

    @Test("only CRing, and the benchmark's floor, include liburing")
    func liburing() throws {
        expectNone(Self.liburingFaults(try Repository.code()))
        let header = "#include <liburing" + ".h>"
        #expect(Self.liburingFaults([SourceFile(path: "CSupport/CSocket/CSocket.c", text: header)]).count == 1)
        #expect(Self.liburingFaults([SourceFile(path: "CSupport/CRing/CRing.c", text: header)]).isEmpty)
    }
}
