import Policy
import Testing
import Wire

private func endpoint(_ text: String, _ port: UInt16) throws -> Endpoint { Endpoint(try #require(IPAddress(text)), port: port) }

/// A filter that expectations, which copy their operands, may ask.
private final class Filter {
    private var filter: RelayInboundFilter
    init(mode: RelayFilterMode, maximumRemotes: Int, idleMilliseconds: UInt64) {
        filter = RelayInboundFilter(mode: mode, maximumRemotes: maximumRemotes, idleMilliseconds: idleMilliseconds)
    }
    var count: Int { filter.count }
    var tableBytes: Int { filter.tableBytes }
    func sent(to remote: Endpoint, nowMilliseconds: UInt64) -> Bool { filter.sent(to: remote, nowMilliseconds: nowMilliseconds) }
    func admits(from remote: Endpoint, nowMilliseconds: UInt64) -> Bool { filter.admits(from: remote, nowMilliseconds: nowMilliseconds) }
    func sweep(nowMilliseconds: UInt64) { filter.sweep(nowMilliseconds: nowMilliseconds) }
}

@Suite struct RelayInboundFilterTests {
    @Test func observedSequences() throws {
        for entry in try Vectors.list("observed-udp-relay.json", "inboundFilter", atLeast: 7) {
            let mode = try #require(RelayFilterMode(rawValue: entry.string("mode") ?? ""))
            let filter = Filter(
                mode: mode, maximumRemotes: Int(try #require(entry.integer("cap"))),
                idleMilliseconds: UInt64(try #require(entry.integer("ttlMs"))))
            var counted: [String: Int] = [:]
            for step in try #require(entry["steps"] as? [[String: Any]]) {
                let now = UInt64(try #require(step.integer("atMs")))
                let port = try #require(step.integer("port"))
                let remote = try endpoint(step.string("ip") ?? "", UInt16(port))
                if step.string("dir") == "out" {
                    if filter.sent(to: remote, nowMilliseconds: now) { counted["udp_remote_allowlist_evictions_total", default: 0] += 1 }
                    continue
                }
                let forwarded = filter.admits(from: remote, nowMilliseconds: now)
                #expect(forwarded == step.boolean("forwarded"), "\(entry.string("name") ?? "") \(step)")
                if !forwarded { counted["udp_remote_allowlist_overflow_drops_total", default: 0] += 1 }
            }
            #expect(counted == (entry["counters"] as? [String: Int]), "\(entry.string("name") ?? "")")
        }
    }

    /// Against a plain model, with few keys and a small cap so that everything happens often.
    @Test(arguments: [1, 2, 7, 32])
    func model(_ capacity: Int) {
        var generator = Generator(state: UInt64(capacity))
        let filter = Filter(mode: .addressAndPort, maximumRemotes: capacity, idleMilliseconds: 50)
        var model: [(key: Int, used: UInt64)] = []
        var now: UInt64 = 0
        var differences = 0
        for _ in 0..<50_000 {
            now += UInt64.random(in: 0...6, using: &generator)
            let key = Int.random(in: 0..<(capacity * 2), using: &generator)
            let remote = Endpoint(
                key % 2 == 0 ? IPAddress(v4: UInt32(key)) : IPAddress(v6High: 1, low: UInt64(key)), port: UInt16(key))
            let place = model.firstIndex { $0.key == key }
            switch Int.random(in: 0..<8, using: &generator) {
            case 0:
                filter.sweep(nowMilliseconds: now)
                model.removeAll { now - $0.used > 50 }
            case 1...4:
                var evicts = false
                if let place {
                    model[place].used = now
                } else {
                    if model.count == capacity { model.removeAll { now - $0.used > 50 } }
                    if model.count == capacity {
                        evicts = true
                        let oldest = model.map(\.used).min()
                        // The smaller address goes first; IPv4 is smaller than the IPv6 addresses here.
                        let first = model.indices.filter { model[$0].used == oldest }.min {
                            (model[$0].key % 2, model[$0].key) < (model[$1].key % 2, model[$1].key)
                        }
                        if let first { model.remove(at: first) }
                    }
                    model.append((key, now))
                }
                if filter.sent(to: remote, nowMilliseconds: now) != evicts { differences += 1 }
            default:
                var admits = false
                if let place, now - model[place].used > 50 {
                    model.remove(at: place)
                } else if let place {
                    model[place].used = now
                    admits = true
                }
                if filter.admits(from: remote, nowMilliseconds: now) != admits { differences += 1 }
            }
            if filter.count != model.count { differences += 1 }
        }
        #expect(differences == 0)
    }

    @Test func memoryFollowsUse() throws {
        let filter = Filter(mode: .addressAndPort, maximumRemotes: 1024, idleMilliseconds: 10)
        var bytes: [Int] = [filter.tableBytes]
        for number in 0..<100_000 {
            _ = filter.sent(to: Endpoint(IPAddress(v4: UInt32(number)), port: 1), nowMilliseconds: 0)
            if number == 0 { bytes.append(filter.tableBytes) }
        }
        bytes.append(filter.tableBytes)
        filter.sweep(nowMilliseconds: 11)
        bytes.append(filter.tableBytes)
        let count = filter.count
        #expect(bytes[0] == 0 && bytes[1] <= 4 * 52 && bytes[2] <= 1024 * 52 && bytes[3] == 0 && count == 0)
    }
}

/// Bindings that expectations, which copy their operands, may ask.
private final class Bindings {
    private var bindings: RelayBindings
    init(_ settings: RelayBindingSettings) { bindings = RelayBindings(settings) }
    var count: Int { bindings.count }
    var tableBytes: Int { bindings.tableBytes }
    func bind(_ port: UInt16, nowMilliseconds: UInt64) -> RelayBindings.Bound { bindings.bind(port, nowMilliseconds: nowMilliseconds) }
    func isOpen(_ binding: RelayBinding) -> Bool { bindings.isOpen(binding) }
    func guestPort(_ binding: RelayBinding) -> UInt16 { bindings.guestPort(binding) }
    func socket(_ binding: RelayBinding, _ family: IPAddress.Family) -> UInt32? { bindings.socket(binding, family) }
    func setSocket(_ binding: RelayBinding, _ family: IPAddress.Family, _ socket: UInt32?) { bindings.setSocket(binding, family, socket) }
    func sent(_ binding: RelayBinding, to remote: Endpoint, nowMilliseconds: UInt64) -> Bool {
        bindings.sent(binding, to: remote, nowMilliseconds: nowMilliseconds)
    }
    func admits(_ binding: RelayBinding, from remote: Endpoint, nowMilliseconds: UInt64) -> Bool {
        bindings.admits(binding, from: remote, nowMilliseconds: nowMilliseconds)
    }
    func expired(nowMilliseconds: UInt64) -> RelayClosedBinding? { bindings.expired(nowMilliseconds: nowMilliseconds) }
    func closeOne() -> RelayClosedBinding? { bindings.closeOne() }
}

@Suite struct RelayBindingsTests {
    private static func settings(_ maximum: Int) -> RelayBindingSettings {
        var settings = RelayBindingSettings()
        settings.maximumBindings = maximum
        settings.idleMilliseconds = 100
        return settings
    }

    @Test func theLeastRecentlyUsedGoes() throws {
        let bindings = Bindings(Self.settings(2))
        let remote = try endpoint("192.0.2.1", 53)
        guard case .opened(let first, closed: nil) = bindings.bind(0, nowMilliseconds: 0),
            case .opened(let second, closed: nil) = bindings.bind(65_535, nowMilliseconds: 1)
        else { throw VectorError.missing("binding") }
        bindings.setSocket(first, .v4, 7)
        bindings.setSocket(second, .v6, 9)
        #expect(bindings.bind(0, nowMilliseconds: 2) == .existing(first))
        guard case .opened(let third, let closed) = bindings.bind(5, nowMilliseconds: 3), let closed else {
            throw VectorError.missing("closed")
        }
        #expect(closed.binding == second && closed.guestPort == 65_535 && closed.socketV4 == nil && closed.socketV6 == 9)
        let open = [bindings.isOpen(first), bindings.isOpen(second), bindings.isOpen(third)]
        #expect(open == [true, false, true] && third != second)
        let sockets = [bindings.socket(first, .v4), bindings.socket(first, .v6), bindings.socket(third, .v6)]
        let ports = [bindings.guestPort(first), bindings.guestPort(third)]
        #expect(sockets == [7, nil, nil] && ports == [0, 5])
        // Each has a list of its own.
        #expect(!bindings.sent(first, to: remote, nowMilliseconds: 4))
        #expect(bindings.admits(first, from: remote, nowMilliseconds: 4))
        #expect(!bindings.admits(third, from: remote, nowMilliseconds: 4))
    }

    @Test func idleOnesClose() throws {
        let bindings = Bindings(Self.settings(8))
        let remote = try endpoint("2001:db8::1", 53)
        var handles: [RelayBinding] = []
        for port: UInt16 in 1...3 {
            guard case .opened(let binding, closed: nil) = bindings.bind(port, nowMilliseconds: UInt64(port)) else { return }
            handles.append(binding)
        }
        _ = bindings.sent(handles[0], to: remote, nowMilliseconds: 10)
        // A stranger's datagram keeps nothing open, an expected one does.
        #expect(!bindings.admits(handles[1], from: remote, nowMilliseconds: 90))
        #expect(bindings.admits(handles[0], from: remote, nowMilliseconds: 90))
        #expect(bindings.expired(nowMilliseconds: 102) == nil)
        #expect(bindings.expired(nowMilliseconds: 103)?.guestPort == 2)
        #expect(bindings.expired(nowMilliseconds: 103) == nil)
        #expect(bindings.expired(nowMilliseconds: 1000)?.guestPort == 3)
        #expect(bindings.expired(nowMilliseconds: 1000)?.guestPort == 1)
        #expect(bindings.expired(nowMilliseconds: 1000) == nil)
        let bytes = bindings.tableBytes
        let stale = bindings.isOpen(handles[0])
        #expect(bytes == 0 && !stale)
    }

    @Test func everyGuestPort() {
        let bindings = Bindings(RelayBindingSettings())
        var closed = 0
        for round in 0..<2 {
            for port in UInt16.min...UInt16.max {
                if case .opened(_, closed: .some) = bindings.bind(port, nowMilliseconds: UInt64(round)) { closed += 1 }
            }
        }
        let count = bindings.count
        let bytes = bindings.tableBytes
        #expect(closed == 2 * 65_536 - 128 && count == 128 && bytes <= 128 * 240)
        var left = 0
        while bindings.closeOne() != nil { left += 1 }
        #expect(left == 128)
    }

    @Test func theLongestUnusedIsDisplacedUnlessItWasUsedJustNow() {
        var bindings = RelayBindings(RelayBindingSettings())
        #expect(bindings.displace(nowMilliseconds: 5) == nil)
        guard case .opened(let first, _) = bindings.bind(1, nowMilliseconds: 1), case .opened = bindings.bind(2, nowMilliseconds: 2) else {
            Issue.record("new ports are opened")
            return
        }
        bindings.setSocket(first, .v4, 7)
        bindings.setSocket(first, .v6, 8)
        let gone = bindings.displace(nowMilliseconds: 2)
        #expect(gone?.guestPort == 1 && gone?.socketV4 == 7 && gone?.socketV6 == 8 && gone?.socketCount == 2)
        #expect(bindings.displace(nowMilliseconds: 2) == nil, "used in this millisecond")
        let other = bindings.displace(nowMilliseconds: 3)
        #expect(other?.guestPort == 2 && other?.socketCount == 0 && bindings.count == 0)
    }

    @Test func sweepInterval() {
        var settings = RelayBindingSettings()
        #expect(settings.sweepMilliseconds == 30_000)
        settings.idleMilliseconds = 50
        #expect(settings.sweepMilliseconds == 100)
    }
}

private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
