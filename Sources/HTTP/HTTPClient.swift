import Engine
import Glibc
import Policy
import Wire

/// The client side of HTTP/1.1: one request to one endpoint, or an upgrade to WebSocket.
///
/// Theory of operation
///
/// ```
///  begin ─► name ─► dial ─► (TLS) ─► request ─► head ─┬─► 101: the stream is handed over
///            │       ▲ │                              └─► body ─► answer
///            │       └─┘ next address                        any step: failed
/// ```
/// - An exchange has a connection of its own and nothing is used again: upstream WebSockets live long, and the other
///   fetches are rare. Redirects are not followed.
/// - Every exchange ends once, by `takeFinished`, never inside `begin`; `cancel` ends it without a word. The layer above looks after every
///   event it gave to `handle`, and after `begin`.
/// - The stream's one timer serves the step that is under way; the deadline of the whole bounds each of them.
/// - The answer is parsed as strictly as requests are. What a server sends behind a 101's head stays in its buffer.
/// - Off the data path: set-up may allocate, and each exchange is an object.
public final class HTTPClient {
    /// Names an exchange that has not ended.
    public typealias Ticket = UInt32
    /// What `begin` gives when there are too many exchanges: it ends at once.
    public static let noTicket = Ticket.max

    /// An exchange that ended.
    public struct Finished {
        /// As given to `begin`.
        public let context: UInt32
        public let result: ClientResult
        /// Since `begin`.
        public let milliseconds: UInt64
    }

    let shard: Shard
    let owner: Owner
    var exchanges: [Exchange?] = []
    private var free: [Ticket] = []
    private var names = NameCache()
    private var finished: [Finished] = []
    var head = ResponseHead(limits: ClientLimits.head)
    let random = MaskSource()

    /// A client whose streams and look-ups carry `owner`.
    public init(shard: Shard, owner: Owner) {
        self.shard = shard
        self.owner = owner
    }

    deinit { random.destroy() }

    /// One request under way.
    final class Exchange {
        enum Phase { case resolving, connecting, shakingHands, waiting }

        let request: ClientRequest
        let context: UInt32
        let began: UInt64
        let deadline: UInt64
        var phase = Phase.resolving
        var candidates: ArraySlice<SocketAddress> = []
        var lastError: ClientFailure = .lookUp
        var slot = SlotIndex.none
        /// When the address under way was dialled; those that were left for others after a moment, and whether each has its full time now.
        var dialled: UInt64 = 0
        var slow: [SocketAddress] = []
        var isPatient = false
        var address: SocketAddress?
        var key = ""
        var input: [UInt8] = []
        var answer: AnswerBody?

        init(_ request: ClientRequest, context: UInt32, now: UInt64) {
            self.request = request
            self.context = context
            began = now
            deadline = now + request.timeouts.totalMilliseconds
        }
    }

    /// Exchanges that have not ended.
    public var count: Int { exchanges.count - free.count }
    /// Whether `takeFinished` has something.
    public var hasFinished: Bool { !finished.isEmpty }

    /// An exchange that ended, oldest first.
    public func takeFinished() -> Finished? { finished.isEmpty ? nil : finished.removeFirst() }

    /// Begins an exchange; its end carries `context`.
    public func begin(_ request: ClientRequest, context: UInt32) -> Ticket {
        guard count < ClientLimits.exchanges else {
            finished.append(Finished(context: context, result: .failed(.exhausted), milliseconds: 0))
            return Self.noTicket
        }
        let exchange = Exchange(request, context: context, now: shard.now)
        let ticket: Ticket
        if let place = free.popLast() {
            ticket = place
            exchanges[Int(place)] = exchange
        } else {
            ticket = Ticket(exchanges.count)
            exchanges.append(exchange)
        }
        if let address = request.endpoint.address {
            found(ticket, exchange, [address])
            return ticket
        }
        switch names.find(request.endpoint.host, for: ticket, shard: shard, owner: owner) {
        case .addresses(let addresses): found(ticket, exchange, addresses)
        case .waiting: break
        case .failed: fail(ticket, .lookUp)
        }
        return ticket
    }

    /// Ends an exchange; it will not be in `takeFinished`. One that has ended already is not known any more.
    public func cancel(_ ticket: Ticket) {
        guard let exchange = exchange(ticket) else { return }
        if exchange.slot != .none { shard.close(exchange.slot) }
        if exchange.phase == .resolving { names.forget(ticket) }
        forget(ticket)
    }

    func exchange(_ ticket: Ticket) -> Exchange? { Int(ticket) < exchanges.count ? exchanges[Int(ticket)] : nil }

    /// Deals with an event of one of the client's streams or look-ups.
    public func handle(_ event: Event) {
        if event.kind == .resolved { return resolved(event) }
        let ticket = event.context
        guard let exchange = exchange(ticket), exchange.slot == event.slot else {
            // A buffer of this turn behind the one that ended the exchange.
            if event.kind == .received { shard.release(event.buffer) }
            return
        }
        switch event.kind {
        case .connected: connected(ticket, exchange)
        case .received: received(ticket, exchange, event)
        case .ended: ended(ticket, exchange)
        case .failed: failed(ticket, exchange, event.result)
        case .timer: timePassed(ticket, exchange)
        default: break
        }
    }

    // MARK: name and connection

    private func resolved(_ event: Event) {
        let (waiters, addresses) = names.resolved(event, shard: shard)
        for ticket in waiters {
            guard let exchange = exchange(ticket) else { continue }
            if addresses.isEmpty { fail(ticket, .lookUp) } else { found(ticket, exchange, addresses) }
        }
    }

    private func found(_ ticket: Ticket, _ exchange: Exchange, _ addresses: [SocketAddress]) {
        guard shard.now < exchange.deadline else { return fail(ticket, .lookUp) }
        exchange.candidates = addresses.prefix(ClientLimits.addressesTried)
        exchange.lastError = .exhausted
        dialNext(ticket, exchange)
    }

    /// Dials the next address, or ends with what the last one said.
    private func dialNext(_ ticket: Ticket, _ exchange: Exchange) {
        if exchange.slot != .none { shard.close(exchange.slot) }
        exchange.slot = .none
        while shard.now < exchange.deadline, var address = nextCandidate(exchange) {
            exchange.address = address
            address.port = exchange.request.endpoint.port
            var error: Int32 = 0
            let slot = connect(to: address, exchange.request.endpoint, ticket, &error)
            guard slot != .none else {
                exchange.lastError = error == ENETUNREACH || error == EAFNOSUPPORT ? .refused(error) : .exhausted
                continue
            }
            exchange.slot = slot
            exchange.phase = .connecting
            exchange.dialled = shard.now
            shard.resumeReceive(slot)
            setTimer(exchange, look(exchange))
            return
        }
        fail(ticket, exchange.lastError)
    }

    /// The next address; behind the last those that were left because others might be quicker.
    private func nextCandidate(_ exchange: Exchange) -> SocketAddress? {
        if exchange.candidates.isEmpty, !exchange.slow.isEmpty {
            exchange.candidates = exchange.slow[...]
            exchange.slow = []
            exchange.isPatient = true
        }
        return exchange.candidates.popFirst()
    }

    /// How long the address under way has until it is looked at. One that is not there at once is left for the next, and tried
    /// again behind it (after RFC 8305 section 5): a family that leads nowhere costs a moment. A TLS handshake is seen to begin.
    private func look(_ exchange: Exchange) -> UInt64 {
        let connect = exchange.request.timeouts.connectMilliseconds
        if !exchange.isPatient, !exchange.candidates.isEmpty { return min(connect, ClientLimits.nextAddressMilliseconds) }
        let waited = shard.now - exchange.dialled
        let left = connect > waited ? connect - waited : 1
        return exchange.request.endpoint.security == nil ? left : min(left, ClientLimits.handshakeLookMilliseconds)
    }

    private func connect(to address: SocketAddress, _ endpoint: ClientEndpoint, _ ticket: Ticket, _ error: inout Int32) -> SlotIndex {
        guard let security = endpoint.security else {
            return shard.connect(to: address, owner: owner, context: ticket, error: &error, speaksFirst: true)
        }
        return shard.connect(
            to: address, owner: owner, context: ticket, error: &error, tls: security.context(shard),
            serverName: security.settings.serverName ?? endpoint.host)
    }

    private func setTimer(_ exchange: Exchange, _ milliseconds: UInt64) {
        let left = exchange.deadline > shard.now ? exchange.deadline - shard.now : 0
        shard.setTimer(exchange.slot, afterMilliseconds: max(1, min(milliseconds, left)))
    }

    private func connected(_ ticket: Ticket, _ exchange: Exchange) {
        if exchange.request.connectsOnly {
            shard.close(exchange.slot)
            return finish(ticket, exchange, .answered(ClientAnswer(status: 0, fields: [], body: [])))
        }
        exchange.phase = .waiting
        exchange.lastError = .answerTimeout
        guard let buffer = write(exchange) else { return fail(ticket, .request) }
        shard.send(exchange.slot, buffer.index, start: 0, count: buffer.count)
        setTimer(exchange, exchange.request.timeouts.answerMilliseconds)
    }

    private func failed(_ ticket: Ticket, _ exchange: Exchange, _ error: Int32) {
        if exchange.phase == .waiting { return fail(ticket, .ended) }
        if shard.isSecure(exchange.slot), let reason = shard.secureFailure(exchange.slot) { return fail(ticket, .tls(reason)) }
        exchange.lastError = .refused(error)
        dialNext(ticket, exchange)
    }

    private func timePassed(_ ticket: Ticket, _ exchange: Exchange) {
        switch exchange.phase {
        case .resolving: break
        case .connecting:
            if !shard.isConnecting(exchange.slot), shard.now < exchange.deadline {
                // TCP is there: the rest is the handshake's time.
                exchange.phase = .shakingHands
                return setTimer(exchange, exchange.request.timeouts.tlsMilliseconds)
            }
            let isGivenUp = shard.now >= exchange.deadline || shard.now - exchange.dialled >= exchange.request.timeouts.connectMilliseconds
            if !isGivenUp, exchange.isPatient || exchange.candidates.isEmpty { return setTimer(exchange, look(exchange)) }
            if !isGivenUp, let address = exchange.address { exchange.slow.append(address) }
            exchange.lastError = .connectTimeout
            dialNext(ticket, exchange)
        case .shakingHands: fail(ticket, .tlsTimeout)
        case .waiting:
            // While the body comes only the deadline counts.
            if exchange.answer != nil, shard.now < exchange.deadline {
                return setTimer(exchange, exchange.request.timeouts.totalMilliseconds)
            }
            fail(ticket, .answerTimeout)
        }
    }

    // MARK: ends

    func fail(_ ticket: Ticket, _ failure: ClientFailure) {
        guard let exchange = exchange(ticket) else { return }
        if exchange.slot != .none { shard.close(exchange.slot) }
        finish(ticket, exchange, .failed(failure))
    }

    func finish(_ ticket: Ticket, _ exchange: Exchange, _ result: ClientResult) {
        finished.append(Finished(context: exchange.context, result: result, milliseconds: shard.now - exchange.began))
        forget(ticket)
    }

    private func forget(_ ticket: Ticket) {
        exchanges[Int(ticket)] = nil
        free.append(ticket)
    }
}
