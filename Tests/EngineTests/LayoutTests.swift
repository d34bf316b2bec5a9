import Ring
import Testing

@testable import Engine

/// Sizes that the design counts on.
@Suite struct LayoutTests {
    @Test func aSlotIsOneCacheLine() {
        #expect(MemoryLayout<Slot>.size == 64 && MemoryLayout<Slot>.stride == 64)
    }

    @Test func bookKeepingIsSmall() {
        #expect(MemoryLayout<BufferRecord>.stride == 24)
        #expect(MemoryLayout<TimerWheel.Node>.stride == 16)
        #expect(MemoryLayout<Event>.size <= 64)
    }

    @Test func headroomHoldsEveryFrameHeader() {
        // 14 for a client's WebSocket frame; payloads stay on a cache line of their own.
        #expect(EngineLimits.headroomBytes >= 14 && EngineLimits.headroomBytes % 64 == 0)
    }

    @Test func aTokenKeepsItsParts() {
        var numbers = Numbers(seed: 1)
        for _ in 0..<1000 {
            let slot = UInt32.random(in: 0..<1 << 24, using: &numbers)
            let generation = UInt16.random(in: 0...UInt16.max, using: &numbers)
            let detail = UInt16.random(in: 0...UInt16.max, using: &numbers)
            let token = Token(packed: Token(.send, slot: slot, generation: generation, detail: detail).packed)
            #expect(token.operation == .send && token.slot == slot && token.generation == generation && token.detail == detail)
        }
        #expect(Token(packed: 0xFF << 56).operation == nil)
    }
}
