import Engine
import HTTP
import Policy
import WebSocketProxy

/// Places of sessions over all instances: those under a subject.
///
/// What this instance refuses needs no store. Whether the others have taken a subject's places the store is asked, and the client is
/// parked meanwhile: a store that answers costs it less than a millisecond, one that does not at most its time limit, and then this
/// instance decides alone. A place that was given is the session's until it ends; so is the record that it is held in the store.
extension ShardProxy {
    /// What asking for a place came to.
    enum PlaceVerdict {
        case granted
        case refused(ProxyRefused)
        /// Asked again when the claim of the visitor is decided.
        case waiting
    }

    /// Takes the places a session needs; those it has are not taken again.
    func takePlace(_ visitor: ProxyVisitor) -> PlaceVerdict {
        if visitor.isPlaceRefused { return .refused(isFull(.subject)) }
        let subject = visitor.token.flatMap { $0.subject.isEmpty ? nil : ProxyCommon.Subject(issuer: $0.issuer, subject: $0.subject) }
        if visitor.lease == nil {
            do throws(ProxyCommon.Full) { try lease(visitor, subject) } catch { return .refused(isFull(error)) }
        }
        let limit = visitor.policy.limits.sessionsPerSubject
        // Where the oldest session gives way, each instance has its own that can.
        guard let subject, limit > 0, !visitor.policy.limits.evictsOldest, visitor.plan.denialPrefix != nil, visitor.places == nil
        else { return .granted }
        if visitor.claim != nil { return .waiting }
        let waiter = PlaceWaiter(shard: shard.index, owner: parkedOwner, context: nextParked &+ 1)
        switch common.limits.places.admit(subject: subject.key, limit: limit, for: waiter) {
        case .granted(let places):
            visitor.places = places
            return .granted
        case .refused: return .refused(isFull(.subject))
        case .pending(let claim):
            visitor.claim = claim
            return .waiting
        }
    }

    private func isFull(_ full: ProxyCommon.Full) -> ProxyRefused {
        let limit = switch full {
        case .subject: "sessions_per_subject"
        case .address: "sessions_per_ip"
        case .route: "sessions_per_route"
        }
        common.metrics.add(.limits, "limit=\"\(limit)\"")
        return Self.full
    }

    private static let full = ProxyRefused(status: 429, reason: "session_limit", end: .sessionLimit, retrySeconds: 1)

    /// Goes on with a client whose token is good, at once or when its place is decided.
    func settlePlace(_ visitor: ProxyVisitor, _ slot: SlotIndex, _ leftover: (buffer: BufferIndex, start: Int, count: Int)) {
        // It may have been denied while the client waited.
        if isDenied(visitor) { return refuse(visitor, slot, leftover, Self.refused(.revoked)) }
        switch takePlace(visitor) {
        case .granted: open(visitor, slot, leftover)
        case .refused(let refused): refuse(visitor, slot, leftover, refused)
        case .waiting: waitForPlace(visitor, .handshake(slot, leftover: leftover))
        }
    }

    /// Whether the token of a client, which was good, has been denied since.
    func isDenied(_ visitor: ProxyVisitor) -> Bool {
        guard let token = visitor.token, let gate else { return false }
        return gate.denyList.denies(token, nowSeconds: Double(WallClock.nowMilliseconds) / 1000)
    }

    /// Parks a client until its claim is decided.
    func waitForPlace(_ visitor: ProxyVisitor, _ place: ProxyParked.Place) {
        let longest = PlaceKeeper.decisionMilliseconds
        park(visitor, place, longest, longest, Self.full)
    }

    /// The store has decided, or this process for it.
    func placesDecided(_ claim: PlaceClaim) {
        let number = claim.waiter.context
        guard let visitor = parked[number]?.visitor, visitor.claim === claim else { return }
        decided(number, visitor, claim.take())
    }

    /// The decision is late: this instance takes it.
    func decideAlone(_ number: UInt32) {
        guard let visitor = parked[number]?.visitor, let claim = visitor.claim, let token = visitor.token else { return }
        common.limits.places.cancel(claim)
        let subject = ProxyCommon.Subject(issuer: token.issuer, subject: token.subject)
        decided(number, visitor, common.limits.places.admitAlone(
            subject: subject.key, limit: visitor.policy.limits.sessionsPerSubject))
    }

    private func decided(_ number: UInt32, _ visitor: ProxyVisitor, _ admission: Admission?) {
        visitor.claim = nil
        if case .granted(let places)? = admission { visitor.places = places } else { visitor.isPlaceRefused = true }
        judgeAgain(number)
    }

    /// Gives everything back that a visitor holds or waits for.
    func givePlaceBack(_ visitor: ProxyVisitor) {
        if let number = visitor.waitingNumber { parked[number] = nil }
        if let claim = visitor.claim { common.limits.places.cancel(claim) }
        if let places = visitor.places { common.limits.places.release(places) }
        if let lease = visitor.lease {
            if let number = visitor.placeNumber, let subject = lease.subject { common.places.leave(subject, number: number) }
            common.release(lease, nowMilliseconds: clockMilliseconds)
        }
        (visitor.claim, visitor.places, visitor.lease) = (nil, nil, nil)
    }
}

extension ProxyCommon.Subject {
    /// Names the subject among those of all issuers.
    var key: String { "\(issuer.utf8.count):\(issuer)\(subject)" }
}
