import CTLS

/// What a slot has beside its hot record when it speaks TLS; zero and untouched otherwise.
struct SecureSlot {
    struct Flags: OptionSet {
        let rawValue: UInt8
        static let server = Flags(rawValue: 1 << 0)
        static let closeReceived = Flags(rawValue: 1 << 1)  // the peer's close_notify
        static let closeTold = Flags(rawValue: 1 << 2)  // and its owner knows
        static let closeSent = Flags(rawValue: 1 << 3)
        static let tcpEnded = Flags(rawValue: 1 << 4)  // FIN, or `error`
        static let alertQueued = Flags(rawValue: 1 << 5)  // the session broke, and the peer is to be told
        static let broken = Flags(rawValue: 1 << 6)
    }

    var session: OpaquePointer?
    var context: OpaquePointer?  // of a server, until its session is made with the first bytes
    var input: tls_input  // cursor in the first of the buffers that wait
    var inputHead: UInt32  // BufferIndex of received ciphertext, in order
    var inputTail: UInt32
    var nextWork: UInt32
    var previousWork: UInt32
    var list: UInt8  // `SecureList.number`, 0 when in none
    var answers: UInt8  // buffers of the session's own words that may not have left yet
    var flags: Flags
    var tag: UInt32  // the listener's, for `accepted`
    var freshBytes: UInt32  // sent in short records since the stream was idle
    var error: Int32  // reported when the input is used up
    var answersEnd: UInt64  // they have when the stream has sent so many bytes
    var lastSendMilliseconds: UInt64
    var messagesMilliseconds: UInt64  // when the session was last allowed more messages
}

/// Slots that have TLS work to do, in the order in which it came; linked through `SecureSlot`.
struct SecureList {
    let number: UInt8
    var head = SlotIndex.none.raw
    var tail = SlotIndex.none.raw

    var isEmpty: Bool { head == SlotIndex.none.raw }

    mutating func append(_ index: UInt32, _ table: UnsafeMutablePointer<SecureSlot>) {
        table[Int(index)].list = number
        table[Int(index)].nextWork = SlotIndex.none.raw
        table[Int(index)].previousWork = tail
        if isEmpty { head = index } else { table[Int(tail)].nextWork = index }
        tail = index
    }

    mutating func remove(_ index: UInt32, _ table: UnsafeMutablePointer<SecureSlot>) {
        let entry = table[Int(index)]
        precondition(entry.list == number)
        let isFirst = entry.previousWork == SlotIndex.none.raw
        let isLast = entry.nextWork == SlotIndex.none.raw
        if isFirst { head = entry.nextWork } else { table[Int(entry.previousWork)].nextWork = entry.nextWork }
        if isLast { tail = entry.previousWork } else { table[Int(entry.nextWork)].previousWork = entry.previousWork }
        table[Int(index)].list = 0
    }
}
