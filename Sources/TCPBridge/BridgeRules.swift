import HTTP
import Policy

/// What of one configuration a bridge is bound by as long as it lives.
struct BridgeRules {
    // What runs for every message reads these three.
    let maximumMessageBytes: UInt64
    let maximumBufferBytes: Int
    let idleMilliseconds: UInt64
    let connectMilliseconds: UInt64
    /// How many places a session and an address may have.
    let places: PlaceLimits
    let settings: GatewaySettings.TCPSettings
    let policy: EgressPolicy

    init(_ settings: GatewaySettings.TCPSettings) {
        maximumMessageBytes = UInt64(settings.maxMessageBytes)
        maximumBufferBytes = settings.maxBufferBytes
        idleMilliseconds = UInt64(settings.idleTimeoutMilliseconds)
        connectMilliseconds = UInt64(settings.connectTimeoutMilliseconds)
        places = PlaceLimits(session: settings.maxConnections, address: settings.maxConnectionsPerAddress)
        self.settings = settings
        policy = EgressPolicy(settings)
    }
}

/// The rules that bridges of one shard live under: those in force, and older ones that some bridge was opened under.
///
/// A bridge names its rules by their place here, so a message finds them without counting a reference. An entry is there
/// as long as a bridge uses it, so there are at most as many as bridges, and one more.
struct BridgeRulesTable {
    private(set) var entries: UnsafeMutablePointer<BridgeRules>
    private var users: [Int]  // bridges opened under each; -1: the place is empty
    private var capacity: Int
    private(set) var current = 0

    init(_ settings: GatewaySettings.TCPSettings) {
        capacity = 1
        entries = .allocate(capacity: 1)
        entries.initialize(to: BridgeRules(settings))
        users = [0]
    }

    /// Rules that exist.
    var count: Int { users.count { $0 >= 0 } }

    /// The rules of a bridge that opens now.
    mutating func take() -> UInt32 {
        users[current] += 1
        return UInt32(current)
    }

    /// A bridge has ended.
    mutating func release(_ index: UInt32) {
        let place = Int(index)
        precondition(users[place] > 0, "rules are given back once")
        users[place] -= 1
        if users[place] == 0, place != current { drop(place) }
    }

    /// Puts settings in force; nothing changes when they are in force already.
    mutating func adopt(_ settings: GatewaySettings.TCPSettings) {
        guard entries[current].settings != settings else { return }
        let former = current
        current = emptyPlace()
        (entries + current).initialize(to: BridgeRules(settings))
        users[current] = 0
        if users[former] == 0 { drop(former) }
    }

    private mutating func emptyPlace() -> Int {
        if let place = users.firstIndex(of: -1) { return place }
        let grown = UnsafeMutablePointer<BridgeRules>.allocate(capacity: 2 * capacity)
        grown.moveInitialize(from: entries, count: capacity)
        entries.deallocate()
        entries = grown
        users += [Int](repeating: -1, count: capacity)
        capacity *= 2
        return capacity / 2
    }

    private mutating func drop(_ place: Int) {
        (entries + place).deinitialize(count: 1)
        users[place] = -1
    }

    func destroy() {
        for place in users.indices where users[place] >= 0 { (entries + place).deinitialize(count: 1) }
        entries.deallocate()
    }
}
