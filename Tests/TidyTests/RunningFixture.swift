import Foundation
import Glibc

/// A program of the release build that listens on a port of its choice and prints that port at the end of its first line.
final class RunningFixture {
    let port: UInt16
    private let child: Process

    /// - Parameter ready: what it has printed when it can be used.
    init(_ name: String, _ arguments: [String], environment: [String: String] = [:], ready: String = "\n") throws {
        child = Process()
        child.executableURL = ReleaseBuild.executable(name)
        child.arguments = arguments
        child.environment = environment
        let output = Pipe()
        child.standardOutput = output
        child.standardInput = FileHandle.nullDevice
        try child.run()
        var text = ""
        while !text.contains(ready) {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw Tool.Failure(description: "\(name) ended: \(text)") }
            text += String(decoding: data, as: UTF8.self)
        }
        let firstLine = text.prefix { !$0.isNewline }
        guard let word = firstLine.split(whereSeparator: { $0 == ":" || $0 == " " }).last, let number = UInt16(word) else {
            throw Tool.Failure(description: "\(name) printed \(text)")
        }
        port = number
    }

    /// `sluice-echo`: a service on the bare engine that sends datagrams back.
    static func echo(environment: [String: String]) throws -> RunningFixture {
        try RunningFixture("sluice-echo", ["0"], environment: environment)
    }

    /// `sluice-proxy`: the WebSocket proxy without tokens, or a broker for it.
    static func proxy(_ arguments: [String], environment: [String: String] = [:]) throws -> RunningFixture {
        try RunningFixture("sluice-proxy", ["0"] + arguments, environment: environment)
    }

    /// `sluice-target`: a service that sends everything back, over TCP (`echo`) or WebSocket (`wsecho`).
    static func target(_ service: String = "echo") throws -> RunningFixture {
        try RunningFixture("sluice-target", ["\(service):0"], ready: "ready")
    }

    func stop() {
        guard child.isRunning else { return }
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
    }
}
