import CSocket
import Testing

@testable import Engine

/// Messages from other threads.
@Suite struct InboxTests {
    @Test func messagesComeInOrderUntilItIsFull() throws {
        let inbox = Inbox(wake: wake_open(), capacity: 3)
        for number in 0..<3 as Range<UInt64> { #expect(inbox.post(Inbox.Message(kind: 1, first: number))) }
        #expect(!inbox.post(Inbox.Message(kind: 1, first: 99)), "the sender keeps what does not fit")
        #expect(inbox.takeAll().map(\.first) == [0, 1, 2])
        #expect(inbox.takeAll().isEmpty)
        #expect(inbox.post(Inbox.Message(kind: 2, first: 4, second: 5)))
        let taken = inbox.takeAll()
        #expect(taken.count == 1 && taken[0].kind == 2 && taken[0].second == 5)
    }

    @Test func aMessageWakes() {
        let inbox = Inbox(wake: wake_open(), capacity: 3)
        #expect(wake_clear(inbox.wakeDescriptor) < 0)
        _ = inbox.post(Inbox.Message(kind: 1))
        #expect(wake_clear(inbox.wakeDescriptor) == 0)
        #expect(wake_clear(inbox.wakeDescriptor) < 0)
    }
}
