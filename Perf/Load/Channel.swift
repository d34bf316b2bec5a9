// A connection's bytes: plain, or through TLS.

import Glibc
import LoadTLS

/// A socket, and the TLS on it when the endpoint asks for it. Calls answer as send(2) and recv(2) do.
struct Channel {
    var descriptor: Int32 = -1
    private var tls: OpaquePointer?

    /// A socket that is, or will be, connected.
    init(_ descriptor: Int32 = -1) { self.descriptor = descriptor }

    /// Begins TLS on the connected socket; false without memory.
    mutating func secure() -> Bool {
        tls = load_tls_open(descriptor, getenv("SLUICE_LOAD_SUITES"))
        return tls != nil
    }

    /// Goes on with the handshake: 1 done, 0 more to come, -1 failed.
    func handshake() -> Int32 { tls.map { load_tls_handshake($0) } ?? 1 }

    /// Makes a UDP socket look like a stream of frames of one size: a send of several leaves as a train, and what
    /// arrives together is read together.
    func carryTrains(frameBytes: Int) {
        // UDP_SEGMENT and UDP_GRO of <linux/udp.h>, SO_RCVBUFFORCE of <asm-generic/socket.h>: none is in Glibc's module.
        var (size, one, queueBytes) = (Int32(frameBytes), Int32(1), Int32(16 << 20))
        setsockopt(descriptor, Int32(IPPROTO_UDP), 103, &size, 4)
        setsockopt(descriptor, Int32(IPPROTO_UDP), 104, &one, 4)
        if setsockopt(descriptor, SOL_SOCKET, 33, &queueBytes, 4) != 0 { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &queueBytes, 4) }
    }

    func transmit(_ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        tls.map { load_tls_send($0, bytes, count) } ?? send(descriptor, bytes, count, sendFlags)
    }

    func receive(_ bytes: UnsafeMutableRawPointer, _ capacity: Int) -> Int {
        tls.map { load_tls_receive($0, bytes, capacity) } ?? recv(descriptor, bytes, capacity, 0)
    }

    func peek(_ bytes: UnsafeMutableRawPointer, _ capacity: Int) -> Int {
        tls.map { load_tls_peek($0, bytes, capacity) } ?? recv(descriptor, bytes, capacity, Int32(MSG_PEEK))
    }

    /// Whether bytes wait that the socket does not tell of.
    var hasPending: Bool { tls.map { load_tls_has_pending($0) != 0 } ?? false }

    /// Closes both.
    mutating func end() {
        if let tls { load_tls_free(tls) }
        tls = nil
        close(descriptor)
        descriptor = -1
    }
}
