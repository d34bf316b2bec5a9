import CSocket

/// Giving memory back.
///
/// Theory of operation
/// - The free bulk and train buffers are stacks: what a burst once needed and nobody needs since lies at the bottom. `clean` counts the
///   buffers at the bottom whose memory was never touched or is given back, `floor` the fewest that were free since the last look.
/// - Every few seconds the kernel gets back the pages of the buffers between both: nobody had them since the last look. They stay
///   in the pool; the next use commits new pages.
/// - Small and packet buffers stay: several share a page, and all together are bounded.
extension Shard {
    /// Gives back what was not used for a while; called once a turn.
    @inline(__always)
    func trimIfDue() {
        if state.pointee.nowMilliseconds >= state.pointee.trimAtMilliseconds { trim() }
    }

    @inline(never)
    private func trim() {
        state.pointee.trimAtMilliseconds = state.pointee.nowMilliseconds &+ EngineLimits.trimMilliseconds
        var trimmed = state.pointee.bulk.trim(maximum: EngineLimits.trimBuffers)
        trimmed += state.pointee.trains.trim(maximum: EngineLimits.trimBuffers)
        if trimmed > 0 { state.pointee.statistics.add(.buffersTrimmed, UInt64(trimmed)) }
    }
}

extension BufferClassPool {
    /// Gives the pages of at most `maximum` free buffers back; returns how many it was.
    mutating func trim(maximum: Int) -> Int {
        let end = min(floor, clean + maximum)
        let trimmed = max(0, end - clean)
        for place in clean..<clean + trimmed { memory_release(base + Int(free[place]) * stride, stride) }
        clean += trimmed
        floor = freeCount
        return trimmed
    }
}
