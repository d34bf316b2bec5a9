/// Sizes and times of the conversation with the store, each with its reason.
enum StoreLimits {
    /// A store beside us answers in less than a millisecond. One that needs longer than this would make clients wait for
    /// their 101: the connection is given up and limits hold per instance.
    static let requestMilliseconds: UInt64 = 250
    /// Look-up, connect, TLS, AUTH and SELECT together.
    static let greetingMilliseconds: UInt64 = 2000
    /// Pause before the first new attempt, doubled up to the longest; a store that restarts is back within seconds.
    static let backoffMilliseconds: UInt64 = 100
    static let backoffLongestMilliseconds: UInt64 = 2000
    /// Requests under way: what a store answers in a few milliseconds. More wait in the keeper's list, which its claims bound.
    static let pipelineMaximum = 256
    /// How often the store is looked after: spare places, rates.
    static let tickMilliseconds: UInt64 = 100
    /// Rates are exchanged every second tick.
    static let ticksPerExchange = 2
    /// Without spare places to be recalled, the pulse beats this seldom.
    static let ticksPerPulse = 10
    /// How long the store believes that this instance lives, unless told again. With the pulse's period and the time limit it
    /// bounds how long the places of an instance that died stay taken: 10 s.
    static let instanceMilliseconds = 10_000
    /// Records of places expire after so long untold; they are told again every two minutes.
    static let placesMilliseconds = 600_000
    /// Recalls are read within a second.
    static let recallMilliseconds = 10_000
    /// Keys of one exchange of rates.
    static let keysPerExchange = 256
    /// Revoked sessions of one page.
    static let revocationsPerPage = 1000
    /// Changes of the set of revoked sessions that neither its size nor its version shows are found after so many ticks.
    static let ticksPerRevocationRead = 150
    /// How often instances say that they live and look whether more is denied: twice a second, so that a revocation
    /// whose message was missed is still known within one.
    static let ticksPerWatch = 5
    /// Denied tokens of one page: documents of 4 KiB each, as long as they may be, fit a reply.
    static let denialsPerPage = 200
    /// Denied tokens of one request.
    static let denialsPerRequest = 32
    /// Keys of budgets that are exchanged in a tick; the others wait for the next.
    static let budgetsPerTick = 4096
}
