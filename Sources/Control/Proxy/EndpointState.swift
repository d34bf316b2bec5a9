import Policy
import Synchronization

/// What all shards know of an endpoint, whatever the configuration is: its breaker, and the sessions it has.
final class EndpointState: Sendable {
    /// What logs and metrics call it.
    let name: String
    private let breaker = Mutex(CircuitBreaker())
    private let load = Atomic<Int>(0)

    init(_ name: String) { self.name = name }

    /// Sessions at the endpoint.
    var sessions: Int { load.load(ordering: .relaxed) }

    /// What its circuit is.
    var circuit: CircuitBreaker.State { breaker.withLock { $0.state } }

    /// A session began or ended there.
    func count(_ change: Int) { load.add(change, ordering: .relaxed) }

    /// Whether its breaker would let a session through.
    func wouldAdmit(_ settings: CircuitBreaker.Settings, nowMilliseconds: Int64) -> Bool {
        breaker.withLock { $0.wouldAdmit(settings, nowMilliseconds: nowMilliseconds) }
    }

    /// Asks its breaker for a pass before it is tried.
    func pass(_ settings: CircuitBreaker.Settings, nowMilliseconds: Int64) -> CircuitBreaker.Admission {
        breaker.withLock { $0.admit(settings, nowMilliseconds: nowMilliseconds) }
    }

    /// Tells its breaker how a dial ended; true when it opened by it. `failed`: nil when nothing was learnt.
    func dialled(_ pass: CircuitBreaker.Pass, failed: Bool?, _ settings: CircuitBreaker.Settings, nowMilliseconds: Int64) -> Bool {
        breaker.withLock { breaker in
            switch failed {
            case true?: return breaker.failed(pass, settings, nowMilliseconds: nowMilliseconds)
            case false?: _ = breaker.succeeded(pass)
            case nil: breaker.abandoned(pass)
            }
            return false
        }
    }
}
