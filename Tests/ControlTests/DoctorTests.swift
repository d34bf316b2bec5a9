import Foundation
import Testing

@testable import Control

@Suite struct DoctorTests {
    @Test func everyFindingIsOneLineWithItsVerdict() {
        let findings = Doctor.examine(Configuration())
        #expect(findings.count > 8)
        for finding in findings {
            #expect(finding.line.hasPrefix(finding.verdict.rawValue) && !finding.line.contains("\n"))
            #expect(
                finding.verdict == .ok || finding.remedy != nil || finding.subject == "io_uring" || finding.subject == "kernel",
                "\(finding.line)")
        }
    }

    @Test(
        arguments: [
            ("150000 100000", 1.5), ("max 100000", nil), ("100000 0", nil), ("", nil), ("200000 100000 5", nil),
        ] as [(String, Double?)]) func quotas(_ line: String, _ cores: Double?)
    { #expect(ControlGroup.cores(line) == cores) }

    @Test func tightestControlGroupOnThePathCounts() throws {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: root) }
        try FileManager.default.createDirectory(at: root.appendingPathComponent("a/b"), withIntermediateDirectories: true)
        func write(_ path: String, _ text: String) throws { try Data(text.utf8).write(to: root.appendingPathComponent(path)) }
        try write("a/cpu.max", "50000 100000\n")
        try write("a/b/cpu.max", "max 100000\n")
        try write("a/memory.max", "max\n")
        try write("a/b/memory.max", "268435456\n")
        let group = ControlGroup.current(root: root.path, membership: ["0::/a/b"])
        #expect(group.cores == 0.5 && group.memoryBytes == 268_435_456)
        let none = ControlGroup.current(root: root.path, membership: ["0::/"])
        #expect(none.cores == nil && none.memoryBytes == nil)
    }

    @Test(arguments: [
        (0, 2, 1_000_064, 32_768), (0, 2, 20_064, 5_000), (0, 4, 20_064, 2_500), (0, 1, 10, 1), (100, 2, 20_064, 100),
        (70_000, 2, 64, 65_536),
    ] as [(Int, Int, UInt64, Int)])
    func datagramSocketsAreHalfOfAShardsShareUnlessConfigured(_ wanted: Int, _ shards: Int, _ allowed: UInt64, _ expected: Int) {
        var limits = ResourceLimits()
        limits.maximumDatagramSocketsPerShard = wanted
        #expect(DescriptorLimit.datagramSockets(limits, shards: shards, allowed: allowed) == expected)
    }

    @Test func memoryLimitIsComparedWithThePool() {
        let limits = ResourceLimits()
        let pool = Doctor.poolBytes(limits, shards: 2)
        func verdict(_ bytes: Int?) -> Finding.Verdict? {
            Doctor.controlGroup(limits, shards: 2, ControlGroup(cores: nil, memoryBytes: bytes)).last?.verdict
        }
        // Memory is used only where buffers were: a small machine is warned, not refused.
        #expect(verdict(nil) == .ok && verdict(pool * 2) == .ok && verdict(pool + 1) == .warn && verdict(pool / 4) == .warn)
        #expect(Doctor.controlGroup(limits, shards: 4, ControlGroup(cores: 1.5, memoryBytes: nil)).first?.verdict == .warn)
        #expect(Doctor.controlGroup(limits, shards: 2, ControlGroup(cores: 1.5, memoryBytes: nil)).first?.verdict == .ok)
    }

    @Test func fewDescriptorsAreAWarningThatSaysHowManyConnectionsFit() {
        let limits = ResourceLimits()
        let few = Doctor.descriptors(limits, shards: 2, hard: 1024)
        #expect(few.verdict == .warn && few.detail.contains("960 connections") && few.remedy?.contains("nofile=4096") == true)
        #expect(Doctor.descriptors(limits, shards: 2, hard: 8192).verdict == .ok)
        #expect(Doctor.descriptors(limits, shards: 2, hard: .max).detail.contains(" 131072 connections"))
        #expect(Doctor.descriptors(limits, shards: 1, hard: 10).detail.contains(" 0 connections"))
        var small = limits
        small.maximumConnectionsPerShard = 64
        #expect(Doctor.descriptors(small, shards: 1, hard: 1024).verdict == .ok)
    }

    @Test func takenAddressFails() {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                #expect(
                    bind(descriptor, generic, size) == 0 && listen(descriptor, 1) == 0
                        && getsockname(descriptor, generic, &size) == 0)
            }
        }
        let port = UInt16(bigEndian: address.sin_port)
        #expect(BindProbe.error(ListenAddress(host: "127.0.0.1", port: port)) == EADDRINUSE)
        #expect(BindProbe.error(ListenAddress(host: "127.0.0.1", port: 0)) == 0)
        #expect(BindProbe.error(ListenAddress(host: "192.0.2.1", port: 0)) == EADDRNOTAVAIL)
    }

    @Test(arguments: [EACCES, EADDRINUSE, EADDRNOTAVAIL, EMFILE]) func addressesHaveRemedies(_ error: Int32) {
        let finding = Doctor.finding("listener x", ListenAddress(host: "127.0.0.1", port: 80), error)
        #expect(finding.verdict == .fail && finding.remedy?.isEmpty == false)
    }

    @Test func shardsFollowTheAffinityMask() {
        #expect(Doctor.shardCount(.exactly(5)) == 5)
        #expect(Doctor.shardCount(.automatic) == Doctor.usableCores && Doctor.usableCores >= 1)
        #expect(Doctor.cores(Doctor.usableCores + 1).verdict == .warn && Doctor.cores(Doctor.usableCores).verdict == .ok)
    }
}
