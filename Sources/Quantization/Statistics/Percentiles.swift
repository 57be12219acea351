package import TensorModel

/// Percentiles of finite weights: percentile p is the smallest weight that at least p percent of the weights do not exceed.
package struct Percentiles: Sendable, Hashable {
    /// A percentile that is computed.
    package struct Level: Sendable {
        /// Tenths of a percent.
        let permille: UInt64
        /// The percentage as text, and the same for names of columns.
        package let percent: String, column: String
    }

    /// The percentiles that are computed, ascending.
    package static let levels = [
        Level(permille: 10, percent: "1", column: "p1"), Level(permille: 50, percent: "5", column: "p5"),
        Level(permille: 500, percent: "50", column: "p50"), Level(permille: 950, percent: "95", column: "p95"),
        Level(permille: 990, percent: "99", column: "p99"), Level(permille: 999, percent: "99.9", column: "p99_9"),
    ]

    /// A weight for each of `levels`.
    package let values: [Double]

    /// The percentiles of counts; nil without finite weights.
    ///
    /// - Parameters:
    ///   - finite: number of finite weights.
    ///   - minimum: the smallest finite weight. `maximum` is the largest.
    init?(_ counts: WeightCounts, finite: UInt64, minimum: Double, maximum: Double) {
        guard finite > 0 else { return nil }
        // The number of weights that must not exceed it, rounded up, without overflow.
        let ranks = Percentiles.levels.map { level in
            finite / 1000 * level.permille + (finite % 1000 * level.permille + 999) / 1000
        }
        var found: [Double] = []
        var below: UInt64 = 0
        counts.forEachFinite { value, count in
            below += count
            while found.count < ranks.count, ranks[found.count] <= below {
                // The upper half of a weight below 2^-133 is that of 0.
                let weight = value == 0 ? 0 : counts.representative(value)
                found.append(max(minimum, min(maximum, weight)))
            }
        }
        values = found
    }

    /// The percentiles as an object of a report (Specs/json.md, `percentiles`).
    package var json: JSONValue {
        .object(zip(Percentiles.levels, values).map { .init($0.percent, .number($1)) })
    }
}
