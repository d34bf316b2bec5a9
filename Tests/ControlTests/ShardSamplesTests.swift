import Testing

@testable import Control

/// What one shard's sessions count: by the numbers that labels are made of.
@Suite struct ShardSamplesTests {
    private typealias Place = ShardSamples.Place

    /// Numbers at the edges of what each has room for: routes and endpoints, sources of tokens and close codes, parties.
    private static let places = [0, 1, 255, 256, 65_535, 65_536].flatMap { subject in
        [0, 1, 255, 256, 1000, 4429, 65_535].flatMap { first in
            [0, 1, 2, 255].map { Place(subject: subject, first: first, second: $0) }
        }
    }

    private static func labels(_ place: Place) -> String {
        "route=\"\(place.subject)\",code=\"\(place.first)\",from=\"\(place.second)\""
    }

    @Test func equalPlacesAddToOneSampleAndItsLabelsAreMadeOnce() {
        let metrics = ProxyMetrics()
        let samples = ShardSamples(metrics)
        var made = 0
        func labels() -> String {
            made += 1
            return "route=\"a\",code=\"101\""
        }
        for _ in 0..<5 { samples.add(.handshakes, Place(subject: 7, first: 3, second: 1), labels()) }
        #expect(made == 1 && metrics.sample(.handshakes, "route=\"a\",code=\"101\"").count == 5)
        for number in 1...4 { samples.observe(.session, Place(subject: 7), labels(), seconds: Double(number)) }
        let reading = metrics.series(.session, "route=\"a\",code=\"101\"").reading
        #expect(made == 2 && reading.count == 4 && reading.sum == 10)
        for _ in 0..<3 { samples.add(.connections) }
        #expect(metrics.sample(.connections, "").count == 3, "without labels there is one place")
    }

    @Test func differentPlacesAddToDifferentSamples() {
        let metrics = ProxyMetrics()
        let samples = ShardSamples(metrics)
        for family in ProxyMetrics.Family.allCases {
            for place in Self.places { samples.add(family, place, Self.labels(place)) }
        }
        for timing in ProxyMetrics.Timing.allCases {
            for place in Self.places { samples.observe(timing, place, Self.labels(place), seconds: 1) }
        }
        for place in Self.places {
            for family in ProxyMetrics.Family.allCases where metrics.sample(family, Self.labels(place)).count != 1 {
                Issue.record("\(family), \(place): \(metrics.sample(family, Self.labels(place)).count)")
            }
            for timing in ProxyMetrics.Timing.allCases where metrics.series(timing, Self.labels(place)).reading.count != 1 {
                Issue.record("\(timing), \(place): \(metrics.series(timing, Self.labels(place)).reading.count)")
            }
        }
    }

    /// Two shards, and what is counted elsewhere, are one series on the page.
    @Test func shardsAddToTheSameSample() {
        let metrics = ProxyMetrics()
        let shards = [ShardSamples(metrics), ShardSamples(metrics)]
        for (index, shard) in shards.enumerated() {
            for _ in 0...index {
                shard.add(.handshakes, Place(subject: index), "route=\"a\",code=\"101\"")
                shard.observe(.dial, Place(subject: index), "upstream=\"u\"", seconds: 1)
            }
        }
        metrics.add(.handshakes, "route=\"a\",code=\"101\"", 4)
        #expect(metrics.sample(.handshakes, "route=\"a\",code=\"101\"").count == 7)
        #expect(metrics.series(.dial, "upstream=\"u\"").reading.count == 3)
    }
}
