import Foundation
import Glibc

/// `sluice-proxy`: the WebSocket proxy without tokens, or a broker for it.
final class RunningProxy {
    let port: UInt16
    private let child: Process

    init(_ arguments: [String], environment: [String: String] = [:]) throws {
        child = Process()
        child.executableURL = ReleaseBuild.executable("sluice-proxy")
        child.arguments = ["0"] + arguments
        child.environment = environment
        let output = Pipe()
        child.standardOutput = output
        child.standardInput = FileHandle.nullDevice
        try child.run()
        var text = ""
        while !text.contains("\n") {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw Tool.Failure(description: "sluice-proxy ended: \(text)") }
            text += String(decoding: data, as: UTF8.self)
        }
        guard let word = text.split(whereSeparator: \.isNewline).first?.split(separator: ":").last, let number = UInt16(word) else {
            throw Tool.Failure(description: "sluice-proxy printed \(text)")
        }
        port = number
    }

    func stop() {
        guard child.isRunning else { return }
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
    }
}
