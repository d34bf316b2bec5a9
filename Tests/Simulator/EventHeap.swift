/// What will happen, by time; of two at one time the one that was planned first.
struct EventHeap {
    enum Action {
        case act(SimulatedSocket)
        case progress(SimulatedSocket)
        case post(SimulatedRequest, Int32, UInt32)
        case postPlain(UInt64, Int32)
        case cancel(SimulatedRequest)
        case dialled(SimulatedRequest, Dial)
        case call(() -> Void)
    }

    struct Entry {
        let nanoseconds: UInt64
        let order: UInt64
        let action: Action

        func isBefore(_ other: Entry) -> Bool {
            nanoseconds != other.nanoseconds ? nanoseconds < other.nanoseconds : order < other.order
        }
    }

    private var entries: [Entry] = []
    private var planned: UInt64 = 0

    var nextNanoseconds: UInt64? { entries.first?.nanoseconds }

    mutating func insert(at nanoseconds: UInt64, _ action: Action) {
        planned += 1
        entries.append(Entry(nanoseconds: nanoseconds, order: planned, action: action))
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entries[child].isBefore(entries[parent]) else { break }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    mutating func removeFirst() -> Action {
        let action = entries[0].action
        let last = entries.removeLast()
        guard !entries.isEmpty else { return action }
        entries[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count && entries[child].isBefore(entries[least]) {
                least = child
            }
            if least == parent { return action }
            entries.swapAt(parent, least)
            parent = least
        }
    }

    mutating func removeAll() { entries = [] }
}
