import CRing

/// One io_uring, owned by one thread: a handle, copied freely, that holds no reference count.
///
/// Theory of operation
/// - The thread that calls `init` is the only one that may touch the ring (SINGLE_ISSUER).
/// - Requests are prepared in place with the `ring_prepare_…` functions of CRing on what `entry()` returns; nothing
///   reaches the kernel before `enter`.
/// - One `enter` a turn submits everything, runs the kernel's deferred work (DEFER_TASKRUN) and waits.
/// - `next` reads completions; `consumed` gives all that were read back in one store.
///
/// The same handle stands on plain memory when a simulated kernel is given: see `ring_kernel` in CRing.h and
/// `Decisions.md` beside this file.
public struct Ring {
    /// The C structure, allocated once, freed by `destroy`.
    public let pointer: UnsafeMutablePointer<CRing.ring>

    /// Opens a ring with as many of the wanted set-up flags as the kernel grants.
    ///
    /// - Parameters:
    ///   - entries: submission queue length, a power of two.
    ///   - completions: completion queue length, a power of two.
    ///   - lost: receives the name of each flag the kernel refused.
    public init(entries: UInt32, completions: UInt32, lost: inout [String]) throws(RingError) {
        pointer = .allocate(capacity: 1)
        var wanted = SetupFlag.ladder
        while true {
            let flags = wanted.reduce(UInt32(0)) { $0 | $1.bits }
            let result = ring_create(pointer, entries, completions, flags)
            if result == 0 { return }
            // A flag this kernel does not know is answered with EINVAL: drop the least important one and say so.
            guard result == -EINVAL, let dropped = wanted.popLast() else {
                pointer.deallocate()
                throw RingError(code: -result)
            }
            lost.append(dropped.name)
        }
    }

    /// Builds a ring on plain memory, served by a simulated kernel.
    public init(entries: UInt32, completions: UInt32, simulated kernel: UnsafePointer<ring_kernel>) {
        pointer = .allocate(capacity: 1)
        let result = ring_create_simulated(pointer, entries, completions, kernel)
        precondition(result == 0, "no memory for a simulated ring")
    }

    /// Closes the ring. The owner's thread calls it last.
    public func destroy() {
        ring_destroy(pointer)
        pointer.deallocate()
    }

    /// A zeroed submission entry. When the queue is full, what is prepared is submitted first.
    @inline(__always)
    public func entry() -> UnsafeMutablePointer<io_uring_sqe> {
        if let entry = ring_entry(pointer) { return entry }
        return entryAfterSubmitting()
    }

    @inline(never)
    private func entryAfterSubmitting() -> UnsafeMutablePointer<io_uring_sqe> {
        // EBUSY: the completion queue overflowed; entering again flushes what it can. The queue has room as soon as
        // the kernel consumed one entry, which it does without waiting, so this ends.
        while true {
            _ = ring_enter(pointer, 0, 0)
            if let entry = ring_entry(pointer) { return entry }
        }
    }

    /// Entries the kernel has not taken yet. After `enter` none, unless the kernel was short of memory.
    @inline(__always)
    public var unconsumed: UInt32 { pointer.pointee.uring.sq.sqe_tail &- pointer.pointee.uring.sq.khead.pointee }

    /// Submits all that is prepared and waits for `count` completions or the time, whichever is first.
    @inline(__always)
    public func enter(waitingFor count: UInt32, timeoutNanoseconds: UInt64) -> Int32 {
        ring_enter(pointer, count, timeoutNanoseconds)
    }

    /// Reads the next completion; false when there is none.
    @inline(__always)
    public func next(_ completion: inout ring_completion) -> Bool { ring_next(pointer, &completion) }

    /// Returns every completion that was read to the kernel.
    @inline(__always)
    public func consumed() { ring_consumed(pointer) }
}

/// A set-up flag with its name, for reports.
public struct SetupFlag: Sendable {
    /// As the kernel's documentation spells it.
    public let name: String
    /// The bit.
    public let bits: UInt32

    /// What the engine wants, most important first (io_uring_setup(2)).
    public static let ladder = [
        SetupFlag(name: "IORING_SETUP_CQSIZE", bits: IORING_SETUP_CQSIZE),
        SetupFlag(name: "IORING_SETUP_CLAMP", bits: IORING_SETUP_CLAMP),
        SetupFlag(name: "IORING_SETUP_SINGLE_ISSUER", bits: 1 << 12),
        SetupFlag(name: "IORING_SETUP_DEFER_TASKRUN", bits: 1 << 13),
        SetupFlag(name: "IORING_SETUP_SUBMIT_ALL", bits: 1 << 7),
        SetupFlag(name: "IORING_SETUP_COOP_TASKRUN", bits: 1 << 8),
        SetupFlag(name: "IORING_SETUP_TASKRUN_FLAG", bits: 1 << 9),
    ]
}
