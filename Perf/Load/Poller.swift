// Readiness of many descriptors: a thin face of epoll(7).
//
// Swift's Glibc module does not carry <sys/epoll.h>, so the three calls are bound by their symbols here and
// the event is laid out by hand: packed to 12 bytes on x86-64, naturally aligned (16 bytes) elsewhere.

import Glibc

@_silgen_name("epoll_create1")
private func epollCreate(_ flags: Int32) -> Int32
@_silgen_name("epoll_ctl")
private func epollControl(_ poller: Int32, _ operation: Int32, _ descriptor: Int32, _ event: UnsafeMutableRawPointer?) -> Int32
@_silgen_name("epoll_pwait2")
private func epollWait(
    _ poller: Int32, _ events: UnsafeMutableRawPointer, _ capacity: Int32, _ timeout: UnsafePointer<timespec>?,
    _ mask: UnsafeRawPointer?
) -> Int32

/// A set of watched descriptors, level-triggered.
struct Poller {
    /// What is watched for, or what happened.
    struct Interest: OptionSet {
        let rawValue: UInt32
        static let readable = Interest(rawValue: 0x001)
        static let writable = Interest(rawValue: 0x004)
        static let error = Interest(rawValue: 0x008)
        static let hangup = Interest(rawValue: 0x010)
    }

    #if arch(x86_64)
        private static let stride = 12
        private static let dataOffset = 4
    #else
        private static let stride = 16
        private static let dataOffset = 8
    #endif

    private static let capacity = 256
    private let descriptor: Int32
    private let events: UnsafeMutableRawPointer

    init() {
        descriptor = epollCreate(0)
        events = .allocate(byteCount: Poller.capacity * Poller.stride, alignment: 16)
    }

    private func control(_ operation: Int32, _ watched: Int32, _ interest: Interest, _ data: UInt64) {
        withUnsafeTemporaryAllocation(byteCount: Poller.stride, alignment: 16) { event in
            event.storeBytes(of: interest.rawValue, as: UInt32.self)
            event.storeBytes(of: data, toByteOffset: Poller.dataOffset, as: UInt64.self)
            _ = epollControl(descriptor, operation, watched, event.baseAddress)
        }
    }

    /// Starts watching; `data` comes back with each event.
    func add(_ watched: Int32, _ interest: Interest, data: UInt64) { control(1, watched, interest, data) }
    /// Changes what is watched for.
    func change(_ watched: Int32, _ interest: Interest, data: UInt64) { control(3, watched, interest, data) }

    /// Waits for events, at most `nanoseconds` when given. Returns how many there are.
    func wait(nanoseconds: Int64? = nil) -> Int {
        guard let nanoseconds else { return max(0, Int(epollWait(descriptor, events, Int32(Poller.capacity), nil, nil))) }
        var timeout = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        return max(0, Int(epollWait(descriptor, events, Int32(Poller.capacity), &timeout, nil)))
    }

    /// The event at a position below what `wait` returned.
    func event(_ index: Int) -> (happened: Interest, data: UInt64) {
        let event = events + index * Poller.stride
        return (
            Interest(rawValue: event.load(as: UInt32.self)),
            event.loadUnaligned(fromByteOffset: Poller.dataOffset, as: UInt64.self)
        )
    }
}
