/// Slots in the order in which they came, linked through `Slot.nextStarved`.
struct SlotList {
    private(set) var head = SlotIndex.none.raw
    private var tail = SlotIndex.none.raw

    @inline(__always)
    var isEmpty: Bool { head == SlotIndex.none.raw }

    mutating func append(_ slot: SlotIndex, _ slots: UnsafeMutablePointer<Slot>) {
        slots[Int(slot.raw)].nextStarved = SlotIndex.none.raw
        if isEmpty { head = slot.raw } else { slots[Int(tail)].nextStarved = slot.raw }
        tail = slot.raw
    }

    mutating func removeFirst(_ slots: UnsafeMutablePointer<Slot>) -> SlotIndex {
        let first = SlotIndex(head)
        head = slots[Int(first.raw)].nextStarved
        slots[Int(first.raw)].nextStarved = SlotIndex.none.raw
        if isEmpty { tail = SlotIndex.none.raw }
        return first
    }

    /// Takes a slot out wherever it stands; it must be in the list.
    mutating func remove(_ slot: SlotIndex, _ slots: UnsafeMutablePointer<Slot>) {
        var previous = SlotIndex.none.raw
        var current = head
        while current != slot.raw {
            previous = current
            current = slots[Int(current)].nextStarved
        }
        let next = slots[Int(slot.raw)].nextStarved
        if previous == SlotIndex.none.raw { head = next } else { slots[Int(previous)].nextStarved = next }
        if next == SlotIndex.none.raw { tail = previous }
        slots[Int(slot.raw)].nextStarved = SlotIndex.none.raw
    }
}
