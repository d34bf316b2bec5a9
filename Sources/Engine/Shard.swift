import CRing
import CSocket
import Glibc
import Ring

/// One core, one thread, one ring: everything a connection needs from accept to close.
///
/// Theory of operation
///
/// ```
///            ┌────────────────────────── turn ───────────────────────────┐
///  submit ─► │ one io_uring_enter: send, re-arm, cancel, close … and wait │ ─► completions
///            └────────────────────────────────────────────────────────────┘
///     ▲                                                                           │
///     │ flush: one send per stream that has output,      next(): one switch on    │
///     └ buffers offered again, starved streams armed  ◄─ the token's operation  ◄─┘ ─► event to its owner
/// ```
///
/// - The layer above drives: `turn()`, then `next(&event)` until it answers false. Events go up as plain values, calls
///   come down (`send`, `pauseReceive`, `close`); the engine knows nobody above it.
/// - A stream is a slot. Its state is the set of requests under way and of things that happened (`Slot.Flags`).
/// - Output of one turn leaves together: `send` queues a buffer, the flush makes one request per stream. Sends are first
///   tried without waiting, so they end inside the entry that submits them, and report only failure: a turn is not
///   ended by its own output, and a message that is sent costs no completion.
/// - Close joins: stop, cancel, wait until the kernel holds no request of the slot, close, free; the generation then
///   changes, and a late completion finds nobody.
/// - Exhaustion is a normal state: no buffer parks a receive, no slot refuses an accept, a full queue is submitted.
///
/// A `Shard` is a handle to memory of its own: copying it costs nothing and counts no reference. Only its thread may use
/// it, except `post`, `statistics` and `wake`.
public struct Shard {
    /// The shard's memory.
    @usableFromInline let state: UnsafeMutablePointer<ShardState>

    /// Number of this shard, from 0.
    public var index: Int { state.pointee.index }
    /// Time of the present turn in milliseconds since the shard's start.
    public var now: UInt64 { state.pointee.nowMilliseconds }
    /// Time of the present turn in nanoseconds of the monotonic clock, which all shards share.
    public var nowNanoseconds: UInt64 { state.pointee.nowNanoseconds }
    /// Counters, readable from any thread.
    public var statistics: Statistics { state.pointee.statistics }
    /// Where other threads leave messages.
    public var inbox: Inbox { state.pointee.inbox }
    /// Slots in use.
    public var slotsUsed: Int { state.pointee.slotsUsed }
}

/// What a shard is made of; see `Shard`.
@usableFromInline
struct ShardState {
    let ring: Ring
    let index: Int
    let slots: UnsafeMutablePointer<Slot>
    let addresses: UnsafeMutablePointer<SlotAddress>
    let slotCapacity: Int
    var slotsTouched = 0  // slots below were used at least once; above, memory is untouched
    var slotsUsed = 0
    var freeSlots = SlotIndex.none.raw
    var dirty = SlotIndex.none.raw
    var starvedHead = SlotIndex.none.raw
    var starvedTail = SlotIndex.none.raw
    var small: BufferClassPool
    var bulk: BufferClassPool
    var slices: SliceTable
    var bulkArmed = 0
    var packets: BufferClassPool
    var trains: BufferClassPool
    let packetSources: UnsafeMutablePointer<BufferSource>  // of each packet buffer
    let trainSources: UnsafeMutablePointer<BufferSource>
    var datagramSockets = 0
    var datagramsParked = 0  // sockets that are not read until buffers come back
    var starvedPackets = SlotList()
    var starvedTrains = SlotList()
    let receiveHeader: UnsafeMutablePointer<msghdr>  // room for name and control data of every receive of datagrams
    let trainRecords: UnsafeMutablePointer<ring_train>  // of this turn
    let trainParts: UnsafeMutablePointer<iovec>
    var trainsUsed = 0
    var trainsSubmitted = 0
    var sendingHead = BufferIndex.none.raw  // buffers that trains of this turn read from, to be released behind them
    var timers: TimerWheel
    let startNanoseconds: UInt64
    var nowMilliseconds: UInt64 = 0
    var nowNanoseconds: UInt64 = 0
    let silentSends: UnsafeMutablePointer<UInt32>  // slots whose send ends inside the entry and is reported only if it fails
    var silentCount = 0
    let lateDrained: UnsafeMutablePointer<UInt32>  // slots whose silent send emptied the queue while somebody began to wait for it
    var lateDrainedCount = 0
    let rearm: UnsafeMutablePointer<UInt32>  // streams whose receive ended, armed again behind this turn's sends
    var rearmCount = 0
    let headers: UnsafeMutablePointer<msghdr>
    let vectors: UnsafeMutablePointer<iovec>
    var vectorsUsed = 0
    let statistics: Statistics
    var completionsCounted: UInt64 = 0  // of turns that are over
    let inbox: Inbox
    var inboxPending = false
    let listeners: UnsafeMutablePointer<ListenerState>
    var listenerCount = 0
    let resolver: UnsafeMutablePointer<Resolver>
    var acceptPaused = false
    var trimAtMilliseconds = EngineLimits.trimMilliseconds
    var turnsSoon = false  // the next turn does not wait
    let secure: UnsafeMutablePointer<SecureSlot>  // touched only for streams that speak TLS
    var secureWork = SecureList(number: 1)
    var secureLater = SecureList(number: 2)
    var handshakes: HandshakeBudget
}

/// How large a shard is.
public struct ShardSizes: Sendable {
    /// Streams, each a client's or a target's connection.
    public var slots = 65536
    /// Small buffers: 4 KiB each, memory only for those ever used at once.
    public var smallBuffers = 32768
    /// Bulk buffers: 448 KiB each, likewise. When all are with streams, further bulk streams read into small ones.
    public var bulkBuffers = 128
    /// Parts of bulk buffers queued by several streams; when all are used bytes are copied.
    public var slices = EngineLimits.slices
    /// Packet buffers: 4 KiB each, likewise; nothing before the first datagram socket.
    public var packetBuffers = EngineLimits.packetBuffers
    /// Train buffers: 72 KiB each, likewise.
    public var trainBuffers = EngineLimits.trainBuffers
    /// TLS handshake steps of one turn, however fast.
    public var handshakeStepsPerTurn = EngineLimits.handshakeStepsPerTurn
    /// The defaults.
    public init() {}
}

extension Shard {
    /// Timers of the shard itself, behind the slots' in the wheel.
    enum ShardTimer: UInt32, CaseIterable {
        case acceptRetry, resolver
        case feature0, feature1, feature2, feature3
    }

    /// Builds a shard on a ring that the calling thread opened.
    public init(index: Int, ring: Ring, sizes: ShardSizes = ShardSizes()) throws(EngineError) {
        precondition(sizes.slots > 0 && sizes.slots < EngineLimits.slotsMaximum)
        let small = try BufferClassPool(
            bufferClass: .small, payloadBytes: EngineLimits.smallBufferBytes, count: sizes.smallBuffers,
            entries: EngineLimits.smallBuffersOfferedMaximum, reserve: min(EngineLimits.buffersReserved, sizes.smallBuffers / 2),
            ring: ring)
        let bulk = try BufferClassPool(
            bufferClass: .bulk, payloadBytes: EngineLimits.bulkBufferBytes, count: sizes.bulkBuffers,
            entries: EngineLimits.bulkBuffersOfferedMaximum, reserve: 0, ring: ring)
        let packets = try BufferClassPool(
            bufferClass: .packet, payloadBytes: EngineLimits.datagramMetadataBytes + EngineLimits.packetBytes, count: sizes.packetBuffers,
            entries: EngineLimits.packetsOfferedMaximum, reserve: 0, ring: ring)
        let trains = try BufferClassPool(
            bufferClass: .train, payloadBytes: EngineLimits.trainBufferBytes, count: sizes.trainBuffers,
            entries: EngineLimits.trainsOfferedMaximum, reserve: 0, ring: ring)
        let slotBytes = sizes.slots * MemoryLayout<Slot>.stride
        let addressBytes = sizes.slots * MemoryLayout<SlotAddress>.stride
        guard let slotMemory = memory_map(slotBytes), let addressMemory = memory_map(addressBytes),
            let timers = TimerWheel(capacity: sizes.slots + ShardTimer.allCases.count),
            let silentMemory = memory_map(sizes.slots * MemoryLayout<UInt32>.stride),
            let rearmMemory = memory_map(sizes.slots * MemoryLayout<UInt32>.stride),
            let secureMemory = memory_map(sizes.slots * MemoryLayout<SecureSlot>.stride),
            let slices = SliceTable(count: sizes.slices),
            let lateMemory = memory_map(sizes.slots * MemoryLayout<UInt32>.stride),
            let sourceMemory = memory_map((sizes.packetBuffers + sizes.trainBuffers) * MemoryLayout<BufferSource>.stride),
            let trainMemory = memory_map(EngineLimits.trainsPerTurn * MemoryLayout<ring_train>.stride),
            let partMemory = memory_map(Self.trainPartBytes)
        else { throw .outOfMemory("\(sizes.slots) slots") }
        let wake = wake_open()
        guard wake >= 0 else { throw .kernel("opening an eventfd", -wake) }
        state = .allocate(capacity: 1)
        let vectorCount = EngineLimits.vectorsPerTurn
        let started = ring_now_nanoseconds(ring.pointer)
        state.initialize(
            to: ShardState(
                ring: ring, index: index, slots: slotMemory.bindMemory(to: Slot.self, capacity: sizes.slots),
                addresses: addressMemory.bindMemory(to: SlotAddress.self, capacity: sizes.slots), slotCapacity: sizes.slots,
                small: small, bulk: bulk, slices: slices, packets: packets, trains: trains,
                packetSources: sourceMemory.bindMemory(to: BufferSource.self, capacity: sizes.packetBuffers + sizes.trainBuffers),
                trainSources: sourceMemory.bindMemory(to: BufferSource.self, capacity: sizes.packetBuffers + sizes.trainBuffers)
                    + sizes.packetBuffers,
                receiveHeader: .allocate(capacity: 1),
                trainRecords: trainMemory.bindMemory(to: ring_train.self, capacity: EngineLimits.trainsPerTurn),
                trainParts: partMemory.bindMemory(to: iovec.self, capacity: EngineLimits.trainsPerTurn * EngineLimits.trainSegments),
                timers: timers, startNanoseconds: started,
                silentSends: silentMemory.bindMemory(to: UInt32.self, capacity: sizes.slots),
                lateDrained: lateMemory.bindMemory(to: UInt32.self, capacity: sizes.slots),
                rearm: rearmMemory.bindMemory(to: UInt32.self, capacity: sizes.slots),
                headers: .allocate(capacity: vectorCount),
                vectors: .allocate(capacity: vectorCount * EngineLimits.vectorParts), statistics: Statistics(),
                inbox: Inbox(wake: wake, capacity: EngineLimits.inboxMessages),
                listeners: .allocate(capacity: EngineLimits.listenersMaximum), resolver: .allocate(capacity: 1),
                secure: secureMemory.bindMemory(to: SecureSlot.self, capacity: sizes.slots),
                handshakes: HandshakeBudget(stepsMaximum: sizes.handshakeStepsPerTurn)))
        state.pointee.nowNanoseconds = started
        state.pointee.small.offeredTarget = min(EngineLimits.smallBuffersOffered, state.pointee.small.offeredMaximum)
        state.pointee.small.refill()
        prepareDatagrams()
        state.pointee.resolver.initialize(to: Resolver())
        armWake()
    }

    /// Frees the shard's memory and ring. Every slot must be free.
    public func destroy() {
        state.pointee.resolver.pointee.close()
        state.pointee.resolver.deinitialize(count: 1)
        state.pointee.ring.destroy()
        state.pointee.small.unmap()
        state.pointee.bulk.unmap()
        state.pointee.slices.unmap()
        dropDatagrams()
        memory_unmap(state.pointee.slots, state.pointee.slotCapacity * MemoryLayout<Slot>.stride)
        memory_unmap(state.pointee.addresses, state.pointee.slotCapacity * MemoryLayout<SlotAddress>.stride)
        memory_unmap(state.pointee.silentSends, state.pointee.slotCapacity * MemoryLayout<UInt32>.stride)
        memory_unmap(state.pointee.lateDrained, state.pointee.slotCapacity * MemoryLayout<UInt32>.stride)
        memory_unmap(state.pointee.secure, state.pointee.slotCapacity * MemoryLayout<SecureSlot>.stride)
        memory_unmap(state.pointee.rearm, state.pointee.slotCapacity * MemoryLayout<UInt32>.stride)
        state.pointee.timers.unmap()
        state.pointee.headers.deallocate()
        state.pointee.vectors.deallocate()
        for number in 0..<state.pointee.listenerCount { dropListenerTLS(number) }
        state.pointee.listeners.deallocate()
        state.pointee.resolver.deallocate()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    func armWake() {
        // A simulated kernel has no eventfd; its harness posts messages and sets the flag itself.
        guard state.pointee.ring.pointer.pointee.kernel == nil else { return }
        let entry = state.pointee.ring.entry()
        ring_prepare_poll(entry, state.pointee.inbox.wakeDescriptor, UInt32(POLLIN), true, Token(.wake, slot: 0).packed)
    }
}
