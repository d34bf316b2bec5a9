import CSocket
import Foundation
import Glibc
import Testing

@testable import Control

/// Listening sockets from one configuration to the next.
@Suite struct ListenerSetTests {
    private func configuration(_ text: String) throws -> Configuration { try #require(load(file: text).configuration) }

    /// Connections the kernel keeps waiting on a listening socket: of one, TCP_INFO tells that as `tcpi_sacked` (tcp_diag.c).
    private func backlog(_ descriptor: Int32) -> UInt32? {
        var words = [UInt32](repeating: 0, count: 26)
        var bytes = socklen_t(words.count * 4)
        guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &words, &bytes) == 0 else { return nil }
        return words[7]
    }

    @Test func aSocketThatStaysTakesAnotherBacklog() throws {
        let text = "listeners: [{ address: \"127.0.0.1:0\" }]\nlimits: { listen_backlog: "
        let first = try ListenerSet().opening(try configuration(text + "50 }"), shards: 2).set
        let sockets = first.plans[0].descriptors
        #expect(sockets.map(backlog) == [50, 50])
        let change = try first.opening(try configuration(text + "70 }"), shards: 2)
        change.set.apply(backlog: 70)
        #expect(change.added.isEmpty && change.removed.isEmpty && change.set.plans[0].descriptors == sockets)
        #expect(sockets.map(backlog) == [70, 70])
        sockets.forEach(descriptor_close)
    }

    @Test func exchangedCertificatesAreTold() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (chain, key) = (folder.path + "/tls.crt", folder.path + "/tls.key")
        guard try makePair(chain, key) else { return print("skipped: a certificate needs /usr/bin/openssl") }
        let text = "listeners: [{ name: one, address: \"127.0.0.1:0\", tls: { certificates: [{ cert: \(chain), key: \(key) }] } }]"
        let first = try ListenerSet().opening(try configuration(text), shards: 1)
        let same = try first.set.opening(try configuration(text), shards: 1)
        _ = try makePair(chain, key)
        let other = try same.set.opening(try configuration(text), shards: 1)
        #expect(same.resecured.isEmpty && other.resecured == ["one"])
        first.set.plans[0].descriptors.forEach(descriptor_close)
    }

    private func makePair(_ chain: String, _ key: String) throws -> Bool {
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl") else { return false }
        let openssl = Process()
        openssl.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        openssl.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test", "-days", "2",
            "-keyout", key, "-out", chain,
        ]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()
        return openssl.terminationStatus == 0
    }
}
