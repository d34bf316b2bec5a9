import Engine
import HTTP
import Policy
import Wire

/// A connection to a DoH upstream. It carries one query at a time; between two it is in its upstream's idle list.
struct DoHConnection {
    static let nobody = UInt32.max

    var slot = SlotIndex.none
    var upstream = 0
    var exchange = DoHConnection.nobody
    /// It is connected; over TLS, the upstream has proven its name. Nothing is queued before: a handshake would wait behind it.
    var isOpen = false
    /// It has carried a query before: the upstream may have closed it meanwhile.
    var isReused = false
    /// The next in the list this connection is in: free or idle.
    var next = UInt32.max
}

/// Attempts over DNS over HTTPS (RFC 8484), as a client of HTTP/1.1.
///
/// The answer is collected in the exchange's `input`, bounded by head and message; its head is parsed from the front
/// whenever more has come, which for an answer of a few hundred bytes is once.
extension DNSService {
    /// Largest answer with its head and, if chunked, its framing.
    private var answerBytesMaximum: Int { DNSLimits.responseHeadBytes + 2 * responseBytesMaximum + 1024 }

    /// Asks the present upstream on an idle connection, on a new one, or waits for either.
    func sendRequest(_ index: UInt32, _ address: SocketAddress) {
        let number = exchanges[Int(index)].upstream
        if upstreams[number].idle != .max {
            let connection = upstreams[number].idle
            upstreams[number].idle = connections[Int(connection)].next
            connections[Int(connection)].isReused = true
            metrics.add(.connectionsReused)
            return carry(index, connection)
        }
        guard upstreams[number].connectionCount < DNSLimits.connectionsPerUpstream else {
            exchanges[Int(index)].phase = .queued
            upstreams[number].queue.append(index, exchanges)
            return setTick()
        }
        guard let connection = connect(number, address) else { return attemptFailed(index) }
        carry(index, connection)
    }

    private func connect(_ number: Int, _ address: SocketAddress) -> UInt32? {
        guard case .https(let isSecure, _, _) = upstreams[number].kind, let connection = openConnection() else { return nil }
        var error: Int32 = 0
        let slot = dial(address, isSecure, upstreams[number].host, DNSContext(.connection, connection).raw, &error)
        guard slot != .none else {
            connections[Int(connection)].next = freeConnection
            freeConnection = connection
            return nil
        }
        connections[Int(connection)] = DoHConnection(slot: slot, upstream: number)
        upstreams[number].connectionCount += 1
        metrics.add(.connections)
        shard.resumeReceive(slot)
        return connection
    }

    private func openConnection() -> UInt32? {
        if freeConnection != .max {
            let connection = freeConnection
            freeConnection = connections[Int(connection)].next
            return connection
        }
        guard connectionsTouched < DNSLimits.connections else { return nil }
        connectionsTouched += 1
        (connections + (connectionsTouched - 1)).initialize(to: DoHConnection())
        return UInt32(connectionsTouched - 1)
    }

    /// Writes the request of an exchange to a connection that has none.
    private func carry(_ index: UInt32, _ connection: UInt32) {
        let exchange = exchanges + Int(index)
        exchange.pointee.phase = .https
        // A constant identifier lets caches in between work (RFC 8484 section 4.1).
        exchange.pointee.identifier = 0
        connections[Int(connection)].exchange = index
        shard.setTimer(connections[Int(connection)].slot, afterMilliseconds: millisecondsLeft(index))
        if connections[Int(connection)].isOpen { send(index, connection) }
    }

    private func send(_ index: UInt32, _ connection: UInt32) {
        let exchange = exchanges + Int(index)
        guard case .https(_, let authority, let path) = upstreams[exchange.pointee.upstream].kind,
            let buffer = requestBuffer(exchange, authority, path)
        else { return drop(connection) }
        shard.send(connections[Int(connection)].slot, buffer.index, start: 0, count: buffer.count)
    }

    private func requestBuffer(_ exchange: UnsafeMutablePointer<Exchange>, _ authority: String, _ path: String)
        -> (index: BufferIndex, count: Int)?
    {
        let fixed = 256 + authority.utf8.count + path.utf8.count + exchange.pointee.traceParentBytes + exchange.pointee.traceStateBytes
        let isSmall = fixed + exchange.pointee.queryBytes <= EngineLimits.smallBufferBytes
        guard let buffer = shard.acquire(isSmall ? .small : .bulk) else { return nil }
        var writer = HeadWriter(UnsafeMutableRawBufferPointer(start: shard.bytes(buffer), count: shard.capacity(buffer)))
        writer.request(.post, target: path.utf8.span)
        writer.field("Host", string: authority)
        writer.field("Content-Type", "application/dns-message")
        writer.field("Accept", "application/dns-message")
        writer.field("Content-Length", UInt64(exchange.pointee.queryBytes))
        let (parent, state) = (exchange.pointee.traceParent, exchange.pointee.traceState)
        if !parent.isEmpty { writer.field("traceparent", Span(_unsafeElements: parent.octets)) }
        if !state.isEmpty { writer.field("tracestate", Span(_unsafeElements: state.octets)) }
        writer.endHead()
        let start = writer.count
        writer.body(Span(_unsafeElements: exchange.pointee.query.octets))
        guard !writer.failed else {
            shard.release(buffer)
            return nil
        }
        let query = UnsafeMutableRawBufferPointer(start: shard.bytes(buffer) + start, count: exchange.pointee.queryBytes)
        DNSMessageEdit.setIdentifier(query, 0)
        return (buffer, writer.count)
    }

    // MARK: - Events

    func connectionEvent(_ connection: UInt32, _ event: Event) {
        switch event.kind {
        case .received:
            let bytes = UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count)
            received(connection, bytes)
            shard.release(event.buffer)
        case .connected:
            connections[Int(connection)].isOpen = true
            let index = connections[Int(connection)].exchange
            if index != DoHConnection.nobody { send(index, connection) }
        case .ended: ended(connection)
        case .failed: broken(connection)
        case .timer: drop(connection)
        default: break
        }
    }

    private func received(_ connection: UInt32, _ bytes: UnsafeRawBufferPointer) {
        let index = connections[Int(connection)].exchange
        // Nothing was asked: whatever it says, it is not to be trusted with the next question.
        guard index != DoHConnection.nobody, exchanges[Int(index)].append(bytes, limit: answerBytesMaximum) else { return drop(connection) }
        read(connection, index, isEnd: false)
    }

    /// Looks whether the answer is complete.
    private func read(_ connection: UInt32, _ index: UInt32, isEnd: Bool) {
        let exchange = exchanges + Int(index)
        guard let input = exchange.pointee.input else { return drop(connection) }
        var start = 0
        while true {
            let rest = UnsafeMutableRawBufferPointer(start: input + start, count: exchange.pointee.inputBytes - start)
            responseHead.pointee.reset()
            let span = Span<UInt8>(_unsafeElements: UnsafeRawBufferPointer(rest).octets)
            switch responseHead.pointee.parse(span) {
            case .needMore: return isEnd || rest.count > DNSLimits.responseHeadBytes ? drop(connection) : ()
            case .violation: return drop(connection)
            case .complete(let headBytes):
                start += headBytes
                if responseHead.pointee.isInterim { continue }
                guard isAcceptable(rest) else { return drop(connection) }
                let body = UnsafeMutableRawBufferPointer(rebasing: rest[headBytes...])
                return readBody(connection, index, body, isEnd: isEnd)
            }
        }
    }

    /// 2xx with a DNS message.
    private func isAcceptable(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        guard (200...299).contains(responseHead.pointee.status), let type = responseHead.pointee.first(.contentType),
            responseHead.pointee.count(of: .contentEncoding) == 0
        else { return false }
        return DNSMediaType.isMessage(UnsafeRawBufferPointer(rebasing: bytes[responseHead.pointee.value(type)]))
    }

    private func readBody(_ connection: UInt32, _ index: UInt32, _ body: UnsafeMutableRawBufferPointer, isEnd: Bool) {
        var message = UnsafeRawBufferPointer(body)
        var isComplete = isEnd
        var used = body.count
        switch responseHead.pointee.body {
        case .length(let length):
            guard length <= UInt64(responseBytesMaximum) else { return drop(connection) }
            isComplete = body.count >= Int(length)
            used = min(body.count, Int(length))
            message = UnsafeRawBufferPointer(rebasing: body[..<used])
        case .chunked:
            // Decoded in place, so only in a copy until all of it is there.
            let copy = UnsafeMutableRawBufferPointer(rebasing: scratch[..<min(body.count, scratch.count)])
            copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: body[..<copy.count]))
            var decoder = ChunkedDecoder(maximumBodyBytes: UInt64(responseBytesMaximum))
            switch decoder.decode(copy) {
            case .needMore: isComplete = false
            case .violation: return drop(connection)
            case .complete(let data, let consumed):
                isComplete = true
                used = consumed
                message = UnsafeRawBufferPointer(rebasing: copy[..<data])
            }
        case .untilClose: guard body.count <= responseBytesMaximum else { return drop(connection) }
        case .none: return drop(connection)
        }
        guard isComplete else { return isEnd ? drop(connection) : () }
        let isReusable = responseHead.pointee.keepAlive && used == body.count && !isEnd
        guard case .answer(let response) = judge(index, message) else { return drop(connection) }
        answered(index, message, response)
        connections[Int(connection)].exchange = DoHConnection.nobody
        if isReusable { rest(connection) } else { close(connection) }
    }

    /// The upstream closed its side: the end of an answer without a length, or the end of an idle connection.
    private func ended(_ connection: UInt32) {
        let index = connections[Int(connection)].exchange
        if index != DoHConnection.nobody, exchanges[Int(index)].inputBytes > 0 {
            read(connection, index, isEnd: true)
        } else {
            broken(connection)
        }
    }

    /// The connection is gone. One that was idle may have been closed while the query was on its way: then the query goes
    /// to a new connection, in what is left of its time (RFC 9112 section 9.3.1; a DNS query may be repeated).
    private func broken(_ connection: UInt32) {
        let index = connections[Int(connection)].exchange
        let isStale = connections[Int(connection)].isReused && index != DoHConnection.nobody && exchanges[Int(index)].inputBytes == 0
        guard isStale else { return drop(connection) }
        connections[Int(connection)].exchange = DoHConnection.nobody
        close(connection)
        proceed(index)
    }

    /// Closes a connection; the attempt it carried has failed.
    private func drop(_ connection: UInt32) {
        let index = connections[Int(connection)].exchange
        connections[Int(connection)].exchange = DoHConnection.nobody
        close(connection)
        if index != DoHConnection.nobody { attemptFailed(index) }
    }

    // MARK: - The pool

    /// A connection is free for the next query: of who waits, or some time later.
    private func rest(_ connection: UInt32) {
        let number = connections[Int(connection)].upstream
        if let index = upstreams[number].queue.removeFirst(exchanges) {
            connections[Int(connection)].isReused = true
            metrics.add(.connectionsReused)
            return carry(index, connection)
        }
        if isDraining { return close(connection) }
        connections[Int(connection)].next = upstreams[number].idle
        upstreams[number].idle = connection
        shard.setTimer(connections[Int(connection)].slot, afterMilliseconds: DNSLimits.idleMilliseconds)
    }

    private func close(_ connection: UInt32) {
        let place = connections + Int(connection)
        let number = place.pointee.upstream
        unlinkIdle(connection)
        shard.close(place.pointee.slot)
        place.pointee.slot = .none
        place.pointee.next = freeConnection
        freeConnection = connection
        upstreams[number].connectionCount -= 1
        if let index = upstreams[number].queue.removeFirst(exchanges) { proceed(index) }
    }

    private func unlinkIdle(_ connection: UInt32) {
        let number = connections[Int(connection)].upstream
        var previous = UInt32.max
        var current = upstreams[number].idle
        while current != .max, current != connection {
            previous = current
            current = connections[Int(current)].next
        }
        guard current == connection else { return }
        let next = connections[Int(connection)].next
        if previous == .max { upstreams[number].idle = next } else { connections[Int(previous)].next = next }
    }

    /// Keeps no idle connection from now on: a shard that drains waits for its streams.
    public func drain() {
        isDraining = true
        for number in upstreams.indices {
            while upstreams[number].idle != .max { close(upstreams[number].idle) }
        }
    }
}
