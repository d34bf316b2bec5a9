import CCrypto
import Foundation
import Policy
import Testing

@Suite struct DigestTests {
    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { String(format: "%02x", $0) }.joined()
    }

    @Test func publishedDigests() {
        // FIPS 180-4 examples; RFC 4231 test cases 1, 2 and 6.
        #expect(hexadecimal(Digest.sha1(Array("abc".utf8))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(hexadecimal(Digest.sha256([])) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            hexadecimal(Digest.sha256(Array("abc".utf8))) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            hexadecimal(Digest.hmacSHA256(key: Array(repeating: 0x0B, count: 20), Array("Hi There".utf8)))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        #expect(
            hexadecimal(Digest.hmacSHA256(key: Array("Jefe".utf8), Array("what do ya want for nothing?".utf8)))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            hexadecimal(
                Digest.hmacSHA256(
                    key: Array(repeating: 0xAA, count: 131), Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8))
            )
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        // An empty key is a key, not "the previous key".
        #expect(hexadecimal(Digest.hmacSHA256(key: [], [])) == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
    }

    @Test func comparison() {
        #expect(Digest.constantTimeEqual([], []))
        #expect(Digest.constantTimeEqual([1, 2], [1, 2]))
        #expect(!Digest.constantTimeEqual([1, 2], [1, 3]))
        #expect(!Digest.constantTimeEqual([1, 2], [1, 2, 3]))
    }

    @Test func randomness() {
        #expect(Digest.random(0).isEmpty)
        #expect(Digest.random(32).count == 32)
        #expect(Set((0..<1000).map { _ in Digest.uuid() }).count == 1000)
        // Every bit of a random byte takes both values.
        let bytes = Digest.random(4096)
        #expect(bytes.reduce(0, |) == 0xFF && bytes.reduce(0xFF, &) == 0)
    }
}

/// Certificates made here with the openssl command, which stands beside the library that every build needs.
@Suite struct CertificatePairTests {
    private func run(_ arguments: [String], in directory: URL) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.currentDirectoryURL = directory
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "openssl \(arguments)")
    }

    private func check(_ certificate: String, _ key: String, in directory: URL, now: Int64 = Int64(Date().timeIntervalSince1970))
        -> String
    {
        var error = [CChar](repeating: 1, count: 512)
        let good = crypto_check_pair(
            directory.appending(path: certificate).path, directory.appending(path: key).path, now, &error, error.count)
        let text = String(decoding: error.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return good == 1 ? "good" + text : text.replacingOccurrences(of: directory.path + "/", with: "")
    }

    @Test func pairs() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "sluice-pairs-\(Digest.uuid())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        for name in ["one", "two"] {
            try run(
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                    "\(name).key", "-out", "\(name).pem",
                    "-days", "2", "-subj", "/CN=localhost",
                ], in: directory)
        }
        try run(["ec", "-in", "one.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"], in: directory)
        func file(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: directory.appending(path: name)) }
        let (one, two) = (
            try String(contentsOf: directory.appending(path: "one.pem"), encoding: .utf8),
            try String(contentsOf: directory.appending(path: "two.pem"), encoding: .utf8)
        )
        try file("text.pem", "no certificate\n")
        try file("chain.pem", "a comment\n" + one + "\n" + two)
        try file("cut.pem", one + two.prefix(100) + "\n-----END CERTIFICATE-----\n")

        #expect(check("one.pem", "one.key", in: directory) == "good")
        #expect(check("chain.pem", "one.key", in: directory) == "good")
        #expect(check("chain.pem", "two.key", in: directory) == "key two.key does not belong to certificate chain.pem")
        #expect(check("missing.pem", "one.key", in: directory) == "certificate missing.pem: No such file or directory")
        #expect(check("one.pem", "missing.key", in: directory) == "key missing.key: No such file or directory")
        #expect(check("text.pem", "one.key", in: directory) == "certificate text.pem: holds no PEM certificate")
        #expect(check("one.pem", "one.pem", in: directory) == "key one.pem: holds no PEM private key")
        #expect(check("one.key", "one.key", in: directory) == "certificate one.key: holds no PEM certificate")
        #expect(
            check("one.pem", "locked.key", in: directory) == "key locked.key: is protected by a passphrase; store it without one")
        #expect(
            check("cut.pem", "one.key", in: directory) == "certificate cut.pem: a certificate after the first is not readable")
        let day: Int64 = 86_400
        let now = Int64(Date().timeIntervalSince1970)
        #expect(check("one.pem", "one.key", in: directory, now: now + 3 * day).hasPrefix("certificate one.pem: expired at 20"))
        #expect(
            check("one.pem", "one.key", in: directory, now: now - day).hasPrefix("certificate one.pem: is not valid before 20"))
        #expect(check("one.pem", "one.key", in: directory, now: 0) == "good")
    }

    @Test func shortErrorBuffersAreTerminated() {
        var error: [CChar] = [1, 1, 1, 1, 1]
        #expect(crypto_check_pair("/nonexistent", "/nonexistent", 0, &error, 4) == 0)
        #expect(error[3] == 0 && error[4] == 1)
        #expect(crypto_check_pair("/nonexistent", "/nonexistent", 0, nil, 0) == 0)
    }
}
