import Engine
import Glibc
import HTTP
import Policy
import Wire

/// A `/tcp` upgrade that passed the common checks.
public struct BridgeRequest {
    /// The client's stream, taken from the HTTP server.
    public let client: SlotIndex
    /// Session the connection counts for.
    public let sessionID: String
    /// Effective address of the client, as text.
    public let clientAddress: String
    /// The trimmed `Sec-WebSocket-Key`.
    public let webSocketKey: String
    /// Host of the target as the client wrote it, brackets removed.
    public let host: String
    /// Port of the target.
    public let port: UInt16
    /// Bytes that came behind the request's head: a buffer, or none.
    public let leftover: (buffer: BufferIndex, start: Int, count: Int)
    /// What log and admin interface tell of it.
    public let record: ConnectionRecord

    /// Collects the parts.
    public init(client: SlotIndex, sessionID: String, clientAddress: String, webSocketKey: String, host: String, port: UInt16,
                leftover: (buffer: BufferIndex, start: Int, count: Int), record: ConnectionRecord) {
        self.client = client
        self.sessionID = sessionID
        self.clientAddress = clientAddress
        self.webSocketKey = webSocketKey
        self.host = host
        self.port = port
        self.leftover = leftover
        self.record = record
    }
}

/// From an upgrade request to a dialled target: rows 10 to 17 of the `/tcp` table.
extension TCPBridge {
    /// Names one session may have looked up at a time: as many connections as it may open by default.
    static let lookupsOfSession = 64

    /// Takes the client's stream over and opens, or refuses.
    public func open(_ request: BridgeRequest) {
        let shard = state.pointee.shard
        guard let index = allocate() else {
            if request.leftover.buffer != .none { shard.release(request.leftover.buffer) }
            return UpgradeAnswer.refuse(request.client, status: 503, message: "Too many connections", on: shard)
        }
        let opening = BridgeOpening(sessionKey: request.sessionID, addressKey: request.clientAddress,
                                    webSocketKey: request.webSocketKey, port: request.port)
        bridge(index).initialize(
            to: Bridge(
                reader: FrameReader(expectsMask: true), client: request.client, target: .none, lastActivity: shard.now,
                control: nil, opening: Unmanaged.passRetained(opening), sessionPlace: nil, addressPlace: nil, nextFree: .max,
                rules: state.pointee.rules.take(), record: Unmanaged.passRetained(request.record), phase: .resolving,
                clientPaused: false, targetPaused: false, repliesPending: false))
        shard.transfer(request.client, to: state.pointee.clientOwner, context: index)
        // Until the client has its answer its frames wait in the kernel; those that came along with the head wait here.
        shard.pauseReceive(request.client)
        if request.leftover.buffer != .none { opening.early = [request.leftover] }
        switch rules(bridge(index)).pointee.policy.judge(host: request.host, port: request.port) {
        case .refused(let refusal):
            refuse(index, refusal)
        case .address(let address):
            opening.candidates = [SocketAddress(address, port: request.port)]
            begin(index, opening)
        case .resolve(let name):
            guard let place = state.pointee.shared.limits.lookups.acquire(request.sessionID, limit: Self.lookupsOfSession) else {
                return refuse(index, .tooManyConnections)
            }
            opening.lookupPlace = place
            shard.setTimer(request.client, afterMilliseconds: UInt64(EngineLimits.lookupTimeoutMilliseconds))
            guard let lookup = shard.lookUp(name, owner: state.pointee.clientOwner, context: index) else {
                return refuse(index, .lookupFailed)
            }
            opening.lookup = lookup
        }
    }

    private func allocate() -> UInt32? {
        let index: UInt32
        if state.pointee.freeHead != .max {
            index = state.pointee.freeHead
            state.pointee.freeHead = bridge(index).pointee.nextFree
        } else {
            guard state.pointee.touched < state.pointee.capacity else { return nil }
            index = UInt32(state.pointee.touched)
            state.pointee.touched += 1
        }
        state.pointee.used += 1
        return index
    }

    /// A buffer that came before there was a target waits.
    @inline(never)
    func keepEarly(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ count: Int) {
        guard let opening = bridge(index).pointee.opening?.takeUnretainedValue(),
            opening.early.count < BridgeOpening.earlyBuffersMaximum
        else {
            state.pointee.shard.release(buffer)
            return refuse(index, status: 400, message: "Too much data before the upgrade was answered")
        }
        opening.early.append((buffer: buffer, start: start, count: count))
    }

    func resolved(_ index: UInt32, _ event: Event) {
        let addresses = state.pointee.shard.takeAddresses(event.detail)
        let bridge = bridge(index)
        // The client may have left, and its place may have been given to another.
        guard Int(index) < state.pointee.touched, bridge.pointee.phase == .resolving,
            let opening = bridge.pointee.opening?.takeUnretainedValue(), opening.lookup == event.detail
        else { return }
        guard event.result == 0, !addresses.isEmpty else { return refuse(index, .lookupFailed) }
        let permitted = addresses.filter { address in
            IPAddress(bytes: address.bytes).map { rules(bridge).pointee.policy.permits($0) } ?? false
        }
        guard !permitted.isEmpty else { return refuse(index, .noAddressAcceptable) }
        opening.candidates = permitted.map { address in
            var address = address
            address.port = opening.port
            return address
        }
        begin(index, opening)
    }

    /// Asks for places; the answer may come later when instances share their counts.
    private func begin(_ index: UInt32, _ opening: BridgeOpening) {
        let shared = state.pointee.shared
        let waiter = PlaceWaiter(shard: state.pointee.shard.index, owner: state.pointee.clientOwner, context: index)
        let admission = shared.limits.places.admit(
            session: opening.sessionKey, address: opening.addressKey, limits: rules(bridge(index)).pointee.places, for: waiter)
        if case .pending(let claim) = admission {
            opening.claim = claim
            state.pointee.shard.setTimer(bridge(index).pointee.client, afterMilliseconds: PlaceKeeper.decisionMilliseconds)
            return
        }
        admitted(index, opening, admission)
    }

    /// A claim of this shard's bridges was decided.
    public func placesDecided(_ claim: PlaceClaim) {
        let index = claim.waiter.context
        // The client may have left, and its place may have been given to another; what was granted then went back.
        guard Int(index) < state.pointee.touched, bridge(index).pointee.phase == .resolving,
            let opening = bridge(index).pointee.opening?.takeUnretainedValue(), opening.claim === claim
        else { return }
        opening.claim = nil
        guard let admission = claim.take() else { return }
        admitted(index, opening, admission)
    }

    /// The store did not decide in time, not even by being given up: this process does.
    func placesLate(_ index: UInt32, _ opening: BridgeOpening, _ claim: PlaceClaim) {
        let shared = state.pointee.shared
        opening.claim = nil
        shared.limits.places.cancel(claim)
        admitted(index, opening, shared.limits.places.admitAlone(
            session: opening.sessionKey, address: opening.addressKey, limits: rules(bridge(index)).pointee.places))
    }

    /// Answers 101 and dials.
    private func admitted(_ index: UInt32, _ opening: BridgeOpening, _ admission: Admission) {
        guard case .granted(let places) = admission else { return refuse(index, .tooManyConnections) }
        if isRevoked(opening) {
            state.pointee.shared.limits.places.release(places)
            return refuse(index, status: 401, message: "Unauthorized")
        }
        let shard = state.pointee.shard
        let bridge = bridge(index)
        bridge.pointee.sessionPlace = Unmanaged.passRetained(places.session)
        bridge.pointee.addressPlace = places.address.map { Unmanaged.passRetained($0) }
        guard UpgradeAnswer.accept(bridge.pointee.client, key: opening.webSocketKey, on: shard) else {
            return refuse(index, status: UpgradeAnswer.failure.status, message: UpgradeAnswer.failure.message)
        }
        bridge.pointee.phase = .connecting
        state.pointee.counters.add(.opened)
        state.pointee.counters.add(.active)
        report(index) { .opened($0) }
        shard.setTimer(bridge.pointee.client, afterMilliseconds: rules(bridge).pointee.connectMilliseconds)
        guard dialNext(index) else {
            return end(index, .connectFailed, .internalError, drainMilliseconds: Self.undeliveredMilliseconds)
        }
        shard.resumeReceive(bridge.pointee.client)
        let early = opening.early
        opening.early = []
        for piece in early {
            // An earlier piece may have ended the connection.
            if bridge.pointee.phase == .ending { shard.release(piece.buffer) } else {
                clientBytes(index, piece.buffer, piece.start, piece.start + piece.count)
            }
        }
    }

    /// Dials the next permitted address; what is queued for a target that could not be reached goes along. False when
    /// none is left.
    func dialNext(_ index: UInt32) -> Bool {
        let bridge = bridge(index)
        guard let opening = bridge.pointee.opening?.takeUnretainedValue() else { return false }
        let shard = state.pointee.shard
        while !opening.candidates.isEmpty {
            let address = opening.candidates.removeFirst()
            var error: Int32 = 0
            let slot = shard.connect(to: address, owner: state.pointee.targetOwner, context: index, error: &error)
            guard slot != .none else { continue }
            let former = bridge.pointee.target
            if former != .none {
                shard.moveQueue(from: former, to: slot)
                shard.close(former)
            }
            bridge.pointee.target = slot
            if !bridge.pointee.targetPaused { shard.resumeReceive(slot) }
            if bridge.pointee.clientPaused { shard.notifyWhenDrained(slot) }
            return true
        }
        return false
    }

    func targetConnected(_ index: UInt32) {
        let bridge = bridge(index)
        bridge.pointee.phase = .open
        dropOpening(bridge)
        bridge.pointee.lastActivity = state.pointee.shard.now
        state.pointee.shard.setTimer(bridge.pointee.client, afterMilliseconds: rules(bridge).pointee.idleMilliseconds)
    }

    func refuse(_ index: UInt32, status: Int, message: String) {
        let client = bridge(index).pointee.client
        report(index) { .refused($0, status: status, reason: message) }
        free(index)
        state.pointee.counters.add(.refused)
        UpgradeAnswer.refuse(client, status: status, message: message, on: state.pointee.shard)
    }
}

extension SocketAddress {
    /// The address of the policy's type with a port.
    public init(_ address: IPAddress, port: UInt16) {
        let bytes = address.bytes
        if bytes.count == 4 {
            self.init(ipv4: (bytes[0], bytes[1], bytes[2], bytes[3]), port: port)
        } else {
            self.init(ipv6: bytes, port: port)
        }
    }
}
