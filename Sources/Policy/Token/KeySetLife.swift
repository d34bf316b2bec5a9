// Theory of operation
//
// The life of one source of keys, without I/O: time and answers come in; fetches, keys and the next moment to look come out.
//
//     empty ── first set ──► fresh ── interval passed ──► stale ── max_stale passed ──► dead
//                              ▲                            │                            │
//                              └──────── any good answer ───┴────────────────────────────┘
//
// One fetch is in flight at most; `poll` hands it out once and gives it up when no answer came in time. After a good answer the next
// is due at 80 % of the interval, give or take a tenth, so that a fleet does not ask together; after a bad one in a second, then twice
// as long each time. The keys of the last good set stay whatever happens to later fetches, until they are too old. A key that a later
// set leaves out is kept for the grace time. Times are milliseconds of a clock that does not go back; only the persisted form knows
// the time of day, since it outlives that clock.

import Wire

/// One source of a provider's keys.
public struct KeySetLife: Sendable {
    /// Where the source stands.
    public enum State: String, Sendable, Hashable, CaseIterable {
        /// Never loaded.
        case empty
        case fresh
        /// Older than the interval: fetches fail.
        case stale
        /// Too old to be used.
        case dead
    }

    struct Flight {
        let serial: UInt64
        let startedMilliseconds: Int64
        let trigger: KeyFetch.Trigger
        let isDiscovery: Bool
    }

    struct GracedKey {
        let entry: KeySetEntry
        let endMilliseconds: Int64
    }

    /// First wait after a failure.
    static let firstRetryMilliseconds: Int64 = 1000
    /// Longest wait after failures.
    static let longestRetryMilliseconds: Int64 = 60_000
    /// Longest wait while no key can be used: an issuer that comes up is found within five seconds.
    static let longestEmptyRetryMilliseconds: Int64 = 4000
    /// A fetch without answer is given up this long after its own limit.
    static let lateMilliseconds: Int64 = 1000
    /// Shortest interval, whatever the answer's `max-age` says.
    static let shortestIntervalSeconds = 60
    /// How often a file is looked at.
    static let fileIntervalMilliseconds: Int64 = 5000
    /// A discovery document is read again after this time, and after a failure.
    static let discoveryMilliseconds: Int64 = 86_400_000
    /// Keys that were purged one by one and do not come back while the process runs.
    static let bannedKeysMaximum = 1000
    /// What is persisted says how old it is: a set that is confirmed again and again is written again this often.
    static let persistMilliseconds: Int64 = 600_000

    let origin: KeySources.Origin
    let settings: KeySources
    let algorithms: [TokenAlgorithm]
    let source: Int
    private var random: UInt64

    /// Keys of the last good set.
    private(set) var entries: [KeySetEntry] = []
    private(set) var graced: [GracedKey] = []
    private var banned: Set<TokenDigest> = []
    /// Rises whenever the keys in use change.
    public private(set) var revision: UInt64 = 0
    /// Entries of the last good set that were skipped.
    public private(set) var skippedCount = 0
    /// Entries of the last good set that held private keys.
    public private(set) var privateCount = 0

    private var loadedMilliseconds: Int64?
    private var intervalMilliseconds: Int64
    private var wasServing = false
    private var dueMilliseconds = Int64.min
    private var dueTrigger = KeyFetch.Trigger.start
    private(set) var failures = 0
    private var flight: Flight?
    private var lastSerial: UInt64 = 0
    /// Serial of the latest fetch of keys that was begun and answered well.
    private(set) var confirmedSerial: UInt64 = 0
    private var discovered: (location: KeyLocation, milliseconds: Int64)?
    /// What came with the last good set.
    private(set) var etag: String?
    private(set) var lastModified: String?
    private(set) var body: [UInt8] = []
    /// Whether there is something new to persist.
    public internal(set) var wantsPersisting = false
    var persistedMilliseconds: Int64?

    /// A source that was never loaded and wants to be at once. `seed` draws fleets apart.
    public init(origin: KeySources.Origin, settings: KeySources, algorithms: [TokenAlgorithm], source: Int = 0, seed: UInt64) {
        self.origin = origin
        self.settings = settings
        self.algorithms = algorithms
        self.source = source
        random = seed
        intervalMilliseconds = Int64(settings.refreshSeconds) * 1000
    }

    // MARK: Asking

    /// Where the source stands.
    public func state(nowMilliseconds: Int64) -> State {
        guard let age = ageMilliseconds(nowMilliseconds: nowMilliseconds) else { return .empty }
        if age < intervalMilliseconds || !origin.isRemote { return .fresh }
        if let seconds = settings.maximumStaleSeconds, age >= Int64(seconds) * 1000 { return .dead }
        return .stale
    }

    /// Time since the keys were known to be right; nil when there are none.
    public func ageMilliseconds(nowMilliseconds: Int64) -> Int64? { loadedMilliseconds.map { max(0, nowMilliseconds - $0) } }

    /// Whether a fetch is in flight.
    public var isFetching: Bool { flight != nil }

    /// Whether fetches fail and the next waits for its time.
    public func isBackingOff(nowMilliseconds: Int64) -> Bool { failures > 0 && flight == nil && nowMilliseconds < dueMilliseconds }

    /// The keys in use: of the last good set, and those in their time of grace. None when the source is dead.
    var keys: [KeySetEntry] { wasServing ? entries + graced.map(\.entry) : [] }

    /// When to call `poll` again at the latest.
    public func deadlineMilliseconds(nowMilliseconds: Int64) -> Int64 {
        var deadline = flight.map { giveUpMilliseconds($0) } ?? dueMilliseconds
        for key in graced { deadline = min(deadline, key.endMilliseconds) }
        if wasServing, origin.isRemote, let seconds = settings.maximumStaleSeconds, let loadedMilliseconds {
            deadline = min(deadline, loadedMilliseconds + Int64(seconds) * 1000)
        }
        return max(deadline, nowMilliseconds)
    }

    private func giveUpMilliseconds(_ flight: Flight) -> Int64 {
        flight.startedMilliseconds + Int64(settings.totalMilliseconds) + Self.lateMilliseconds
    }

    // MARK: Time

    /// Lets time pass, and hands out the fetch that is to be made now, if any.
    public mutating func poll(nowMilliseconds: Int64) -> KeyFetch? {
        expireKeys(nowMilliseconds)
        if let flight, nowMilliseconds >= giveUpMilliseconds(flight) { failed(nowMilliseconds) }
        guard flight == nil, nowMilliseconds >= dueMilliseconds else { return nil }
        return begin(nowMilliseconds)
    }

    /// Wants a fetch that begins now, or when the one in flight has ended: that one may have been answered before the key came.
    mutating func request(_ trigger: KeyFetch.Trigger) {
        dueMilliseconds = Int64.min
        dueTrigger = trigger
    }

    /// The serial that a fetch requested now will have at least.
    var nextSerial: UInt64 { lastSerial + 1 }

    private mutating func begin(_ nowMilliseconds: Int64) -> KeyFetch? {
        if let known = discovered, nowMilliseconds - known.milliseconds >= Self.discoveryMilliseconds { discovered = nil }
        let target: KeyFetch.Target
        var isDiscovery = false
        switch origin {
        case .url(let location): target = .url(location)
        case .file(let path): target = .file(path: path)
        case .discovery(let issuer):
            isDiscovery = discovered == nil
            guard let location = discovered?.location ?? DiscoveryDocument.location(issuer: issuer) else {
                dueMilliseconds = Int64.max
                return nil
            }
            target = .url(location)
        }
        lastSerial += 1
        flight = Flight(serial: lastSerial, startedMilliseconds: nowMilliseconds, trigger: dueTrigger, isDiscovery: isDiscovery)
        dueMilliseconds = Int64.max
        var fields: [KeyFetch.Field] = []
        if !isDiscovery, loadedMilliseconds != nil {
            if let etag { fields.append(KeyFetch.Field(name: "If-None-Match", value: etag)) }
            if let lastModified { fields.append(KeyFetch.Field(name: "If-Modified-Since", value: lastModified)) }
        }
        return KeyFetch(
            source: source, serial: lastSerial, target: target, trigger: dueTrigger, fields: fields,
            connectMilliseconds: settings.connectMilliseconds, totalMilliseconds: settings.totalMilliseconds)
    }

    /// Drops what is past its grace, and everything in use when the source dies.
    private mutating func expireKeys(_ nowMilliseconds: Int64) {
        let kept = graced.filter { $0.endMilliseconds > nowMilliseconds }
        if kept.count != graced.count {
            graced = kept
            revision += 1
        }
        let serves = [.fresh, .stale].contains(state(nowMilliseconds: nowMilliseconds))
        if serves != wasServing {
            wasServing = serves
            revision += 1
        }
    }

    // MARK: Answers

    /// Takes the answer to a fetch. Reading a set of many keys takes some milliseconds.
    public mutating func answer(_ fetch: KeyFetch, _ response: KeyResponse, nowMilliseconds: Int64) -> KeyFetchResult {
        guard let flight, flight.serial == fetch.serial else { return .late }
        let result = flight.isDiscovery ? discover(response, nowMilliseconds) : load(response, nowMilliseconds)
        switch result {
        case .discovered:
            // The set is the second half of the same refresh.
            self.flight = nil
            request(flight.trigger)
        case .loaded, .notModified:
            confirmedSerial = flight.serial
            succeeded(response, nowMilliseconds)
        default:
            failed(nowMilliseconds)
        }
        expireKeys(nowMilliseconds)
        return result
    }

    /// Takes the news that a fetch has no answer.
    public mutating func fail(_ fetch: KeyFetch, _ failure: KeyFetchFailure, nowMilliseconds: Int64) -> KeyFetchResult {
        guard let flight, flight.serial == fetch.serial else { return .late }
        failed(nowMilliseconds)
        switch failure {
        case .connection: return .connection
        case .timeout: return .timeout
        case .tooLarge: return .tooLarge
        }
    }

    private mutating func discover(_ response: KeyResponse, _ nowMilliseconds: Int64) -> KeyFetchResult {
        guard case .discovery(let issuer) = origin else { return .malformed }
        if let problem = Self.problem(response) { return problem }
        do throws(DiscoveryDocument.Failure) {
            let location = try DiscoveryDocument.keyLocation(json: response.body, issuer: issuer, allowsPlain: settings.allowsPlain)
            discovered = (location, nowMilliseconds)
            return .discovered
        } catch {
            return error == .issuerMismatch ? .issuerMismatch : .malformed
        }
    }

    /// What is wrong with an answer before its body is read.
    private static func problem(_ response: KeyResponse) -> KeyFetchResult? {
        if (300..<400).contains(response.status) { return .redirect }
        if response.status != 200 { return .status }
        return response.body.count > TokenLimits.fetchBodyBytes ? .tooLarge : nil
    }

    private mutating func load(_ response: KeyResponse, _ nowMilliseconds: Int64) -> KeyFetchResult {
        // 304 without a condition in the request answers nothing.
        if response.status == 304, etag != nil || lastModified != nil, !entries.isEmpty { return .notModified }
        if let problem = Self.problem(response) { return problem }
        if !entries.isEmpty, response.body == body { return .notModified }
        guard let document = try? KeySetDocument(json: response.body, allowsSecrets: !origin.isRemote) else { return .malformed }
        guard install(document, nowMilliseconds) else { return .noUsableKey }
        body = response.body
        wantsPersisting = origin.isRemote
        return .loaded
    }

    /// Puts a set in the place of the last one; false when no key of it can verify anything for the provider.
    mutating func install(_ document: KeySetDocument, _ nowMilliseconds: Int64) -> Bool {
        let found = document.entries.filter { !banned.contains($0.key.thumbprint) }
        guard found.contains(where: { entry in algorithms.contains { entry.isUsable(for: $0) } }) else { return false }
        skippedCount = document.skippedCount
        privateCount = document.privateCount
        let isChanged = found.count != entries.count || zip(found, entries).contains { !$0.isSame(as: $1) }
        guard isChanged else { return true }
        let end = nowMilliseconds + Int64(settings.keyGraceSeconds) * 1000
        let leaving = settings.keyGraceSeconds == 0 ? [] : entries.map { GracedKey(entry: $0, endMilliseconds: end) }
        let remaining = (graced + leaving).filter { old in !found.contains { $0.key.thumbprint == old.entry.key.thumbprint } }
        // Those that left last stay when there are too many.
        graced = Array(remaining.suffix(TokenLimits.keysPerSet))
        entries = found
        revision += 1
        return true
    }

    private mutating func succeeded(_ response: KeyResponse, _ nowMilliseconds: Int64) {
        let isRequested = dueMilliseconds == Int64.min
        flight = nil
        failures = 0
        loadedMilliseconds = nowMilliseconds
        let isOld = persistedMilliseconds.map { nowMilliseconds - $0 >= Self.persistMilliseconds } ?? true
        if origin.isRemote, isOld { wantsPersisting = true }
        if response.status == 200 {
            etag = response.validator("etag")
            lastModified = response.validator("last-modified")
        }
        if !isRequested { schedule(response, nowMilliseconds) }
    }

    private mutating func schedule(_ response: KeyResponse, _ nowMilliseconds: Int64) {
        dueTrigger = .schedule
        guard origin.isRemote else {
            dueMilliseconds = nowMilliseconds + Self.fileIntervalMilliseconds
            return
        }
        let wanted = response.maximumAgeSeconds ?? settings.refreshSeconds
        let seconds = max(Self.shortestIntervalSeconds, min(wanted, settings.refreshSeconds))
        intervalMilliseconds = Int64(seconds) * 1000
        // 80 % of the interval, give or take a tenth of that.
        dueMilliseconds = nowMilliseconds + intervalMilliseconds * (720 + draw(161)) / 1000
    }

    private mutating func failed(_ nowMilliseconds: Int64) {
        let isRequested = dueMilliseconds == Int64.min
        flight = nil
        discovered = nil
        failures += 1
        var wait = Self.firstRetryMilliseconds << Int64(min(failures - 1, 6))
        wait = min(wait, wasServing ? Self.longestRetryMilliseconds : Self.longestEmptyRetryMilliseconds)
        if !origin.isRemote { wait = min(wait, Self.fileIntervalMilliseconds) }
        // Three quarters to the whole.
        let end = nowMilliseconds + wait * (750 + draw(251)) / 1000
        guard !isRequested else { return }
        dueMilliseconds = end
        dueTrigger = .retry
    }

    /// A number below `bound`: SplitMix64, which is enough for jitter.
    private mutating func draw(_ bound: Int64) -> Int64 {
        random &+= 0x9E37_79B9_7F4A_7C15
        var word = random
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int64((word ^ (word >> 31)) >> 33) % bound
    }

    // MARK: Purging

    /// Forgets keys at once: those called `keyID`, which do not come back while the process runs, or with nil all, until the next good
    /// answer, which is asked for now. Returns the thumbprints of those that were in use.
    mutating func purge(keyID: String?) -> [TokenDigest] {
        let gone = keys.filter { keyID == nil || $0.keyID == keyID }.map(\.key.thumbprint)
        if let keyID {
            for thumbprint in gone where banned.count < Self.bannedKeysMaximum { banned.insert(thumbprint) }
            entries.removeAll { $0.keyID == keyID }
            graced.removeAll { $0.entry.keyID == keyID }
        } else {
            entries = []
            graced = []
        }
        body = []
        (etag, lastModified) = (nil, nil)
        if entries.isEmpty, graced.isEmpty {
            loadedMilliseconds = nil
            wasServing = false
        }
        revision += 1
        wantsPersisting = origin.isRemote
        request(.purge)
        return gone
    }

    // MARK: Restoring

    /// Takes a persisted set, `ageMilliseconds` old, as if it had been fetched then. The next fetch stays due.
    mutating func restore(
        _ document: KeySetDocument, body: [UInt8], etag: String?, lastModified: String?, ageMilliseconds: Int64, now: Int64
    ) -> Bool {
        guard loadedMilliseconds == nil, install(document, now) else { return false }
        self.body = body
        self.etag = etag
        self.lastModified = lastModified
        loadedMilliseconds = now - ageMilliseconds
        expireKeys(now)
        return true
    }
}
