import Engine
import HTTP

/// The admin interface on a shard: requests that came in on its listener, and questions of other shards.
extension ShardLoop {
    /// Answers a request, or puts its answer off until shards or control thread have answered.
    func answerAdmin(_ index: UInt32) {
        let request = http.request(index)
        let access = beginAccess(request, gateway.requestIdentifier(request))
        switch AdminInterface.answer(request, admin) {
        case .response(let response): respondAdmin(index, response, access)
        case .exchange(let wanted): begin(wanted, index, access)
        }
    }

    private func respondAdmin(_ index: UInt32, _ response: Response, _ access: RequestAccess?) {
        endAccess(access, status: response.status, bytes: response.bodyCount, "admin request")
        http.respond(index, response)
    }

    /// A request to the admin interface that the parser, a limit or a time refused.
    func refuseAdmin(_ index: UInt32, _ problem: Problem) {
        let (request, headIsComplete) = http.refused(index)
        let access = beginAccess(request, gateway.requestIdentifier(request), headIsComplete: headIsComplete)
        var response = problem.response
        response.closes = true
        respondAdmin(index, response, access)
    }

    private func begin(_ wanted: AdminExchange.Request, _ index: UInt32, _ access: RequestAccess?) {
        let shards = admin.hub.shards
        switch wanted {
        case .connections: ask(wanted, shards, index, access)
        case .close(let identifier):
            guard shards.indices.contains(identifier.shard) else {
                return respondAdmin(index, AdminInterface.problem(404, "not_found", "No such connection; it may have ended"), access)
            }
            ask(wanted, [shards[identifier.shard]], index, access)
        case .deny(let denial): deny(denial, index, access)
        case .closeSigned: ask(wanted, shards, index, access)
        case .reload, .drain, .setLogLevel:
            let command = AdminExchange(wanted, postponed: http.postpone(index), access: access, asker: shard.inbox, answers: 1)
            if !admin.hub.leave(command) { command.add(AdminInterface.problem(503, "unavailable", "Too many commands wait")) }
        }
    }

    private func ask(_ wanted: AdminExchange.Request, _ inboxes: [Inbox], _ index: UInt32, _ access: RequestAccess?) {
        let exchange = AdminExchange(
            wanted, postponed: http.postpone(index), access: access, asker: shard.inbox, answers: inboxes.count)
        for inbox in inboxes where !inbox.post(Inbox.Message(kind: ShardMessage.question.rawValue, object: exchange)) {
            exchange.add(Self.isBusy)
        }
    }

    static let isBusy = AdminInterface.problem(503, "unavailable", "A shard is too busy to answer; try again")

    /// Places of connections that are looked at in one turn: a walk over all of them must not hold up those that live.
    private static let placesPerTurn = 256

    /// Answers another shard's question, or one's own. `start`: the place a walk over the connections goes on from, or a denial's number.
    func answerQuestion(_ exchange: AdminExchange, from start: Int) {
        switch exchange.request {
        case .connections(let query):
            let range = start..<(start + Self.placesPerTurn)
            var found: [LiveConnection] = []
            bridge.forEachConnection(in: range) { if query.matches($0) { found.append($0) } }
            mux.forEachConnection(in: range) { if query.matches($0) { found.append($0) } }
            relay.forEachConnection(in: range) { if query.matches($0) { found.append($0) } }
            proxy.sessions.forEachConnection(in: range) { if query.matches($0) { found.append($0) } }
            exchange.collect(found)
            guard range.upperBound < max(bridge.places, mux.places, relay.places, proxy.sessions.places) else { return walked(exchange) }
            let rest = Inbox.Message(kind: ShardMessage.question.rawValue, first: UInt64(range.upperBound), object: exchange)
            if !shard.inbox.post(rest) { exchange.add(Self.isBusy) }
        case .close(let identifier): 
            let isClosed = bridge.close(identifier) || mux.close(identifier) || relay.close(identifier) || proxy.sessions.close(identifier)
            exchange.add(closed: isClosed)
        case .deny: exchange.add(closedCount: proxy.closed(by: UInt64(start)))
        case .closeSigned(let keys): exchange.add(closedCount: proxy.close(signedBy: keys))
        case .reload, .drain, .setLogLevel: break  // the control thread's
        }
    }

    /// This shard has told its connections. When it is the last, the control thread sorts them: no shard has the time.
    private func walked(_ exchange: AdminExchange) {
        guard exchange.endCollecting(), !admin.hub.leave(exchange) else { return }
        exchange.add(AdminInterface.problem(503, "unavailable", "Too many commands wait"))
    }

    /// All have answered: so does the request that asked, if its client is still there.
    func answered(_ exchange: AdminExchange) {
        guard let response = exchange.takeResponse(), http.respond(to: exchange.postponed, response) else { return }
        endAccess(exchange.access, status: response.status, bytes: response.bodyCount, "admin request")
        goOn(exchange.postponed.index)
    }
}
