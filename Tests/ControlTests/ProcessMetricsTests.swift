import Glibc
import Testing

@testable import Control

@Suite struct ProcessMetricsTests {
    @Test func countsOpenDescriptors() {
        // Other tests open and close some at the same time; these are far more.
        let before = ProcessMetrics.read().openDescriptors
        let opened = (0..<400).map { _ in open("/dev/null", O_RDONLY) }
        let after = ProcessMetrics.read()
        opened.forEach { close($0) }
        #expect(opened.allSatisfy { $0 >= 0 })
        #expect(before >= 3 && after.openDescriptors >= 400 && after.openDescriptors <= after.maximumDescriptors)
        #expect(after.residentBytes > 1 << 20 && after.heapBytes > 0 && after.userSeconds > 0)
    }
}
