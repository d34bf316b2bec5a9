import Glibc
import Testing

@testable import Control

/// Files that exist in a table only.
private final class TestFiles {
    var identities: [String: FileIdentity] = [:]

    func touch(_ path: String) {
        let former = identities[path]?.modifiedNanoseconds ?? 0
        identities[path] = FileIdentity(device: 1, inode: 1, modifiedNanoseconds: former + 1, bytes: 10)
    }
}

@Suite struct ReloadRetryTests {
    @Test func whatIsRefusedIsTriedAgainLessAndLessOften() {
        var retry = ReloadRetry()
        #expect(!retry.isDue(nowMilliseconds: .max))
        let isFirst = retry.refused(["a"], isRetry: false, nowMilliseconds: 0)
        #expect(isFirst)
        var now: Int64 = 0
        for wait: Int64 in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            #expect(!retry.isDue(nowMilliseconds: now + wait - 1))
            now += wait
            #expect(retry.isDue(nowMilliseconds: now))
            let isNews = retry.refused(["a"], isRetry: true, nowMilliseconds: now)
            #expect(!isNews, "told already")
        }
        let isNews = retry.refused(["b"], isRetry: true, nowMilliseconds: now)
        #expect(isNews, "another fault")
        _ = retry.refused(["b"], isRetry: false, nowMilliseconds: now)
        #expect(retry.isDue(nowMilliseconds: now + 1000), "somebody is at work on it")
        retry.succeeded()
        #expect(!retry.isDue(nowMilliseconds: .max))
    }
}

@Suite struct AuthoritiesTests {
    private static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBiTCCAS+gAwIBAgIURyJwEFUTb9f14cxjb8aEyq5fDD8wCgYIKoZIzj0EAwIw
        GTEXMBUGA1UEAwwOYXV0aG9yaXR5LnRlc3QwIBcNMjYxMTIxMTMwNTE3WhgPMjEy
        NjEwMjgxMzA1MTdaMBkxFzAVBgNVBAMMDmF1dGhvcml0eS50ZXN0MFkwEwYHKoZI
        zj0CAQYIKoZIzj0DAQcDQgAEoupHcKZ0Xq3E3IQWOSILWYMLFxkIg3ogkzwooZfl
        Io8Xh9L+UWpppxcl4DQG47Mhr1Op4hLW27exuF9fFSThOqNTMFEwHQYDVR0OBBYE
        FBpQUPOYUeQFwSgn3z/l+7MiW+4ZMB8GA1UdIwQYMBaAFBpQUPOYUeQFwSgn3z/l
        +7MiW+4ZMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgAzT+NXLv
        YIV8FGxxp55y3vgn5oRUOP0uSck7optMtKACIQD5bcizGwV8klGuBORP8lMxkt9w
        qszpvs7X9Bmr0iVz1A==
        -----END CERTIFICATE-----

        """

    @Test(arguments: [("dns: { upstream_ca: PATH }", "dns.upstream_ca"), ("redis: { authorities: PATH }", "redis.authorities")])
    func aFileOfAuthoritiesIsWatchedAndChecked(_ text: String, _ key: String) throws {
        let file = TemporaryFile(Self.certificate, name: "authorities.pem")
        func loaded(_ path: String) -> Outcome { load(file: text.replacing("PATH", with: path)) }
        guard case .loaded(let first) = loaded(file.path) else { Issue.record("not loaded"); return }
        #expect(first.files.first { $0.path == file.path }?.identity == FileIdentity.of(file.path))
        let other = TemporaryFile("# more\n" + Self.certificate, name: "other.pem")
        guard case .loaded(let second) = loaded(other.path) else { Issue.record("not loaded"); return }
        if key == "dns.upstream_ca" {
            let digests = [first, second].map(\.configuration.gateway.dns.upstreamAuthoritiesDigest)
            #expect(digests[0] != digests[1] && digests[0].count == 64)
        }
        let junk = TemporaryFile("no certificate", name: "junk.pem")
        for path in [junk.path, junk.path + ".absent"] {
            let faults = loaded(path).faults
            #expect(faults.contains { $0.contains(key) && $0.contains(path) }, "\(faults)")
        }
    }
}

@Suite struct FileWatchTests {
    private let files = TestFiles()
    private let step = FileWatch.intervalMilliseconds

    /// Lets expectations call what mutates.
    private final class Watch {
        var value: FileWatch
        init(_ value: FileWatch) { self.value = value }
        func look(nowMilliseconds: Int64) -> Bool { value.look(nowMilliseconds: nowMilliseconds) }
    }

    /// Files as they are now.
    private func seen(_ paths: [String]) -> [SeenFile] { paths.map { SeenFile(path: $0, identity: files.identities[$0]) } }

    private func watch(_ paths: [String] = ["a"]) -> Watch {
        Watch(FileWatch(seen(paths)) { [files] in files.identities[$0] })
    }

    @Test func aChangeIsReportedOnceWhenItIsOver() {
        files.touch("a")
        let watch = watch()
        #expect(!watch.look(nowMilliseconds: 0))
        files.touch("a")
        #expect(!watch.look(nowMilliseconds: step), "it may still be changing")
        files.touch("a")
        #expect(!watch.look(nowMilliseconds: 2 * step), "it was")
        #expect(watch.look(nowMilliseconds: 3 * step))
        #expect(!watch.look(nowMilliseconds: 4 * step), "reported")
    }

    @Test func looksNoMoreOftenThanTheInterval() {
        files.touch("a")
        let watch = watch()
        #expect(!watch.look(nowMilliseconds: 0))
        files.touch("a")
        #expect(!watch.look(nowMilliseconds: step))
        #expect(!watch.look(nowMilliseconds: step + 1))
        #expect(watch.look(nowMilliseconds: 2 * step))
    }

    @Test func aFileThatGoesAndComesIsAChange() {
        files.touch("a")
        let watch = watch()
        files.identities["a"] = nil
        #expect(!watch.look(nowMilliseconds: 0))
        #expect(watch.look(nowMilliseconds: step))
        files.touch("a")
        #expect(!watch.look(nowMilliseconds: 2 * step))
        #expect(watch.look(nowMilliseconds: 3 * step), "it was gone in between")
    }

    @Test func whatIsReadAnywayIsNotReported() {
        files.touch("a")
        let watch = watch()
        files.touch("a")
        watch.value.mark()
        #expect(!watch.look(nowMilliseconds: 0))
        #expect(!watch.look(nowMilliseconds: step))
    }

    @Test func otherFilesCanBeWatched() {
        files.touch("a")
        files.touch("b")
        let watch = watch()
        watch.value.watch(seen(["a", "b"]))
        #expect(!watch.look(nowMilliseconds: 0))
        files.touch("b")
        #expect(!watch.look(nowMilliseconds: step))
        #expect(watch.look(nowMilliseconds: 2 * step))
        watch.value.watch([])
        #expect(!watch.look(nowMilliseconds: 3 * step))
    }

    @Test func aChangeBetweenReadingAndWatchingIsSeen() {
        files.touch("a")
        files.touch("b")
        let read = seen(["a", "b"])
        files.touch("a")
        let watch = Watch(FileWatch(read) { [files] in files.identities[$0] })
        #expect(!watch.look(nowMilliseconds: 0))
        #expect(watch.look(nowMilliseconds: step), "it changed between its reading and the start of the watch")
        // A reload reads `b` for the first time, and it changes before the watch knows of it.
        watch.value.watch(seen(["a"]))
        watch.value.mark()
        let again = seen(["a", "b"])
        files.touch("b")
        watch.value.watch(again)
        #expect(!watch.look(nowMilliseconds: 2 * step))
        #expect(watch.look(nowMilliseconds: 3 * step), "a file that was read for the first time")
    }

    @Test func aLoadedFileIsKnownAsItWasBeforeItWasRead() throws {
        let secret = TemporaryFile("a mounted secret", name: "secret")
        guard case .loaded(let loaded) = load(file: "sessions: { secret_file: \(secret.path) }") else { Issue.record("not loaded"); return }
        #expect(loaded.files.first { $0.path == secret.path }?.identity == FileIdentity.of(secret.path))
    }

    @Test func aTimeThatIsSetBackHidesNothing() throws {
        let file = TemporaryFile("text")
        let before = FileIdentity.of(file.path)
        usleep(20_000)
        var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
        #expect(utimensat(AT_FDCWD, file.path, &times, 0) == 0)
        let set = FileIdentity.of(file.path)
        usleep(20_000)
        #expect(utimensat(AT_FDCWD, file.path, &times, 0) == 0)
        #expect(before != set && set != FileIdentity.of(file.path))
    }

    @Test func aRealFileHasAnIdentity() {
        let file = TemporaryFile("text")
        let identity = FileIdentity.of(file.path)
        #expect(identity?.bytes == 4)
        #expect(FileIdentity.of(file.path + ".none") == nil)
    }
}

@Suite struct ConfigurationDifferenceTests {
    private func difference(_ former: String, _ latter: String) throws -> ConfigurationDifference {
        ConfigurationDifference(from: try loaded(former), to: try loaded(latter))
    }

    private func loaded(_ text: String) throws -> LoadedConfiguration {
        guard case .loaded(let loaded) = load(file: text) else { throw ConfigurationFaults(faults: []) }
        return loaded
    }

    @Test func nothingChanged() throws {
        let same = try difference("log: { level: warn }", "log:\n  level: warn # said otherwise\n")
        #expect(same.changed.isEmpty && same.needingRestart.isEmpty)
    }

    @Test func changedKeysAreNamedAndTheirValuesAreNot() throws {
        let found = try difference("sessions: { secret: one-of-the-secrets }", "sessions: { secret: another }\ntcp: { max_message: 2KiB }")
        #expect(found.changed == ["sessions.secret", "tcp.max_message"])
        #expect(!"\(found)".contains("another"))
    }

    @Test func listenersAreOneKey() throws {
        let found = try difference("", "listeners: [{ address: \"127.0.0.1:9000\" }]")
        #expect(found.changed == ["listeners"])
    }

    @Test func whatAStartMadeStays() throws {
        let former = try loaded("shards: 2\nlimits: { connections_per_shard: 128, listen_backlog: 16 }")
        let latter = try loaded("shards: 3\nlimits: { connections_per_shard: 256, listen_backlog: 32 }")
        let found = ConfigurationDifference(from: former, to: latter)
        #expect(found.needingRestart == ["shards", "limits.connections_per_shard"])
        #expect(found.changed == ["limits.listen_backlog"])
        let kept = latter.configuration.keeping(startOf: former.configuration)
        #expect(kept.shards == .exactly(2) && kept.limits.maximumConnectionsPerShard == 128 && kept.limits.listenBacklog == 32)
    }

    @Test func theFilesThatWereReadAreNamed() throws {
        let secret = TemporaryFile("a mounted secret", name: "secret")
        let other = TemporaryFile("another", name: "other")
        guard case .loaded(let loaded) = load(
            file: "sessions: { secret_file: \(secret.path) }", environment: ["UDP_RELAY_API_KEY_FILE": other.path])
        else { Issue.record("not loaded"); return }
        #expect(loaded.filesRead.count == 3 && loaded.filesRead.contains(secret.path) && loaded.filesRead.contains(other.path))
    }
}

@Suite struct ServerSnapshotTests {
    @Test func aSnapshotIsFreedWhenTheNextHasTakenOver() throws {
        let hub = AdminHub(metrics: MetricsRegistry())
        let loaded = try ConfigurationLoader().load()
        let configuration = loaded.configuration
        var snapshot = try ServerSnapshot(loaded, configuration: configuration, listeners: [], hub: hub, shards: 1)
        let (limiters, places) = (snapshot.gateway.limiters, snapshot.limits)
        weak let former = snapshot
        #expect(former?.generation == 1)
        snapshot = try ServerSnapshot(loaded, configuration: configuration, listeners: [], hub: hub, shards: 1, former: snapshot)
        #expect(former == nil, "nothing but what is carried over outlives it")
        #expect(snapshot.generation == 2)
        #expect(snapshot.gateway.limiters === limiters && snapshot.limits === places && snapshot.bridges.limits === places)
    }
}
