// Theory of operation
//
// All sessions of the relay, over all shards: one number, the ids of token holders that have one, and the reservations of
// `POST /session`. Touched when a session begins or ends, never by a datagram, under one lock that is held for a few dictionary
// operations. It lives as long as the process; what a reload changes comes with each question.
//
//     open ─► busy (this token holder has one) | full | opened ─► close
//     reserve ─► the same, and it closes itself: whoever asks next finds it gone once its time has passed

import Synchronization

/// The live sessions and reservations of the relay.
public final class RelaySessions: Sendable {
    /// A place taken. Give it back once, when the client's Close or the end of its stream is read and before anything is answered.
    public struct Place: Sendable {
        /// What clients and logs see: 32 lower-case hexadecimal digits.
        public let id: String
        /// Bytes of the token's `sid`; empty when there is none.
        fileprivate let holder: [UInt8]
    }

    /// What asking for a place leads to.
    public enum Outcome: Sendable {
        case opened(Place)
        /// `session_already_active`: the `sid` has a session or a reservation. Counts nothing.
        case busy
        /// `too_many_sessions`, which is counted.
        case full
    }

    /// Most reservations, whatever is configured: an unlimited relay would keep a minute's worth of requests, 10 MB.
    public static let maximumReservations = 65_536

    private struct State {
        var live = 0
        /// Bytes, not strings: texts that only look alike are different holders.
        var holders: Set<[UInt8]> = []
        /// In the order of their ends, from `first` on.
        var reservations: [(ends: UInt64, holder: [UInt8])] = []
        var first = 0
    }

    private let state = Mutex(State())

    /// No sessions.
    public init() {}

    /// Takes a place. `sessionID` is the token's `sid`, nil without a token; `maximum` of 0 or less is no limit. Clock: that of the
    /// shards, in milliseconds.
    public func open(sessionID: String?, maximum: Int, nowMilliseconds: UInt64) -> Outcome {
        let holder = Array((sessionID ?? "").utf8)
        return state.withLock { state in
            Self.expire(&state, nowMilliseconds)
            if let refusal = Self.take(holder, maximum, &state) { return refusal }
            return .opened(Place(id: Self.newID(), holder: holder))
        }
    }

    /// Takes a place that gives itself back after `lifetimeMilliseconds`, and returns its id.
    public func reserve(sessionID: String?, maximum: Int, lifetimeMilliseconds: UInt64, nowMilliseconds: UInt64) -> Outcome {
        let holder = Array((sessionID ?? "").utf8)
        return state.withLock { state in
            Self.expire(&state, nowMilliseconds)
            guard state.reservations.count - state.first < Self.maximumReservations else { return .full }
            if let refusal = Self.take(holder, maximum, &state) { return refusal }
            let ends = nowMilliseconds + lifetimeMilliseconds
            // At the end, unless a reload has shortened the lifetime: then those before end later.
            var place = state.reservations.count
            while place > state.first, state.reservations[place - 1].ends > ends { place -= 1 }
            state.reservations.insert((ends, holder), at: place)
            return .opened(Place(id: Self.newID(), holder: holder))
        }
    }

    /// Gives back the place of a session that was opened. Reservations are not given back.
    public func close(_ place: Place) {
        state.withLock { Self.give(place.holder, &$0) }
    }

    /// Sessions and reservations alive.
    public func count(nowMilliseconds: UInt64) -> Int {
        state.withLock { state in
            Self.expire(&state, nowMilliseconds)
            return state.live
        }
    }

    private static func newID() -> String { Digest.hexadecimal(Digest.random(16)) }

    /// Nil when the place is taken. The holder is looked at first.
    private static func take(_ holder: [UInt8], _ maximum: Int, _ state: inout State) -> Outcome? {
        if !holder.isEmpty, state.holders.contains(holder) { return .busy }
        if maximum > 0, state.live >= maximum { return .full }
        state.live += 1
        if !holder.isEmpty { state.holders.insert(holder) }
        return nil
    }

    private static func give(_ holder: [UInt8], _ state: inout State) {
        precondition(state.live > 0, "a place is given back once")
        state.live -= 1
        if !holder.isEmpty { state.holders.remove(holder) }
    }

    private static func expire(_ state: inout State, _ nowMilliseconds: UInt64) {
        while state.first < state.reservations.count, state.reservations[state.first].ends <= nowMilliseconds {
            give(state.reservations[state.first].holder, &state)
            state.first += 1
        }
        // What is behind us goes once it is the larger part, so that each reservation is moved once on average.
        guard state.first > 0, state.first * 2 >= state.reservations.count else { return }
        state.reservations.removeFirst(state.first)
        state.first = 0
    }
}
