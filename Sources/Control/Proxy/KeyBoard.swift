import HTTP
import Policy
import Synchronization

/// The keys of all providers: one shard fetches, all read.
///
/// Theory of operation. The first shard polls, makes the requests that are due, and gives the answers back (`KeyKeeper`). Whatever
/// changes moves `epoch` on and wakes all shards, which then take the key sets they have not, and judge again whoever waits. Any
/// shard may report a key that nobody knows; whether it is worth a fetch is decided here and at once. Nothing that carries messages
/// ever takes the lock.
final class KeyBoard: Sendable {
    private struct State {
        var providers: [ProviderKeys] = []
        /// Told apart from former ones by this when a reload replaces them.
        var generation: UInt64 = 0
        var results: [ResultKey: UInt64] = [:]
    }

    /// Labels of `ws_jwks_refresh_total`.
    struct ResultKey: Hashable {
        let provider: String
        let trigger: KeyFetch.Trigger
        let result: KeyFetchResult
    }

    /// A provider as metrics and the admin interface tell it.
    struct Reading: Sendable {
        let name: String
        let keys: Int
        let ageMilliseconds: Int64?
        let states: [KeySetLife.State]
        let keyIDs: [String]
        let isReady: Bool
    }

    private let state = Mutex(State())
    private let moves = Atomic<UInt64>(0)

    /// Moves on with every fetch that ended and every key set that changed.
    var epoch: UInt64 { moves.load(ordering: .acquiring) }

    private static var now: Int64 { MonotonicClock.milliseconds }

    /// Takes providers over. Those whose keys come from where they came from keep them, whatever else changed.
    func apply(_ plan: ProxyPlan, former: ProxyPlan?) {
        state.withLock { state in
            let kept = state.providers
            state.generation = plan.generation
            state.providers = plan.policy.providers.enumerated().map { index, provider in
                if let place = former?.policy.providers.firstIndex(where: { $0.sharesKeys(with: provider) }), kept.indices.contains(place) {
                    var keys = kept[place]
                    keys.provider = provider.provider
                    return keys
                }
                var generator = SystemRandomNumberGenerator()
                return ProviderKeys(
                    provider: provider.provider, sources: provider.sources, staticKeys: provider.staticKeys, seed: generator.next())
            }
        }
        moves.add(1, ordering: .releasing)
    }

    /// The key sets in force.
    var keySets: [KeySet] { state.withLock { $0.providers.map(\.keySet) } }

    /// Whether tokens of any provider can be verified.
    var isReady: Bool { state.withLock { state in state.providers.isEmpty || state.providers.contains(where: \.isReady) } }

    /// What to do with a handshake whose key is not there.
    func unknown(keyID: String, provider: Int) -> ProviderKeys.UnknownKey {
        state.withLock { state in
            guard state.providers.indices.contains(provider) else { return .refuse }
            return state.providers[provider].unknown(keyID: keyID, nowMilliseconds: Self.now)
        }
    }

    /// A fetch that is due, with the provider it is for.
    struct Due: Sendable {
        let provider: Int
        let fetch: KeyFetch
        let generation: UInt64
    }

    /// Lets time pass. The first shard calls it.
    func poll() -> [Due] {
        let (due, changed) = state.withLock { state in
            var due: [Due] = []
            var changed = false
            for index in state.providers.indices {
                for fetch in state.providers[index].poll(nowMilliseconds: Self.now) {
                    due.append(Due(provider: index, fetch: fetch, generation: state.generation))
                }
                changed = state.providers[index].update() != nil || changed
            }
            return (due, changed)
        }
        if changed { moves.add(1, ordering: .releasing) }
        return due
    }

    /// Takes what a fetch came to.
    func settle(_ due: Due, _ outcome: Result<KeyResponse, KeyFetchFailure>) -> KeyFetchResult {
        let result: KeyFetchResult = state.withLock { state in
            guard due.generation == state.generation, state.providers.indices.contains(due.provider) else { return .late }
            let result: KeyFetchResult
            switch outcome {
            case .success(let response):
                result = state.providers[due.provider].answer(due.fetch, response, nowMilliseconds: Self.now)
            case .failure(let failure):
                result = state.providers[due.provider].fail(due.fetch, failure, nowMilliseconds: Self.now)
            }
            _ = state.providers[due.provider].update()
            let key = ResultKey(provider: state.providers[due.provider].provider.name, trigger: due.fetch.trigger, result: result)
            state.results[key, default: 0] += 1
            return result
        }
        moves.add(1, ordering: .releasing)
        return result
    }

    /// Forgets keys and fetches again; what was in use.
    func purge(keyID: String?) -> [TokenDigest] {
        let gone = state.withLock { state in
            state.providers.indices.flatMap { index in
                let gone = state.providers[index].purge(keyID: keyID)
                _ = state.providers[index].update()
                return gone
            }
        }
        moves.add(1, ordering: .releasing)
        return gone
    }

    var readings: [Reading] {
        state.withLock { state in
            state.providers.map { keys in
                Reading(
                    name: keys.provider.name, keys: keys.keySet.entries.count,
                    ageMilliseconds: keys.lives.compactMap { $0.ageMilliseconds(nowMilliseconds: Self.now) }.min(),
                    states: keys.lives.map { $0.state(nowMilliseconds: Self.now) }, keyIDs: keys.keySet.entries.compactMap(\.keyID),
                    isReady: keys.isReady)
            }
        }
    }

    /// Fetches by what they came to.
    var results: [ResultKey: UInt64] { state.withLock { $0.results } }

    // MARK: Files

    /// Sources whose keys changed, with the text to keep: provider, source, bytes.
    func takePersisted() -> [(provider: String, source: Int, file: [UInt8])] {
        state.withLock { state in
            state.providers.indices.flatMap { index in
                let name = state.providers[index].provider.name
                return state.providers[index].persisted(nowMilliseconds: Self.now, wallSeconds: WallClock.nowMilliseconds / 1000)
                    .map { (provider: name, source: $0.source, file: $0.file) }
            }
        }
    }

    /// Takes what was kept of a source by a former process.
    func restore(provider: Int, source: Int, _ file: [UInt8]) -> Bool {
        let isTaken = state.withLock { state in
            guard state.providers.indices.contains(provider) else { return false }
            let isTaken = state.providers[provider].restore(
                source: source, file, nowMilliseconds: Self.now, wallSeconds: WallClock.nowMilliseconds / 1000)
            _ = state.providers[provider].update()
            return isTaken
        }
        moves.add(1, ordering: .releasing)
        return isTaken
    }
}

extension ProxyPolicy.Provider {
    /// Whether keys fetched for one serve the other. Audiences and the other demands on tokens do not matter to keys.
    func sharesKeys(with other: Self) -> Bool {
        provider.name == other.provider.name && provider.algorithms == other.provider.algorithms && sources == other.sources
            && authoritiesPath == other.authoritiesPath && requestFields == other.requestFields
            && staticKeys.map(\.key.thumbprint) == other.staticKeys.map(\.key.thumbprint)
    }
}
