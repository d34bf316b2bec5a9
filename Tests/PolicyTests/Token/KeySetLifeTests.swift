import Policy
import Testing

/// A provider's keys with a clock and an issuer under the test's control. Time starts at an odd place, not at 0.
private struct Scene {
    static let start: Int64 = 5_000_000
    var now = Self.start
    var keys: ProviderKeys
    /// Fetches that were handed out and not answered.
    var inFlight: [KeyFetch] = []
    var fetchCount = 0
    /// What the issuer publishes.
    var body: [UInt8] = Issuer.keySetJSON
    var fields: [KeyFetch.Field] = []

    init(
        _ origins: [KeySources.Origin] = [Self.url("https://id.example/keys")], seed: UInt64 = 1,
        change: (inout KeySources) -> Void = { _ in }
    ) {
        var sources = KeySources()
        sources.origins = origins
        change(&sources)
        keys = ProviderKeys(provider: Issuer.provider(), sources: sources, seed: seed)
    }

    static func url(_ text: String) -> KeySources.Origin {
        guard let location = KeyLocation(text) else { fatalError("not a URL: \(text)") }
        return .url(location)
    }

    mutating func poll() {
        let fetches = keys.poll(nowMilliseconds: now)
        fetchCount += fetches.count
        inFlight += fetches
        _ = keys.update()
    }

    /// Lets time pass until a fetch is handed out.
    mutating func toNextFetch() {
        while inFlight.isEmpty, let deadline = keys.deadlineMilliseconds(nowMilliseconds: now), deadline < Int64.max {
            now = deadline
            poll()
        }
    }

    /// Lets time pass up to a moment, as an owner does: from deadline to deadline.
    mutating func pass(_ milliseconds: Int64, answering: Bool = false) {
        let end = now + milliseconds
        while let deadline = keys.deadlineMilliseconds(nowMilliseconds: now), deadline <= end {
            now = max(now, deadline)
            poll()
            if answering { answer() } else if keys.deadlineMilliseconds(nowMilliseconds: now) == deadline { break }
        }
        now = end
        poll()
        if answering { answer() }
    }

    /// Answers what is in flight, and what that leads to.
    @discardableResult
    mutating func answer(status: Int = 200) -> [KeyFetchResult] {
        var results: [KeyFetchResult] = []
        while !inFlight.isEmpty {
            let fetch = inFlight.removeFirst()
            let response = KeyResponse(status: status, fields: fields, body: body)
            results.append(keys.answer(fetch, response, nowMilliseconds: now))
            poll()
        }
        return results
    }

    mutating func fail(_ failure: KeyFetchFailure = .connection) {
        for fetch in inFlight { _ = keys.fail(fetch, failure, nowMilliseconds: now) }
        inFlight = []
        poll()
    }

    var state: KeySetLife.State { keys.lives[0].state(nowMilliseconds: now) }
    var names: [String] { keys.keySet.entries.compactMap(\.keyID) }
}

private func persisted(_ scene: inout Scene) -> [[UInt8]] {
    scene.keys.persisted(nowMilliseconds: scene.now, wallSeconds: 1_700_000_000).map { $0.file }
}

private func published(_ names: String...) -> [UInt8] {
    let known: [String: IssuerKey] = ["a": .p256, "b": .p384, "c": .p521, "d": .ed25519, "e": .rsa]
    return Issuer.keySetJSON(names.map { name in (known[name] ?? .rsa).jwk(#""kid":"\#(name)""#) })
}

@Suite struct KeySetLifeTests {
    @Test("fetched at the start, then at about 80 % of the interval")
    func schedule() {
        var waits: Set<Int64> = []
        for seed in 0..<50 {
            var scene = Scene(seed: UInt64(seed))
            #expect(scene.state == .empty && !scene.keys.isReady)
            scene.poll()
            #expect(scene.inFlight.first?.trigger == .start && scene.fetchCount == 1)
            scene.now += 40
            #expect(scene.answer() == [.loaded] && scene.state == .fresh && scene.keys.isReady)
            let due = scene.keys.deadlineMilliseconds(nowMilliseconds: scene.now) ?? 0
            waits.insert(due - scene.now)
            scene.now = due - 1
            scene.poll()
            #expect(scene.fetchCount == 1)
            scene.now = due
            scene.poll()
            #expect(scene.fetchCount == 2 && scene.inFlight.first?.trigger == .schedule)
        }
        #expect(waits.allSatisfy { (432_000...528_000).contains($0) } && waits.count > 25)
    }

    @Test("max-age shortens the interval, between a minute and the configured one", arguments: [
        ("max-age=120", 120), ("public, max-age=300, must-revalidate", 300), ("max-age=5", 60), ("max-age=0", 60),
        ("max-age=99999999999", 600),
        ("MAX-AGE=\"90\"", 90), ("no-store", 600), ("max-age=x", 600), ("max-age=-1", 600), ("max-age", 600), ("s-maxage=70", 600),
    ])
    func maximumAge(value: String, seconds: Int64) {
        var scene = Scene()
        scene.fields = [KeyFetch.Field(name: "Cache-Control", value: value)]
        scene.poll()
        scene.answer()
        let wait = (scene.keys.deadlineMilliseconds(nowMilliseconds: scene.now) ?? 0) - scene.now
        #expect((seconds * 720...seconds * 880).contains(wait))
        scene.now += seconds * 1000
        #expect(scene.state == .stale)
    }

    @Test("conditional requests, and 304 renews")
    func conditions() {
        var scene = Scene()
        scene.fields = [KeyFetch.Field(name: "ETag", value: "\"v1\""), KeyFetch.Field(name: "Last-Modified", value: "yesterday")]
        scene.poll()
        #expect(scene.inFlight[0].fields.isEmpty)
        scene.answer()
        let generation = scene.keys.keySet.generation
        scene.toNextFetch()
        #expect(scene.inFlight[0].fields.map(\.name) == ["If-None-Match", "If-Modified-Since"])
        #expect(scene.inFlight[0].fields.map(\.value) == ["\"v1\"", "yesterday"])
        scene.body = []
        #expect(scene.answer(status: 304) == [.notModified] && scene.state == .fresh && scene.keys.keySet.generation == generation)
        // A 304 that nobody asked for is an error.
        var other = Scene()
        other.poll()
        let results = other.answer(status: 304)
        #expect(results == [.redirect] && other.state == .empty)
        // An unchanged set does not disturb the shards either.
        scene.body = Issuer.keySetJSON
        scene.toNextFetch()
        scene.answer()
        #expect(scene.keys.keySet.generation == generation)
    }

    @Test("whatever goes wrong, the last good set serves", arguments: [
        KeyResponse(status: 500, body: []), KeyResponse(status: 404, body: Issuer.keySetJSON),
        KeyResponse(status: 302, body: Issuer.keySetJSON),
        KeyResponse(status: 200, body: Array("<html>".utf8)), KeyResponse(status: 200, body: Array(#"{"keys":[]}"#.utf8)),
        KeyResponse(status: 200, body: Array(#"{"keys":{}}"#.utf8)), KeyResponse(status: 200, body: []),
        KeyResponse(status: 200, body: Array(#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA"}]}"#.utf8)),
        KeyResponse(status: 200, body: Issuer.keySetJSON([IssuerKey.rsa.jwk(#""use":"enc""#)])),
        KeyResponse(status: 200, body: [UInt8](repeating: 32, count: 10 << 20)),
        KeyResponse(status: 200, body: Issuer.keySetJSON([String](repeating: "{}", count: 1001))),
        KeyResponse(status: 200, body: Array(#"{"keys":[],"keys":[]}"#.utf8)), KeyResponse(status: 204, body: []),
    ])
    func outages(response: KeyResponse) {
        var scene = Scene()
        scene.poll()
        scene.answer()
        let names = scene.names
        scene.toNextFetch()
        for failure in 1...8 {
            guard let fetch = scene.inFlight.popLast() else {
                Issue.record("no fetch \(failure)")
                return
            }
            let result = scene.keys.answer(fetch, response, nowMilliseconds: scene.now)
            #expect(!result.isSuccess && result != .late)
            scene.poll()
            #expect(scene.inFlight.isEmpty && scene.names == names && scene.keys.isReady)
            let wait = (scene.keys.deadlineMilliseconds(nowMilliseconds: scene.now) ?? 0) - scene.now
            let longest = min(Int64(1000) << Int64(failure - 1), 60_000)
            #expect(wait >= longest * 3 / 4 && wait <= longest)
            scene.now += wait
            scene.poll()
            #expect(scene.inFlight.last?.trigger == .retry)
        }
        scene.now += 600_000
        #expect(scene.state == .stale)
        // The issuer is back.
        let results = scene.answer()
        #expect(results.first?.isSuccess == true && scene.state == .fresh)
    }

    @Test("a fetch without answer is given up, and its answer comes too late")
    func timeouts() {
        var scene = Scene()
        scene.poll()
        let first = scene.inFlight[0]
        #expect(first.totalMilliseconds == 5000 && first.connectMilliseconds == 3000 && first.bodyBytesMaximum == 1 << 20)
        scene.pass(5999)
        #expect(scene.fetchCount == 1)
        scene.pass(5000)
        #expect(scene.fetchCount == 2)
        #expect(scene.keys.answer(first, KeyResponse(status: 200, body: scene.body), nowMilliseconds: scene.now) == .late)
        #expect(scene.state == .empty)
    }

    @Test("an issuer that comes up is found within five seconds, however long it was down")
    func startWithoutIssuer() {
        for seed in 0..<20 {
            var scene = Scene(seed: UInt64(seed))
            scene.poll()
            for _ in 0..<100 {
                scene.fail()
                let deadline = scene.keys.deadlineMilliseconds(nowMilliseconds: scene.now) ?? 0
                #expect(deadline - scene.now <= 4000)
                scene.now = deadline
                scene.poll()
            }
            #expect(!scene.keys.isReady && scene.inFlight.count == 1)
            scene.answer()
            #expect(scene.keys.isReady)
        }
    }

    @Test("keys die of age, and come back")
    func death() {
        var scene = Scene { $0.maximumStaleSeconds = 3600 }
        scene.poll()
        scene.answer()
        let loaded = scene.now
        while scene.now < loaded + 3_600_000 - 1 {
            scene.now = min(scene.keys.deadlineMilliseconds(nowMilliseconds: scene.now) ?? 0, loaded + 3_600_000 - 1)
            scene.poll()
            scene.fail()
        }
        #expect(scene.state == .stale && scene.keys.isReady)
        scene.now += 1
        scene.poll()
        #expect(scene.state == .dead && !scene.keys.isReady && scene.keys.keySet.isEmpty)
        scene.toNextFetch()
        #expect(scene.now <= loaded + 3_660_000)
        let results = scene.answer()
        #expect(results == [.notModified] && scene.keys.isReady && scene.names.count == 5)

        var immortal = Scene { $0.maximumStaleSeconds = nil }
        immortal.poll()
        immortal.answer()
        immortal.now += 1_000_000_000
        immortal.poll()
        #expect(immortal.state == .stale && immortal.keys.isReady)
    }

    @Test("a key that left stays for the time of grace, and its successor of the same name comes first")
    func grace() {
        var scene = Scene { $0.keyGraceSeconds = 3600 }
        scene.body = published("a", "b")
        scene.poll()
        scene.answer()
        scene.body = published("b", "c")
        scene.toNextFetch()
        let left = scene.now
        scene.answer()
        #expect(scene.names == ["b", "c", "a"])
        scene.pass(left + 3_600_000 - 1 - scene.now, answering: true)
        #expect(scene.names == ["b", "c", "a"])
        scene.pass(1, answering: true)
        #expect(scene.names == ["b", "c"])
        // Without grace it goes at once.
        var strict = Scene()
        strict.body = published("a", "b")
        strict.poll()
        strict.answer()
        strict.body = published("b")
        strict.toNextFetch()
        strict.answer()
        #expect(strict.names == ["b"])
        // A key that comes back is no longer in its grace.
        scene.body = published("b")
        scene.toNextFetch()
        scene.answer()
        scene.body = published("b", "c")
        scene.toNextFetch()
        scene.answer()
        scene.pass(10_000_000, answering: true)
        #expect(scene.names == ["b", "c"])
    }

    @Test("a purge is at once")
    func purge() {
        var scene = Scene { $0.keyGraceSeconds = 86_400 }
        scene.body = published("a", "b")
        scene.poll()
        scene.answer()
        let purged = scene.keys.purge(keyID: "a")
        #expect(purged.count == 1)
        scene.poll()
        #expect(scene.names == ["b"] && scene.inFlight.first?.trigger == .purge)
        // The issuer still publishes it: it stays away.
        scene.answer()
        #expect(scene.names == ["b"])
        let nobody = scene.keys.purge(keyID: "nobody")
        #expect(nobody.isEmpty)
        scene.answer()
        let all = scene.keys.purge()
        #expect(all.count == 1)
        scene.poll()
        #expect(!scene.keys.isReady && scene.state == .empty)
        #expect(persisted(&scene) == [[]])
        scene.answer()
        #expect(scene.names == ["b"] && scene.keys.isReady)
    }

    @Test("sources are merged by name, the first wins; static keys come before")
    func merging() throws {
        var sources = KeySources()
        sources.origins = [Scene.url("https://one.example/keys"), Scene.url("https://two.example/keys")]
        let own = KeySetEntry(key: try VerificationKey(pem: Array(IssuerKey.otherRSA.publicPEM.utf8)), keyID: "a")
        var keys = ProviderKeys(provider: Issuer.provider(), sources: sources, staticKeys: [own], seed: 1)
        #expect(keys.isReady)
        let fetches = keys.poll(nowMilliseconds: 0)
        #expect(fetches.map(\.source) == [0, 1])
        func set(_ keys: (IssuerKey, String)...) -> KeyResponse {
            KeyResponse(status: 200, body: Issuer.keySetJSON(keys.map { $0.jwk(#""kid":"\#($1)""#) }))
        }
        let second = set((.p256, "b"), (.p384, "c"))
        #expect(keys.answer(fetches[1], second, nowMilliseconds: 1) == .loaded)
        let part = keys.update()
        #expect(part?.entries.map(\.keyID) == ["a", "b", "c"])
        let first = set((.ed25519, "b"), (.p521, "a"))
        #expect(keys.answer(fetches[0], first, nowMilliseconds: 2) == .loaded)
        let whole = keys.update()
        let merged = try #require(whole)
        #expect(merged.entries.map(\.keyID) == ["a", "b", "c"] && merged.entries.map(\.key.kind) == [.rsa, .ed25519, .p384])
        #expect(merged.generation == 3 && keys.update() == nil)
    }

    @Test("a discovery document leads to the keys of its own issuer only")
    func discovery() {
        var scene = Scene([.discovery(issuer: "https://id.example/realm")])
        scene.poll()
        guard case .url(let location) = scene.inFlight[0].target else { return }
        #expect(location.description == "https://id.example/realm/.well-known/openid-configuration")
        let fetch = scene.inFlight.removeFirst()
        func document(_ issuer: String, _ keys: String) -> KeyResponse {
            KeyResponse(status: 200, body: Array(#"{"issuer":"\#(issuer)","jwks_uri":"\#(keys)"}"#.utf8))
        }
        var mismatch = scene.keys
        let lent = document("https://evil.example", "https://evil.example/keys")
        #expect(mismatch.answer(fetch, lent, nowMilliseconds: scene.now) == .issuerMismatch)
        var plain = scene.keys
        let insecure = document("https://id.example/realm", "http://id.example/keys")
        #expect(plain.answer(fetch, insecure, nowMilliseconds: scene.now) == .malformed)
        let good = document("https://id.example/realm", "https://keys.example/set?a=1")
        #expect(scene.keys.answer(fetch, good, nowMilliseconds: scene.now) == .discovered)
        scene.poll()
        #expect(scene.inFlight.map(\.target) == [KeyLocation("https://keys.example/set?a=1").map { .url($0) }])
        #expect(scene.inFlight[0].trigger == .start)
        #expect(scene.answer() == [.loaded] && scene.keys.isReady)
        // The location is known now, until a fetch fails.
        scene.toNextFetch()
        #expect(scene.inFlight.map(\.target) == [KeyLocation("https://keys.example/set?a=1").map { .url($0) }])
        scene.fail()
        scene.toNextFetch()
        guard case .url(let again) = scene.inFlight[0].target else { return }
        #expect(again == location && scene.inFlight[0].trigger == .retry)
    }

    @Test("a file is looked at every five seconds and may hold secrets")
    func file() throws {
        var scene = Scene([.file(path: "keys.json")])
        scene.body = Array(#"{"keys":[{"kty":"oct","kid":"s","k":"\#(Issuer.base64URL(Issuer.secret))"},\#(IssuerKey.p256.jwk())]}"#.utf8)
        scene.poll()
        #expect(scene.inFlight[0].target == .file(path: "keys.json"))
        #expect(scene.answer() == [.loaded] && scene.keys.keySet.entries.map(\.key.kind) == [.secret, .p256])
        #expect(persisted(&scene).isEmpty)
        scene.pass(5000)
        #expect(scene.answer() == [.notModified])
        scene.pass(5000)
        scene.fail()
        scene.now += 100_000_000
        scene.poll()
        #expect(scene.state == .fresh && scene.keys.isReady)
    }

    @Test("a set that is confirmed is written again, so that its file does not look older than it is")
    func persistingAgain() {
        var scene = Scene()
        scene.fields = [KeyFetch.Field(name: "ETag", value: "\"v1\"")]
        scene.poll()
        scene.answer()
        #expect(persisted(&scene).count == 1)
        var written = 0
        for _ in 0..<20 {
            scene.now += 480_000
            scene.poll()
            scene.answer(status: 304)
            written += persisted(&scene).count
        }
        #expect(written >= 8 && written <= 16, "at most every ten minutes: \(written)")
    }

    @Test("what was persisted serves after a restart, as old as it is, to the same source only")
    func persisting() throws {
        var scene = Scene()
        scene.fields = [KeyFetch.Field(name: "ETag", value: "\"v1\"")]
        scene.poll()
        scene.answer()
        scene.now += 7000
        let files = persisted(&scene)
        let file = try #require(files.first)
        #expect(files.count == 1 && persisted(&scene).isEmpty)
        #expect(String(decoding: file.prefix(90), as: UTF8.self).contains("fetched: 1699999993\n"))

        func restored(_ wallSeconds: Int64, _ file: [UInt8], _ origin: KeySources.Origin = Scene.url("https://id.example/keys")) -> Scene {
            var scene = Scene([origin])
            _ = scene.keys.restore(source: 0, file, nowMilliseconds: scene.now, wallSeconds: wallSeconds)
            _ = scene.keys.update()
            return scene
        }
        var fresh = restored(1_700_000_000 + 60, file)
        #expect(fresh.keys.isReady && fresh.state == .fresh && fresh.names.count == 5)
        fresh.poll()
        #expect(fresh.inFlight.first?.fields.first?.value == "\"v1\"", "it asks at once, and on condition")
        #expect(fresh.answer(status: 304) == [.notModified])
        #expect(restored(1_700_000_000 + 3600, file).state == .stale)
        let dead = restored(1_700_000_000 + 90_000, file)
        #expect(dead.state == .dead && !dead.keys.isReady)
        #expect(restored(1_699_999_993 - 300, file).keys.isReady, "a clock that was set back a little does not lose the keys")
        #expect(!restored(1_699_999_993 - 301, file).keys.isReady, "a file from the future has no age")
        #expect(!restored(1, file).keys.isReady)
        #expect(!restored(1_700_000_000, file, Scene.url("https://evil.example/keys")).keys.isReady)
        for length in [0, 1, 20, 60, file.count - 1] { #expect(!restored(1_700_000_000, Array(file.prefix(length))).keys.isReady) }
        // What was fetched meanwhile is newer.
        let isTaken = scene.keys.restore(source: 0, file, nowMilliseconds: scene.now, wallSeconds: 1_700_000_000)
        #expect(!isTaken)
    }

    @Test("bad entries are counted and fatal to themselves only")
    func entries() throws {
        let document = try KeySetDocument(
            json: Issuer.keySetJSON([
                IssuerKey.rsa.jwk(), #"{"kty":"EC","crv":"P-256","x":"","y":""}"#, #"{"kty":"new"}"#, "1", "null", #"{"kty":1}"#, "[]",
                #"{"d":"AA","# + IssuerKey.p256.jwk().dropFirst(), IssuerKey.weakRSA.jwk(), IssuerKey.ed25519.jwk(#""key_ops":"verify""#),
                IssuerKey.ed25519.jwk(#""x5c":["AAAA"],"future":{"a":[1]}"#),
            ]))
        #expect(document.entries.map(\.key.kind) == [.rsa, .ed25519] && document.skippedCount == 9 && document.privateCount == 1)
        // Leading zeros, which some issuers send, do not change a number.
        let modulus = Issuer.base64URL([0] + IssuerKey.rsa.parameter("n"))
        let padded = try KeySetDocument(json: Issuer.keySetJSON([#"{"kty":"RSA","n":"\#(modulus)","e":"AAEAAQ"}"#]))
        #expect(padded.entries.first?.key.thumbprint == document.entries.first?.key.thumbprint)
    }

    @Test("locations", arguments: [
        ("https://id.example/keys", true, "id.example", 443, "/keys"), ("http://10.0.0.1:8080", false, "10.0.0.1", 8080, "/"),
        ("HTTPS://[2001:db8::1]:8443/a?b=c", true, "2001:db8::1", 8443, "/a?b=c"), ("https://x?y", true, "x", 443, "/?y"),
    ])
    func locations(text: String, isSecure: Bool, host: String, port: UInt16, target: String) throws {
        let location = try #require(KeyLocation(text))
        #expect(location.isSecure == isSecure && location.host == host && location.port == port && location.target == target)
    }

    @Test("what is no location", arguments: [
        "", "id.example", "ftp://x/", "https://", "https:///x", "https://user@x/", "https://x/#f", "https://x:0/", "https://x:99999/",
        "https://x:/", "https://a b/", "https://[::1", "https://x\\y/", "https://x/\u{e9}", "https://[fe80::1%25eth0]/",
    ])
    func noLocations(text: String) { #expect(KeyLocation(text) == nil) }
}

/// Names of keys that nobody has.
@Suite struct UnknownKeyTests {
    private func loaded(change: (inout KeySources) -> Void = { _ in }) -> Scene {
        var scene = Scene(change: change)
        scene.body = published("a")
        scene.poll()
        scene.answer()
        scene.now += 30_000
        return scene
    }

    @Test("a new key costs one fetch and no refusal")
    func rotation() {
        var scene = loaded()
        scene.body = published("a", "b")
        for _ in 0..<500 { #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .wait) }
        scene.poll()
        #expect(scene.fetchCount == 2 && scene.inFlight.first?.trigger == .unknownKeyID)
        scene.now += 100
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .wait)
        scene.answer()
        #expect(scene.names == ["a", "b"])
        // Somebody who has not taken the new keys yet asks for the name after all.
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .known)
        // A key that leaves may come back: its name is not held against it.
        _ = scene.keys.purge(keyID: "b")
        _ = scene.keys.update()
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .wait)
    }

    @Test("an answer that may be older than the key does not count")
    func race() {
        var scene = loaded()
        _ = scene.keys.unknown(keyID: "x", nowMilliseconds: scene.now)
        scene.poll()
        // The issuer has answered, then publishes a key and signs with it while the answer travels.
        let old = scene.body
        scene.now += 50
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .wait)
        scene.poll()
        #expect(scene.inFlight.count == 1, "one flight at a time")
        scene.body = old
        let fetch = scene.inFlight.removeFirst()
        _ = scene.keys.answer(fetch, KeyResponse(status: 200, body: old), nowMilliseconds: scene.now)
        #expect(scene.keys.unknown(keyID: "x", nowMilliseconds: scene.now) == .refuse)
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .wait)
        scene.poll()
        #expect(scene.inFlight.count == 1)
        scene.body = published("a", "b")
        scene.answer()
        #expect(scene.names == ["a", "b"])
    }

    @Test("10,000 random names in ten seconds cost six fetches")
    func flood() {
        var scene = loaded()
        let before = scene.fetchCount
        var waited = 0
        for index in 0..<10_000 {
            if scene.keys.unknown(keyID: "random-\(index)", nowMilliseconds: scene.now) == .wait { waited += 1 }
            scene.poll()
            // The issuer takes 20 ms.
            if index % 20 == 19 { scene.answer() }
            #expect(scene.keys.pendingCount <= TokenLimits.waitingForKey)
            scene.now += 1
        }
        #expect(scene.fetchCount - before <= 6)
        #expect(waited < 10_000 && scene.names == ["a"])
        // And one each ten seconds from then on.
        let after = scene.fetchCount
        for index in 0..<60_000 {
            _ = scene.keys.unknown(keyID: "more-\(index)", nowMilliseconds: scene.now)
            scene.poll()
            scene.answer()
            scene.now += 1
        }
        #expect((5...7).contains(scene.fetchCount - after))
    }

    @Test("a name that stayed unknown is refused for a minute without a fetch")
    func memory() {
        var scene = loaded()
        #expect(scene.keys.unknown(keyID: "x", nowMilliseconds: scene.now) == .wait)
        scene.poll()
        scene.answer()
        let count = scene.fetchCount
        for _ in 0..<59 {
            #expect(scene.keys.unknown(keyID: "x", nowMilliseconds: scene.now) == .refuse)
            scene.now += 1000
            scene.poll()
        }
        #expect(scene.fetchCount == count)
        scene.now += 1000
        #expect(scene.keys.unknown(keyID: "x", nowMilliseconds: scene.now) == .wait)
        // A name longer than any key's is never asked for.
        #expect(scene.keys.unknown(keyID: String(repeating: "x", count: 257), nowMilliseconds: scene.now) == .refuse)
    }

    @Test("nobody waits for an issuer that does not answer, and its names are not held against them")
    func outage() {
        var scene = loaded()
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .wait)
        scene.poll()
        scene.fail()
        #expect(scene.keys.unknown(keyID: "b", nowMilliseconds: scene.now) == .refuse && scene.keys.pendingCount == 0)
        scene.body = published("a", "b")
        scene.pass(2000)
        scene.answer()
        #expect(scene.names == ["a", "b"])
        // The same when the fetch is given up.
        var silent = loaded()
        #expect(silent.keys.unknown(keyID: "b", nowMilliseconds: silent.now) == .wait)
        silent.poll()
        silent.now += 6000
        silent.poll()
        #expect(silent.keys.unknown(keyID: "b", nowMilliseconds: silent.now) == .refuse)
    }

    @Test("when the allowance is used up, a name waits only if the next fetch comes soon")
    func allowance() {
        var scene = loaded()
        for index in 0..<5 {
            #expect(scene.keys.unknown(keyID: "x\(index)", nowMilliseconds: scene.now) == .wait)
            scene.poll()
            scene.answer()
        }
        let empty = scene.now
        #expect(scene.keys.unknown(keyID: "y", nowMilliseconds: scene.now) == .refuse)
        scene.now = empty + 7999
        #expect(scene.keys.unknown(keyID: "y", nowMilliseconds: scene.now) == .refuse)
        scene.now = empty + 8000
        #expect(scene.keys.unknown(keyID: "y", nowMilliseconds: scene.now) == .wait)
        scene.poll()
        #expect(scene.inFlight.isEmpty && scene.keys.deadlineMilliseconds(nowMilliseconds: scene.now) == empty + 10_000)
        scene.body = published("a", "y")
        scene.now = empty + 10_000
        scene.poll()
        scene.answer()
        #expect(scene.names == ["a", "y"])
    }

    @Test("static keys are never asked for again")
    func local() throws {
        let key = KeySetEntry(key: try VerificationKey(secret: Issuer.secret), keyID: nil)
        var keys = ProviderKeys(provider: Issuer.provider([.hs256]), sources: KeySources(), staticKeys: [key], seed: 1)
        #expect(keys.isReady && keys.unknown(keyID: "x", nowMilliseconds: 0) == .refuse)
        let fetches = keys.poll(nowMilliseconds: 0)
        #expect(fetches.isEmpty)
        #expect(keys.deadlineMilliseconds(nowMilliseconds: 0) == nil)
    }
}
