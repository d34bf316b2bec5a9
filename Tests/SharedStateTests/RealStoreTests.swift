import Engine
import Foundation
import HTTP
import Policy
import Ring
import Testing

@testable import SharedState

/// A Redis of this machine on a free port, for as long as the value lives.
final class RedisProcess {
    let port: UInt16
    private let process = Process()

    init?() throws {
        guard let path = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].first(where: FileManager.default.isExecutableFile) else {
            print("skipped: redis-server is not installed (apt-get install redis-server)")
            return nil
        }
        port = try Self.freePort()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = ["--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
    }

    private static func freePort() throws -> UInt16 {
        let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(probe) }
        var address = SocketAddress(ipv4: (127, 0, 0, 1), port: 0)
        var count = socklen_t(address.byteCount)
        let isBound = withUnsafeMutablePointer(to: &address.storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                bind(probe, raw, count) == 0 && getsockname(probe, raw, &count) == 0
            }
        }
        try #require(isBound)
        return address.port
    }

    deinit {
        // It inherited the signal mask of a worker thread: a request to end would never reach it.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

/// Instances in one thread, each with a shard on the machine's own ring, that share a real Redis.
final class RealInstances {
    var shards: [Shard] = []
    var limits: [SharedLimits] = []
    var stores: [SharedStore] = []
    let redis: RedisProcess

    /// `denials`: the prefix of denied tokens; nil when none are shared.
    init?(_ count: Int, denials: String? = nil) throws {
        guard let redis = try RedisProcess() else { return nil }
        self.redis = redis
        for _ in 0..<count { guard try open(denials) else { return nil } }
        #expect(turn { limits.allSatisfy { $0.places.isShared } })
    }

    /// One more.
    func add(denials: String?, keepsDenials: Bool = true) throws {
        try #require(try open(denials, keepsDenials))
        #expect(turn { limits.allSatisfy { $0.places.isShared } })
    }

    private func open(_ denials: String?, _ keepsDenials: Bool = true) throws -> Bool {
        var lost: [String] = []
        var sizes = ShardSizes()
        (sizes.slots, sizes.smallBuffers, sizes.bulkBuffers) = (16, 256, 2)
        let ring: Ring
        do { ring = try Ring(entries: 64, completions: 512, lost: &lost) } catch {
            print("skipped: \(error)")
            return false
        }
        let shard = try Shard(index: 0, ring: ring, sizes: sizes)
        let limits = SharedLimits()
        limits.directory.register(shard.inbox, shard: 0)
        shards.append(shard)
        self.limits.append(limits)
        let store = SharedStore(shard: shard, owner: Owner(8), timer: 3, limits: limits, counters: StoreCounters()) { _ in }
        stores.append(store)
        let location = try #require(RedisLocation("redis://127.0.0.1:\(redis.port)"))
        store.apply(RedisSettings(location: location), denials: denials, keepsDenials: keepsDenials)
        return true
    }

    /// Turns every instance until the condition holds, ten seconds at most.
    func turn(until condition: () -> Bool) -> Bool {
        let deadline = Date().addingTimeInterval(10)
        var event = Event()
        while !condition() {
            for index in shards.indices {
                limits[index].directory.wake(0)
                shards[index].turn()
                while shards[index].next(&event) {
                    if event.owner == Owner(8) { stores[index].handle(event) }
                    if event.kind == .shardTimer { stores[index].timePassed() }
                    if event.kind == .inbox {
                        _ = shards[index].inbox.takeAll()
                        stores[index].pump()
                    }
                }
            }
            if Date() > deadline { return condition() }
        }
        return true
    }

    /// Opens `count` connections on every instance at once; what was granted on each.
    func open(_ count: Int, session: String, limit: Int) -> [[Places]] {
        var granted: [[Places]] = limits.map { _ in [] }
        var undecided = 0
        for _ in 0..<count {
            for index in limits.indices {
                switch limits[index].places.admit(
                    session: session, address: "", limits: PlaceLimits(session: limit, address: 0),
                    for: PlaceWaiter(shard: 0, owner: Owner(2), context: 0)) {
                case .granted(let places): granted[index].append(places)
                case .pending: undecided += 1
                case .refused: break
                }
            }
        }
        #expect(turn {
            for index in limits.indices {
                for claim in limits[index].places.takeDecided(shard: 0) {
                    undecided -= 1
                    if case .granted(let places)? = claim.take() { granted[index].append(places) }
                }
            }
            return undecided == 0
        })
        return granted
    }

    func release(_ granted: [[Places]]) {
        for (index, places) in granted.enumerated() { for place in places { limits[index].places.release(place) } }
    }

    func finish() {
        for store in stores { store.drain() }
        #expect(turn { shards.allSatisfy { $0.slotsUsed == 0 } })
        for shard in shards { shard.destroy() }
    }
}

/// The scripts, in the server they are written for.
@Suite("A real Redis", .serialized)
struct RealStoreTests {
    @Test("three instances hold a limit exactly, again and again", arguments: [1, 7, 64])
    func limit(limit: Int) throws {
        guard let instances = try RealInstances(3) else { return }
        for round in 0..<4 {
            let granted = instances.open(limit, session: "s", limit: limit)
            #expect(granted.reduce(0) { $0 + $1.count } == limit, "round \(round)")
            instances.release(granted)
            #expect(instances.turn { instances.limits.allSatisfy { $0.places.isEmpty } })
        }
        instances.finish()
    }

    @Test("places of an instance that vanished are free when its record has expired")
    func vanished() throws {
        guard let instances = try RealInstances(2) else { return }
        let granted = instances.open(8, session: "s", limit: 8)
        #expect(granted[0].count + granted[1].count == 8)
        // What removing the record does, without waiting ten seconds for its expiry: the other no longer counts it.
        instances.stores[0].apply(nil)
        for places in granted[0] { instances.limits[0].places.release(places) }
        #expect(instances.turn { instances.stores[0].isIdle })
        let more = instances.open(8, session: "s", limit: 8)
        #expect(more[1].count == granted[0].count, "the places of the other instance are free")
        instances.release([more[0], more[1] + granted[1]])
        instances.finish()
    }

    @Test("a rate holds over instances, within one exchange; what was taken above it is paid back")
    func rate() throws {
        guard let instances = try RealInstances(2) else { return }
        let limiters = instances.limits.map { RateLimiter<String>("test", BucketTable(capacity: 100, perSecond: 0.001), limits: $0) }
        let start = Date()
        func now() -> Int64 { Int64(Date().timeIntervalSince(start) * 1000) }
        var admitted = 0
        for step in 0..<60 {
            for limiter in limiters { admitted += limiter.admit("client", nowMilliseconds: now()) ? 1 : 0 }
            if step % 10 == 9 { #expect(instances.turn { limiters.allSatisfy { !$0.hasActive } }) }
            // The answers come with the next turns.
            let pause = Date().addingTimeInterval(0.05)
            _ = instances.turn { Date() > pause }
        }
        #expect((95...125).contains(admitted))
        #expect(!limiters[0].admit("client", nowMilliseconds: now()) && !limiters[1].admit("client", nowMilliseconds: now()))
        #expect(limiters[0].admit("another", nowMilliseconds: now()))
        instances.finish()
    }

    @Test("a revoked session is known everywhere, also to those that come later, and its connections are marked")
    func revocations() throws {
        guard let instances = try RealInstances(2) else { return }
        let granted = instances.open(1, session: "gone", limit: 4)
        let expiry = Date().timeIntervalSince1970 + 100
        #expect(instances.limits[0].revoke(sessionID: "gone", expirySeconds: expiry))
        #expect(granted[0][0].session.isRevoked)
        #expect(instances.turn { instances.limits[1].revocations.contains(sessionID: "gone") })
        #expect(granted[1][0].session.isRevoked)
        #expect(!instances.limits[1].revocations.contains(sessionID: "other"))
        #expect(instances.limits[1].revocationEpoch == 1)
        // More than a page, and than one request.
        for number in 0..<2500 { _ = instances.limits[1].revoke(sessionID: "\(number)", expirySeconds: expiry) }
        #expect(instances.turn { instances.limits[0].revocations.count == 2501 })
        instances.release(granted)
        instances.finish()
    }
}
