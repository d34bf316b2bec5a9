import CRing
import CSocket
import Ring

extension Shard {
    /// One completion: true when `event` now holds something for the layer above.
    @inline(__always)
    func dispatch(_ completion: ring_completion, _ event: inout Event) -> Bool {
        state.pointee.statistics.add(.completions)
        let token = Token(packed: completion.token)
        guard let operation = token.operation else { preconditionFailure("a completion names an unknown operation") }
        if operation.rawValue >= Token.Operation.receive.rawValue {
            let slot = SlotIndex(token.slot)
            // A slot is freed only when nothing is in flight, so this never differs; a bug must not reach a stranger.
            precondition(state.pointee.slots[Int(slot.raw)].generation == token.generation, "a completion came after its slot was freed")
            switch operation {
            case .receive: return received(slot, completion, &event)
            case .send: return sent(slot, completion.result, &event)
            case .connect: return connectCompleted(slot, completion.result, &event)
            case .cancel: cancelCompleted(slot)
            case .close: return closeCompleted(slot, &event)
            case .receiveDatagrams: return receivedDatagrams(slot, completion, &event)
            case .sendDatagrams: queuedSendEnded(slot, completion.result)
            default: break
            }
            return false
        }
        return dispatchShard(operation, completion, &event)
    }

    @inline(never)
    private func dispatchShard(_ operation: Token.Operation, _ completion: ring_completion, _ event: inout Event) -> Bool {
        switch operation {
        case .accept: return accepted(completion, &event)
        case .train:
            noteTrain(Token(packed: completion.token), completion.result)
            return false
        case .wake:
            if completion.flags & UInt32(IORING_CQE_F_MORE) == 0 { armWake() }
            _ = wake_clear(state.pointee.inbox.wakeDescriptor)
            state.pointee.inboxPending = true
            return false
        case .poll:
            resolverPolled(Token(packed: completion.token), completion.result)
            return false
        default: return false
        }
    }
}
