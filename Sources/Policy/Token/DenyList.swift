// Theory of operation
//
// Denials are kept as digests of what they name, so an entry has a fixed size whatever a `sub` looks like. A token is looked up under
// each name it could be denied by: (sub, jti), jti, sub, sid, each with its issuer and without. Kinds of which there is none cost
// nothing, so an empty list costs nothing.
//
// Merging is the later end and the later moment of two denials of the same name: the order of arrival does not matter, and a message
// may come twice. A full list refuses new denials, which the caller reports; it never forgets one that still holds.

import Wire

/// Denied tokens. Every shard has a copy and gets the same denials.
public struct DenyList: Sendable {
    private struct Denial {
        var expirySeconds: Double
        /// For a subject: tokens issued until then.
        var beforeSeconds: Double
    }

    /// The kinds of names.
    private enum Kind: UInt8, CaseIterable {
        case token, tokenID, subject, session
    }

    /// What became of a denial.
    public enum Outcome: Sendable, Hashable {
        /// It holds from now on, or held already.
        case kept
        /// It had ended before it came.
        case ended
        /// There is no room: the token is not denied.
        case full
    }

    private let capacity: Int
    private var denials: [TokenDigest: Denial] = [:]
    /// Denials by kind, those for one issuer in the second half.
    private var counts = [Int](repeating: 0, count: Kind.allCases.count * 2)
    private var sweptSeconds = -Double.infinity
    /// Ended denials are looked for at most this often; each search reads the whole list.
    private static let sweepSeconds = 60.0

    /// An empty list.
    public init(capacity: Int = TokenLimits.denials) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// Denials held, ended ones included until the next sweep.
    public var count: Int { denials.count }

    /// Adds a denial, or merges it with the one of the same name.
    public mutating func insert(_ revocation: Revocation, nowSeconds: Double) -> Outcome {
        sweep(nowSeconds, isForced: false)
        guard revocation.expirySeconds > nowSeconds else { return .ended }
        var before = 0.0
        if case .subject(_, let moment) = revocation.target { before = moment }
        let (kind, digest) = Self.name(revocation)
        if var known = denials[digest] {
            known.expirySeconds = max(known.expirySeconds, revocation.expirySeconds)
            known.beforeSeconds = max(known.beforeSeconds, before)
            denials[digest] = known
            return .kept
        }
        if denials.count >= capacity { sweep(nowSeconds, isForced: true) }
        guard denials.count < capacity else { return .full }
        denials[digest] = Denial(expirySeconds: revocation.expirySeconds, beforeSeconds: before)
        counts[Self.place(kind, hasIssuer: revocation.issuer != nil)] += 1
        return .kept
    }

    /// What a token can be denied by.
    public struct Names {
        public var issuer: String
        public var subject: String
        public var tokenID: String?
        public var sessionID: String?
        public var issuedSeconds: Double?

        /// Collects the claims.
        public init(issuer: String, subject: String, tokenID: String?, sessionID: String?, issuedSeconds: Double?) {
            self.issuer = issuer
            self.subject = subject
            self.tokenID = tokenID
            self.sessionID = sessionID
            self.issuedSeconds = issuedSeconds
        }
    }

    /// Whether a token is denied.
    public func denies(_ token: VerifiedToken, nowSeconds: Double) -> Bool {
        guard !denials.isEmpty else { return false }
        let names = Names(
            issuer: token.issuer, subject: token.subject, tokenID: token.tokenID, sessionID: token.sessionID,
            issuedSeconds: token.issuedSeconds)
        return denies(names, nowSeconds: nowSeconds)
    }

    /// Whether a token with these claims is denied.
    public func denies(_ token: Names, nowSeconds: Double) -> Bool {
        guard !denials.isEmpty else { return false }
        for kind in Kind.allCases {
            for issuer in [nil, token.issuer] {
                guard counts[Self.place(kind, hasIssuer: issuer != nil)] > 0, let name = Self.name(token, kind),
                    let denial = denials[Self.digest(kind, issuer: issuer, name)], nowSeconds < denial.expirySeconds
                else { continue }
                // A token that does not say when it was issued may be of any time.
                if kind != .subject || token.issuedSeconds ?? 0 <= denial.beforeSeconds { return true }
            }
        }
        return false
    }

    /// Forgets everything, before the list is read again from the shared store.
    public mutating func removeAll() { self = DenyList(capacity: capacity) }

    private mutating func sweep(_ nowSeconds: Double, isForced: Bool) {
        guard isForced || nowSeconds >= sweptSeconds + Self.sweepSeconds else { return }
        sweptSeconds = nowSeconds
        // The counts stay: they only say where looking is worth while, and are right again once the list has been empty.
        denials = denials.filter { $0.value.expirySeconds > nowSeconds }
        if denials.isEmpty { counts = counts.map { _ in 0 } }
    }

    // MARK: Names

    private static func place(_ kind: Kind, hasIssuer: Bool) -> Int { Int(kind.rawValue) + (hasIssuer ? Kind.allCases.count : 0) }

    private static func name(_ revocation: Revocation) -> (Kind, TokenDigest) {
        switch revocation.target {
        case .token(let subject, let tokenID): (.token, digest(.token, issuer: revocation.issuer, [subject, tokenID]))
        case .tokenID(let tokenID): (.tokenID, digest(.tokenID, issuer: revocation.issuer, [tokenID]))
        case .subject(let subject, _): (.subject, digest(.subject, issuer: revocation.issuer, [subject]))
        case .session(let session): (.session, digest(.session, issuer: revocation.issuer, [session]))
        }
    }

    /// What a denial is known by: two of the same name are one.
    fileprivate static func digest(of revocation: Revocation) -> TokenDigest { name(revocation).1 }

    private static func name(_ token: Names, _ kind: Kind) -> [String]? {
        switch kind {
        case .token: token.tokenID.map { [token.subject, $0] }
        case .tokenID: token.tokenID.map { [$0] }
        case .subject: [token.subject]
        case .session: token.sessionID.map { [$0] }
        }
    }

    /// Kind, whether there is an issuer, and the texts with their lengths in front, so that no two names have the same bytes.
    private static func digest(_ kind: Kind, issuer: String?, _ texts: [String]) -> TokenDigest {
        var bytes: [UInt8] = [kind.rawValue, issuer == nil ? 0 : 1]
        for text in [issuer ?? ""] + texts {
            let length = UInt32(truncatingIfNeeded: text.utf8.count)
            for shift in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: length >> UInt32(shift))) }
            bytes += Array(text.utf8)
        }
        return TokenDigest(of: bytes.span)
    }
}

extension Revocation {
    /// What tells denials apart: which tokens, of which issuer; not until when. Compared byte by byte, as claims are.
    public var digest: TokenDigest { DenyList.digest(of: self) }

    /// Two denials of one name as one: the later end, and of a subject's tokens the later moment. The same when the other says nothing new.
    public func merged(with other: Revocation) -> Revocation {
        let expiry = max(expirySeconds, other.expirySeconds)
        guard case .subject(let subject, let before) = target, case .subject(_, let otherBefore) = other.target else {
            return Revocation(target: target, issuer: issuer, expirySeconds: expiry)
        }
        let moment = max(before, otherBefore)
        return Revocation(target: .subject(subject, beforeSeconds: moment), issuer: issuer, expirySeconds: expiry)
    }

    /// Whether this denies nothing that another of its name does not deny.
    public func isCovered(by other: Revocation) -> Bool {
        guard expirySeconds <= other.expirySeconds else { return false }
        guard case .subject(_, let before) = target, case .subject(_, let otherBefore) = other.target else { return true }
        return before <= otherBefore
    }
}
