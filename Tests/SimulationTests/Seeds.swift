/// Seeds that once showed a fault; they are run again with every test run.
enum Seeds {
    /// Of the forwarder on the bare engine.
    /// - 161: a kernel that took only some entries; the next turn wrote over the vectors of those it had left.
    /// - 352, 366: the wait slept over the completion of a send whose buffer a starved stream waited for.
    /// - 176: a silent send that reported into an overflowing queue was counted a second time later.
    static let forwarder: [UInt64] = [161, 176, 352, 366]
    /// Of the forwarder between streams that speak TLS.
    /// - 693: clients that were not read yet held all buffers for receiving, and their targets' handshakes got none.
    static let secureForwarder: [UInt64] = [693]
    /// Of `/tcp`.
    /// - 7364, 9067: a send that waits for everything hid its progress, and a slow target's stream was ended in the middle.
    /// - 10810, 12226: a client's Close was echoed, then its last bytes went over the cap, and a second Close followed.
    static let bridge: [UInt64] = [7364, 9067, 10810, 12226]
    /// Of datagram sockets under a repeater.
    static let datagrams: [UInt64] = []
    /// Of `/udp`.
    static let relay: [UInt64] = []
    /// Of the WebSocket proxy.
    /// - 6454, 7158: a client that was to wait for its upstream was refused for the number of its small reads that were under way.
    /// - 5165, 7883: a client that was above its rate twice, long apart, was closed as if it had been so all the time.
    static let proxy: [UInt64] = [5165, 6454, 7158, 7883]
    /// Of `/tcp-mux`.
    /// - 2002097: the reads of one turn needed more small buffers than were free, and the WebSocket was closed for it.
    /// - 553: a pool that was all offered to the kernel after one starved moment had no buffer for output.
    static let mux: [UInt64] = [553, 2_002_097]
}
