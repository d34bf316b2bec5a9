import Engine
import Glibc
import Wire

/// An address that is being dialled.
struct DialAttempt {
    let slot: SlotIndex
    /// Shard milliseconds.
    let began: UInt64
    /// TCP is there, and the TLS handshake has its own time.
    var shakesHands = false
}

/// Dialling the addresses of a name.
///
/// Theory of operation
/// - The next address is dialled when one has failed, in TLS too, or the latest has no TCP after a moment (RFC 8305 section 5): a family
///   that leads nowhere costs that moment. Those before it go on, each with times of its own. A handshake is waited for: it takes long
///   when this side is busy, and must not be doubled then.
/// - The first that is connected, with TLS where the endpoint has it, is kept; the others are closed.
/// - The timer of each attempt's stream looks after it: whether TCP is there, whether its time is over, and for the latest whether it is
///   time for the next.
extension HTTPClient {
    func found(_ ticket: Ticket, _ exchange: Exchange, _ addresses: [SocketAddress]) {
        guard shard.now < exchange.deadline else { return fail(ticket, .lookUp) }
        exchange.candidates = addresses.prefix(ClientLimits.addressesTried)
        exchange.phase = .connecting
        dialNext(ticket, exchange)
    }

    /// Dials the next address. Without one, and none under way, the exchange ends with what the last one said.
    private func dialNext(_ ticket: Ticket, _ exchange: Exchange) {
        while shard.now < exchange.deadline, var address = exchange.candidates.popFirst() {
            address.port = exchange.request.endpoint.port
            var error: Int32 = 0
            let slot = connect(to: address, exchange.request.endpoint, ticket, &error)
            guard slot != .none else {
                exchange.note(error == ENETUNREACH || error == EAFNOSUPPORT ? .refused(error) : .exhausted)
                continue
            }
            let attempt = DialAttempt(slot: slot, began: shard.now)
            exchange.attempts.append(attempt)
            shard.resumeReceive(slot)
            return setTimer(slot, exchange, untilLook(attempt, exchange, isLatest: true))
        }
        if exchange.attempts.isEmpty { fail(ticket, exchange.lastError) }
    }

    private func connect(to address: SocketAddress, _ endpoint: ClientEndpoint, _ ticket: Ticket, _ error: inout Int32) -> SlotIndex {
        guard let security = endpoint.security else {
            return shard.connect(to: address, owner: owner, context: ticket, error: &error, speaksFirst: true)
        }
        return shard.connect(
            to: address, owner: owner, context: ticket, error: &error, tls: security.context(shard),
            serverName: security.settings.serverName ?? endpoint.host)
    }

    /// How long until an attempt is looked at.
    private func untilLook(_ attempt: DialAttempt, _ exchange: Exchange, isLatest: Bool) -> UInt64 {
        let timeouts = exchange.request.timeouts
        if attempt.shakesHands { return timeouts.tlsMilliseconds }
        let waited = shard.now - attempt.began
        func left(_ milliseconds: UInt64) -> UInt64 { milliseconds > waited ? milliseconds - waited : 1 }
        var until = left(timeouts.connectMilliseconds)
        if isLatest, !exchange.candidates.isEmpty { until = min(until, left(ClientLimits.nextAddressMilliseconds)) }
        return exchange.request.endpoint.security == nil ? until : min(until, ClientLimits.handshakeLookMilliseconds)
    }

    /// Looks at an attempt when its timer fires.
    func look(_ slot: SlotIndex, _ ticket: Ticket, _ exchange: Exchange) {
        guard let place = exchange.attempts.firstIndex(where: { $0.slot == slot }) else { return }
        let waited = shard.now - exchange.attempts[place].began
        if exchange.attempts[place].shakesHands { return giveUp(slot, ticket, exchange, .tlsTimeout) }
        if shard.now >= exchange.deadline { return giveUp(slot, ticket, exchange, .connectTimeout) }
        if !shard.isConnecting(slot) {
            exchange.attempts[place].shakesHands = true
        } else if waited >= exchange.request.timeouts.connectMilliseconds {
            return giveUp(slot, ticket, exchange, .connectTimeout)
        } else if place == exchange.attempts.count - 1, waited >= ClientLimits.nextAddressMilliseconds {
            dialNext(ticket, exchange)
        }
        let isLatest = place == exchange.attempts.count - 1
        setTimer(slot, exchange, untilLook(exchange.attempts[place], exchange, isLatest: isLatest))
    }

    /// An attempt has failed: the next address need not wait any more.
    func giveUp(_ slot: SlotIndex, _ ticket: Ticket, _ exchange: Exchange, _ failure: ClientFailure) {
        guard let place = exchange.attempts.firstIndex(where: { $0.slot == slot }) else { return }
        exchange.attempts.remove(at: place)
        exchange.note(failure)
        shard.close(slot)
        dialNext(ticket, exchange)
    }

    /// One is connected: the others end.
    func keep(_ slot: SlotIndex, _ exchange: Exchange) {
        for attempt in exchange.attempts where attempt.slot != slot { shard.close(attempt.slot) }
        exchange.attempts = []
        exchange.slot = slot
    }

    /// Closes what an exchange has.
    func close(_ exchange: Exchange) {
        for attempt in exchange.attempts { shard.close(attempt.slot) }
        exchange.attempts = []
        if exchange.slot != .none { shard.close(exchange.slot) }
        exchange.slot = .none
    }

    /// Sets the timer of one of the exchange's streams, within the deadline of the whole.
    func setTimer(_ slot: SlotIndex, _ exchange: Exchange, _ milliseconds: UInt64) {
        let left = exchange.deadline > shard.now ? exchange.deadline - shard.now : 0
        shard.setTimer(slot, afterMilliseconds: max(1, min(milliseconds, left)))
    }
}

extension HTTPClient.Exchange {
    /// Whether a stream is one of those that are being dialled.
    func dials(_ slot: SlotIndex) -> Bool { attempts.contains { $0.slot == slot } }

    /// Keeps why an address failed. What is wrong with a certificate says more than that another is not there either.
    func note(_ failure: ClientFailure) {
        if case .tls = lastError { return }
        lastError = failure
    }
}
