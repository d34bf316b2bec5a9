// How many subscriptions a session has.
//
//      SUBSCRIBE ── new filters count at once ──► SUBACK ── those the broker refused count no more
//      UNSUBSCRIBE ── gives back
//
// A filter counts once however often it is subscribed to, and one that was refused here never does. What a broker remembers of an
// earlier connection of the same client is not known here and is not counted.

import Wire

/// The filters a session is subscribed to, by their digests.
struct SubscriptionCount {
    private var filters: Set<Int> = []
    /// New filters of SUBSCRIBEs without an answer, in the order of the packet; nil for one that was known.
    private var unanswered: [(packetID: UInt16, filters: [Int?])] = []

    /// Most SUBSCRIBEs whose answers are looked at: filters of others count until they are unsubscribed from.
    static let maximumUnanswered = 32

    /// Filters that count.
    var count: Int { filters.count }

    /// Whether an answer is awaited.
    var awaitsAnswer: Bool { !unanswered.isEmpty }

    func contains(_ filter: Int) -> Bool { filters.contains(filter) }

    /// A SUBSCRIBE goes on, with one of `filters` for each of its own.
    mutating func subscribed(_ packetID: UInt16, _ filters: [Int?]) {
        let fresh = filters.compactMap(\.self)
        if fresh.isEmpty { return }
        self.filters.formUnion(fresh)
        unanswered.removeAll { $0.packetID == packetID }
        if unanswered.count < Self.maximumUnanswered { unanswered.append((packetID, filters)) }
    }

    /// The broker's answer, as it came.
    mutating func answered(_ suback: Span<UInt8>, _ version: MQTTVersion) {
        guard let answer = MQTTSuback(suback, version),
            let index = unanswered.firstIndex(where: { $0.packetID == answer.packetID })
        else { return }
        for (filter, place) in zip(unanswered.remove(at: index).filters, answer.codes) {
            if let filter, suback[place] >= MQTTSuback.firstFailure { filters.remove(filter) }
        }
    }

    mutating func unsubscribed(_ filter: Int) { filters.remove(filter) }
}
