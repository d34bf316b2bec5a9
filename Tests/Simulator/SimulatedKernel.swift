import CRing
import Glibc
import Ring

/// Linux as the engine sees it, seeded: sockets in memory, a clock of its own, and every fault of `FaultPlan`.
///
/// Theory of operation
/// - It stands behind the system call boundary (`ring_kernel` of CRing.h): the engine above is the code that ships.
/// - `enter` takes the submissions in order, executes them or keeps them as requests, then lets time pass: what is
///   planned in the event heap happens, until enough completions stand in the queue or the time is over.
/// - Completions of different requests overtake one another as the plan of faults says; those of one multishot request
///   do not, and no byte of a stream overtakes another.
/// - Everything random comes from one generator, so a seed replays a run exactly.
/// - What no caller may do (a closed descriptor, two requests with one token, a close with requests under way) is written
///   down in `violations`.
public final class SimulatedKernel {
    /// The one source of chance.
    public var random: SimulatedRandom
    /// What goes wrong and how often.
    public var faults: FaultPlan
    /// The last things that happened.
    public let trace: Trace
    /// The present time.
    public internal(set) var nanoseconds: UInt64 = 1_000_000_000
    /// Rules the engine broke.
    public internal(set) var violations: [String] = []
    /// Whether time has jumped: timers may have cut anything short.
    public internal(set) var clockJumped = false
    /// Kernel entries so far.
    public internal(set) var enters = 0
    /// Descriptors the process may have.
    public var descriptorLimit = 1024
    /// Decides what a connect to a port finds.
    public var dial: (UInt16) -> Dial = { _ in .fail(ECONNREFUSED) }
    /// TLS of the peers that are dialled.
    public var dialledLayer: () -> SecureLayer? = { nil }
    /// Takes every datagram that leaves the engine, in the order in which they leave: from, to, payload.
    public var datagramLeft: (SimulatedSocket, UInt16, [UInt8]) -> Void = { _, _, _ in }
    /// Told of every datagram socket the engine opens.
    public var datagramOpened: (SimulatedSocket) -> Void = { _ in }
    /// Sizes of the buffers of sockets made from now on.
    public var incomingBytes = 65536
    /// See `incomingBytes`.
    public var outgoingBytes = 65536

    static let firstDescriptor: Int32 = 1000
    var descriptors: [SimulatedSocket?] = []
    var sockets: [SimulatedSocket] = []
    var requests: [UInt64: SimulatedRequest] = [:]
    var heap = EventHeap()
    var overflow: [(token: UInt64, result: Int32, flags: UInt32)] = []
    var groups: [BufferGroup] = []
    var ring: UnsafeMutablePointer<CRing.ring>?
    private let table: UnsafeMutablePointer<ring_kernel>

    /// A kernel without sockets.
    public init(seed: UInt64, faults: FaultPlan, trace: Trace) {
        random = SimulatedRandom(seed: seed)
        self.faults = faults
        self.trace = trace
        table = .allocate(capacity: 1)
        table.initialize(to: ring_kernel())
        table.pointee.context = Unmanaged.passUnretained(self).toOpaque()
        table.pointee.enter = { SimulatedKernel.of($0).enter($1!, $2, $3) }
        table.pointee.register_buffers = { SimulatedKernel.of($0).registerBuffers(Int($1), $2!, Int($3)) }
        table.pointee.open_stream_socket = { context, _ in SimulatedKernel.of(context).openStreamSocket() }
        table.pointee.peer_address = { SimulatedKernel.of($0).peerAddress($1, $2!) }
        table.pointee.now_nanoseconds = { SimulatedKernel.of($0).nanoseconds }
        table.pointee.close_descriptor = { _ = SimulatedKernel.of($0).closeDescriptor($1) }
        table.pointee.finish_sending = { SimulatedKernel.of($0).finishSending($1) }
        table.pointee.open_datagram_socket = { SimulatedKernel.of($0).openDatagramSocket($1!.pointee) }
        table.pointee.coalesce_datagrams = { SimulatedKernel.of($0).coalesceDatagrams($1) }
        table.pointee.local_address = { SimulatedKernel.of($0).localAddress($1, $2!) }
        table.pointee.datagrams_lost = { SimulatedKernel.of($0).socket($1)?.datagrams?.lost ?? 0 }
    }

    deinit { table.deallocate() }

    private static func of(_ context: UnsafeMutableRawPointer?) -> SimulatedKernel {
        Unmanaged<SimulatedKernel>.fromOpaque(context!).takeUnretainedValue()
    }

    /// A ring served by this kernel, which must outlive it. Lengths are powers of two.
    public func openRing(entries: UInt32, completions: UInt32) -> Ring {
        let opened = Ring(entries: entries, completions: completions, simulated: UnsafePointer(table))
        ring = opened.pointer
        return opened
    }

    /// Ends the run: breaks the references between sockets, requests and peers.
    public func tearDown() {
        for socket in sockets {
            socket.requests = []
            socket.backlog = []
            socket.peer = nil
        }
        sockets = []
        requests = [:]
        heap.removeAll()
        dial = { _ in .fail(ECONNREFUSED) }
        dialledLayer = { nil }
        datagramLeft = { _, _, _ in }
        datagramOpened = { _ in }
    }

    /// Descriptors that are open.
    public var openDescriptors: Int { descriptors.reduce(0) { $0 + ($1 == nil ? 0 : 1) } }

    /// Requests the kernel holds, without polls.
    public var requestsHeld: Int { requests.values.reduce(0) { $0 + ($1.operation == .poll ? 0 : 1) } }

    /// Whether every decided completion is visible.
    public var isSettled: Bool { overflow.isEmpty && sockets.allSatisfy { $0.requests.isEmpty } }

    func violation(_ text: String) {
        violations.append(text)
        trace.add(.note, at: nanoseconds, -1)
    }

    // MARK: the entry

    func enter(_ ring: UnsafeMutablePointer<CRing.ring>, _ wait: UInt32, _ timeoutNanoseconds: UInt64) -> Int32 {
        enters += 1
        nanoseconds += UInt64(random.within(500...20_000))
        if random.chance(faults.clockJump) { jump() }
        flushOverflow()
        var limit = Int.max
        if random.chance(faults.partialSubmission) { limit = random.below(8) }
        var consumed = 0
        while consumed < limit, let entry = ring_simulated_take(ring) {
            execute(entry)
            consumed += 1
        }
        trace.add(.enter, at: nanoseconds, consumed, Int(wait), Int(truncatingIfNeeded: timeoutNanoseconds / 1000))
        runDue()
        // Linux returns without waiting when it could not take everything.
        if ring.pointee.uring.sq.khead.pointee != ring.pointee.uring.sq.ktail.pointee {
            return consumed > 0 ? Int32(consumed) : -EAGAIN
        }
        let result = wait == 0 ? 0 : self.wait(ring, Int(wait), timeoutNanoseconds)
        trace.add(.entered, at: nanoseconds, consumed, Int(result), ready(ring))
        return consumed > 0 ? Int32(consumed) : result
    }

    private func wait(_ ring: UnsafeMutablePointer<CRing.ring>, _ count: Int, _ timeoutNanoseconds: UInt64) -> Int32 {
        let wanted = min(count, Int(ring.pointee.uring.cq.ring_entries))
        let (sum, overflowed) = nanoseconds.addingReportingOverflow(timeoutNanoseconds)
        let deadline = overflowed ? UInt64.max : sum
        var patience = random.chance(faults.interrupted) ? random.below(4) : Int.max
        while ready(ring) < wanted {
            if !overflow.isEmpty { return -EBUSY }
            if patience == 0 { return -EINTR }
            patience -= 1
            guard let next = heap.nextNanoseconds, next <= deadline else {
                precondition(deadline != .max, "the engine waits for ever and nothing is going to happen")
                nanoseconds = deadline
                return -ETIME
            }
            nanoseconds = max(nanoseconds, next)
            happen(heap.removeFirst())
        }
        return 0
    }

    private func ready(_ ring: UnsafeMutablePointer<CRing.ring>) -> Int {
        Int(ring.pointee.uring.cq.ktail.pointee &- ring.pointee.uring.cq.khead.pointee)
    }

    private func jump() {
        clockJumped = true
        // From a scheduling delay to the timer wheel's whole span.
        nanoseconds += UInt64(1 + random.size(upTo: 20_000_000)) * 1_000_000
        trace.add(.jump, at: nanoseconds)
    }

    private func runDue() {
        while let next = heap.nextNanoseconds, next <= nanoseconds { happen(heap.removeFirst()) }
    }

    private func happen(_ action: EventHeap.Action) {
        switch action {
        case .act(let socket): actPeer(socket)
        case .progress(let socket):
            socket.progressPlanned = false
            progress(socket)
        case .post(let request, let result, let flags):
            request.planned -= 1
            post(request.token, result, flags)
        case .postPlain(let token, let result): post(token, result, 0)
        case .cancel(let request): finishCancelled(request)
        case .dialled(let request, let outcome): finishConnect(request, outcome)
        case .call(let body): body()
        }
    }

    /// Plans something of the harness's own.
    public func plan(afterNanoseconds delay: UInt64, _ body: @escaping () -> Void) {
        heap.insert(at: nanoseconds + delay, .call(body))
    }

    /// Lets the peers read what they still have, after the engine has left.
    public func runOut(eventsMaximum: Int = 1_000_000) {
        var left = eventsMaximum
        while left > 0, let next = heap.nextNanoseconds {
            nanoseconds = max(nanoseconds, next)
            happen(heap.removeFirst())
            left -= 1
        }
    }

    // MARK: completions

    /// Makes a completion visible, or keeps it while the queue is full (IORING_FEAT_NODROP).
    func post(_ token: UInt64, _ result: Int32, _ flags: UInt32) {
        trace.add(.complete, at: nanoseconds, Int(truncatingIfNeeded: token >> 56), Int(token & 0xFF_FFFF), Int(result))
        if overflow.isEmpty, ring_simulated_post(ring, token, result, flags) { return }
        overflow.append((token, result, flags))
        ring!.pointee.uring.sq.kflags.pointee |= IORING_SQ_CQ_OVERFLOW
        ring!.pointee.uring.cq.koverflow.pointee &+= 1
        trace.add(.overflow, at: nanoseconds, overflow.count)
    }

    private func flushOverflow() {
        guard !overflow.isEmpty else { return }
        var moved = 0
        while moved < overflow.count,
            ring_simulated_post(ring, overflow[moved].token, overflow[moved].result, overflow[moved].flags)
        { moved += 1 }
        overflow.removeFirst(moved)
        if overflow.isEmpty { ring!.pointee.uring.sq.kflags.pointee &= ~IORING_SQ_CQ_OVERFLOW }
    }

    /// Completes a request, now or after a delay that keeps the request's own order.
    func complete(_ request: SimulatedRequest, _ result: Int32, _ flags: UInt32 = 0) {
        var time = nanoseconds
        if random.chance(faults.delayedCompletion) {
            time += UInt64(random.below(faults.delayNanosecondsMaximum + 1))
        }
        time = max(time, request.lastPostNanoseconds)
        request.lastPostNanoseconds = time
        if time == nanoseconds, request.planned == 0 {
            post(request.token, result, flags)
        } else {
            request.planned += 1
            heap.insert(at: time, .post(request, result, flags))
        }
    }

    /// Completes a request for the last time.
    func finish(_ request: SimulatedRequest, _ result: Int32, _ flags: UInt32 = 0) {
        forget(request)
        complete(request, result, flags)
    }

    func forget(_ request: SimulatedRequest) {
        precondition(!request.finished)
        request.finished = true
        requests[request.token] = nil
        if let socket = request.socket { socket.requests.removeAll { $0 === request } }
    }

    func hold(_ request: SimulatedRequest) {
        if requests[request.token] != nil { violation("two requests under way carry the token \(request.token)") }
        requests[request.token] = request
        request.socket?.requests.append(request)
    }

    /// Room in the completion queue that nothing waits for: a multishot request ends when there is none.
    var hasCompletionRoom: Bool {
        let cq = ring!.pointee.uring.cq
        return overflow.isEmpty && cq.ktail.pointee &- cq.khead.pointee < cq.ring_entries
    }
}
