import Engine
import Policy
import Wire

/// The client side of HTTP/1.1: one request to one endpoint, or an upgrade to WebSocket.
///
/// Theory of operation
///
/// ```
///  begin ─► name ─► dial ─► (TLS) ─► request ─► head ─┬─► 101: the stream is handed over
///            │       ▲ │                              └─► body ─► answer
///            │       └─┘ next addresses                      any step: failed
/// ```
/// - An exchange has a connection of its own and nothing is used again: upstream WebSockets live long, and the other
///   fetches are rare. Redirects are not followed.
/// - Every exchange ends once, by `takeFinished`, never inside `begin`; `cancel` ends it without a word. The layer above looks after every
///   event it gave to `handle`, and after `begin`.
/// - A stream's one timer serves the step that is under way; the deadline of the whole bounds each of them.
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
        enum Phase { case resolving, connecting, waiting }

        let request: ClientRequest
        let context: UInt32
        let began: UInt64
        let deadline: UInt64
        var phase = Phase.resolving
        var candidates: ArraySlice<SocketAddress> = []
        /// What an exchange without an address that can be dialled ends with.
        var lastError = ClientFailure.exhausted
        /// Addresses that are being dialled, the latest last. Empty once one of them is connected: `slot`.
        var attempts: [DialAttempt] = []
        var slot = SlotIndex.none
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
        begin(request, context: context, addresses: request.endpoint.address.map { [$0] })
    }

    /// Begins an exchange with an endpoint whose addresses may be known.
    func begin(_ request: ClientRequest, context: UInt32, addresses: [SocketAddress]?) -> Ticket {
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
        if let addresses {
            found(ticket, exchange, addresses)
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
        close(exchange)
        if exchange.phase == .resolving { names.forget(ticket) }
        forget(ticket)
    }

    func exchange(_ ticket: Ticket) -> Exchange? { Int(ticket) < exchanges.count ? exchanges[Int(ticket)] : nil }

    /// Deals with an event of one of the client's streams or look-ups.
    public func handle(_ event: Event) {
        if event.kind == .resolved { return resolved(event) }
        let ticket = event.context
        guard let exchange = exchange(ticket), exchange.slot == event.slot || exchange.dials(event.slot) else {
            // A buffer of this turn behind the one that ended the exchange.
            if event.kind == .received { shard.release(event.buffer) }
            return
        }
        switch event.kind {
        case .connected: connected(ticket, exchange, event.slot)
        case .received: received(ticket, exchange, event)
        case .ended: ended(ticket, exchange)
        case .failed: failed(ticket, exchange, event)
        case .timer: timePassed(ticket, exchange, event.slot)
        default: break
        }
    }

    // MARK: steps

    private func resolved(_ event: Event) {
        let (waiters, addresses) = names.resolved(event, shard: shard)
        for ticket in waiters {
            guard let exchange = exchange(ticket) else { continue }
            if addresses.isEmpty { fail(ticket, .lookUp) } else { found(ticket, exchange, addresses) }
        }
    }

    private func connected(_ ticket: Ticket, _ exchange: Exchange, _ slot: SlotIndex) {
        keep(slot, exchange)
        if exchange.request.connectsOnly {
            shard.close(slot)
            return finish(ticket, exchange, .answered(ClientAnswer(status: 0, fields: [], body: [])))
        }
        exchange.phase = .waiting
        guard let buffer = write(exchange) else { return fail(ticket, .request) }
        shard.send(slot, buffer.index, start: 0, count: buffer.count)
        setTimer(slot, exchange, exchange.request.timeouts.answerMilliseconds)
    }

    private func failed(_ ticket: Ticket, _ exchange: Exchange, _ event: Event) {
        if exchange.phase == .waiting { return fail(ticket, .ended) }
        let failure = shard.secureFailure(event.slot).map { ClientFailure.tls($0) }
        giveUp(event.slot, ticket, exchange, failure ?? .refused(event.result))
    }

    private func timePassed(_ ticket: Ticket, _ exchange: Exchange, _ slot: SlotIndex) {
        if exchange.phase == .connecting { return look(slot, ticket, exchange) }
        // While the body comes only the deadline counts.
        if exchange.answer != nil, shard.now < exchange.deadline {
            return setTimer(slot, exchange, exchange.request.timeouts.totalMilliseconds)
        }
        fail(ticket, .answerTimeout)
    }

    // MARK: ends

    func fail(_ ticket: Ticket, _ failure: ClientFailure) {
        guard let exchange = exchange(ticket) else { return }
        close(exchange)
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
