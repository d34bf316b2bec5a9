import Glibc
import Testing

@testable import Control

@Suite struct ProcessMetricsTests {
    /// A sanitizer brings its own allocator, of which `mallinfo2` says nothing but zeros.
    private static let allocatorIsReplaced = dlsym(nil, "__tsan_init") != nil || dlsym(nil, "__asan_init") != nil

    @Test func countsOpenDescriptors() {
        // Other tests open and close some at the same time; these are far more.
        let before = ProcessMetrics.read().openDescriptors
        let opened = (0..<400).map { _ in open("/dev/null", O_RDONLY) }
        let after = ProcessMetrics.read()
        opened.forEach { close($0) }
        #expect(opened.allSatisfy { $0 >= 0 })
        #expect(before >= 3 && after.openDescriptors >= 400 && after.openDescriptors <= after.maximumDescriptors)
        #expect(after.residentBytes > 1 << 20 && after.userSeconds > 0)
        #expect(after.heapBytes > 0 || Self.allocatorIsReplaced)
    }
}
