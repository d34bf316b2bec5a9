// Handshakes per second: connect, upgrade, 101, reset; several at a time.

import Glibc

/// Opens WebSockets one after the other on a number of places and counts the 101 answers.
final class ConnectRate {
    private struct Place {
        var channel = Channel()
        var isSecuring = false
        var isUpgrading = false
        var started: UInt64 = 0
    }

    private let options: Options
    private let requests: [[UInt8]]
    private let poller = Poller()
    private var places: [Place]
    /// An answer's head; a server that splits it is read again, and this is enough for all.
    private var answer = [UInt8](repeating: 0, count: 16384)
    private var fieldInTurn = -1
    private(set) var accepted = 0
    private(set) var failures = 0
    private(set) var firstFailure: String?
    var histogram = Histogram()

    init(options: Options, cookies: [String]) {
        self.options = options
        places = Array(repeating: Place(), count: options.connections)
        requests = options.endpoint.upgradeRequests(options, cookies: cookies)
    }

    /// Starts a connection on every place.
    func begin() { for index in places.indices { start(index) } }

    private func start(_ index: Int) {
        let descriptor = options.endpoint.startConnecting(blocking: false)
        places[index] = Place(channel: Channel(descriptor), started: nowNanoseconds())
        guard descriptor >= 0 else { return failed(index, "connect: \(String(cString: strerror(errno)))", restart: false) }
        poller.add(descriptor, .writable, data: UInt64(index))
    }

    /// Serves what happens within the given time.
    func turn(timeoutNanoseconds: Int64) {
        for position in 0..<poller.wait(nanoseconds: timeoutNanoseconds) {
            let index = Int(poller.event(position).data)
            if places[index].isUpgrading { readAnswer(index) } else { connected(index) }
        }
    }

    private func connected(_ index: Int) {
        guard options.endpoint.isSecure else { return sendRequest(index) }
        if !places[index].isSecuring {
            places[index].isSecuring = true
            guard places[index].channel.secure() else { return failed(index, "no memory for TLS", restart: false) }
            poller.change(places[index].channel.descriptor, .readable, data: UInt64(index))
        }
        switch places[index].channel.handshake() {
        case 1: sendRequest(index)
        case 0: return
        default: failed(index, "the TLS handshake failed", restart: true)
        }
    }

    private func sendRequest(_ index: Int) {
        let request = options.turnFields.isEmpty ? requests[index / options.connectionsPerSession % requests.count] : nextRequest
        let sent = request.withUnsafeBytes { places[index].channel.transmit($0.baseAddress!, $0.count) }
        guard sent == request.count else { return failed(index, "connect: \(String(cString: strerror(errno)))", restart: true) }
        places[index].isUpgrading = true
        poller.change(places[index].channel.descriptor, .readable, data: UInt64(index))
    }

    /// With fields that take turns every upgrade is another one.
    private var nextRequest: [UInt8] {
        fieldInTurn = (fieldInTurn + 1) % requests.count
        return requests[fieldInTurn]
    }

    private func readAnswer(_ index: Int) {
        // A head that has not arrived whole stays in the socket until it has.
        let count = places[index].channel.peek(&answer, answer.count)
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        guard count > 0 else { return failed(index, "closed during the upgrade", restart: true) }
        switch answer[..<count].withUnsafeBufferPointer({ UpgradeAnswer($0) }) {
        case .incomplete: return
        case .refused(let line): failed(index, line, restart: true)
        case .accepted:
            accepted += 1
            histogram.record(nowNanoseconds() - places[index].started)
            finish(index)
            start(index)
        }
    }

    /// Closes with a reset: a port in TIME_WAIT for every handshake would end the measurement after 28,000 of them.
    private func finish(_ index: Int) {
        var immediately = linger(l_onoff: 1, l_linger: 0)
        setsockopt(places[index].channel.descriptor, SOL_SOCKET, SO_LINGER, &immediately, socklen_t(MemoryLayout<linger>.size))
        places[index].channel.end()
    }

    private func failed(_ index: Int, _ reason: String, restart: Bool) {
        failures += 1
        if firstFailure == nil { firstFailure = reason }
        if places[index].channel.descriptor >= 0 { finish(index) }
        if restart { start(index) }
    }

    /// Places that still work.
    var aliveCount: Int { places.count { $0.channel.descriptor >= 0 } }

    func reset() {
        accepted = 0
        failures = 0
        histogram = Histogram()
    }
}
