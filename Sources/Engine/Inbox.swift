import CSocket
import Synchronization

/// Where other threads leave messages for a shard: bounded, never blocking its shard, refused when full.
///
/// Off the data path: configuration, drain, questions of the admin interface. A message wakes the shard through an
/// eventfd that its ring polls.
public final class Inbox: Sendable {
    /// A message: a kind the layer above defines, two numbers and at most one object.
    public struct Message: Sendable {
        /// What it is about.
        public let kind: UInt32
        /// First argument.
        public let first: UInt64
        /// Second argument.
        public let second: UInt64
        /// An object that travels along.
        public let object: (any AnyObject & Sendable)?

        /// Builds a message.
        public init(kind: UInt32, first: UInt64 = 0, second: UInt64 = 0, object: (any AnyObject & Sendable)? = nil) {
            self.kind = kind
            self.first = first
            self.second = second
            self.object = object
        }
    }

    let wakeDescriptor: Int32
    private let capacity: Int
    private let messages: Mutex<[Message]>

    init(wake: Int32, capacity: Int) {
        wakeDescriptor = wake
        self.capacity = capacity
        messages = Mutex([])
    }

    deinit { descriptor_close(wakeDescriptor) }

    /// Leaves a message; false when the inbox is full, and the sender keeps it. Any thread.
    public func post(_ message: Message) -> Bool {
        let posted = messages.withLock { list in
            if list.count >= capacity { return false }
            list.append(message)
            return true
        }
        if posted { _ = wake_signal(wakeDescriptor) }
        return posted
    }

    /// Takes all messages. The shard's thread, on an `inbox` event.
    public func takeAll() -> [Message] {
        messages.withLock { list in
            let taken = list
            list = []
            return taken
        }
    }
}
