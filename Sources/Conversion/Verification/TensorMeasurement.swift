import Container
package import Quantization
import TensorModel

/// What a verification that measures finds of a tensor besides its error sums.
package struct TensorMeasurement: Sendable {
    /// What became of each weight; nil without a source.
    package let errors: ErrorStatistics?
    /// The weights as they are restored, and, with a source, as they were.
    package let restored: WeightStatistics, original: WeightStatistics?
    /// The restored weights in the bins of the original's histogram; nil without a source.
    package let restoredHistogram: Histogram?
}

/// Adds up what was gathered of a tensor's chunks, in their order; 1.2 MB, one at a time.
struct MeasurementSums {
    private var errors = ErrorStatistics()
    private var restored: WeightCounts, original: WeightCounts
    private let isCompared: Bool
    private var identical: UInt64 = 0

    /// Sums of no chunks.
    ///
    /// - Parameters:
    ///   - format: what the source's weights are.
    ///   - isLossy: whether weights are restored as binary32, not as elements of the format.
    ///   - isCompared: whether there is a source.
    init(_ format: FloatFormat, isLossy: Bool, isCompared: Bool) {
        restored = WeightCounts(isLossy ? .f32 : format)
        original = WeightCounts(format)
        self.isCompared = isCompared
    }

    /// Adds a chunk, or a piece of a tensor stored as it is.
    mutating func add(_ chunk: ChunkMeasurement) {
        if isCompared { original.add(chunk.original) }
        if chunk.isIdentical {
            restored.add(chunk.original)
            identical += UInt64(chunk.original.total)
        } else {
            restored.add(chunk.restored)
            if isCompared { errors.add(chunk.comparison) }
        }
    }

    /// What they come to.
    func measurement() -> TensorMeasurement {
        let statistics = isCompared ? WeightStatistics(original) : nil
        var errors = errors
        if let statistics, identical > 0 { 
            // The energy of what was compared is known; the rest is that of what need not be.
            let finite = Double(statistics.count - statistics.nan - statistics.infinite)
            let (mean, deviation) = (statistics.mean, statistics.standardDeviation)
            let energy = finite * (mean * mean + deviation * deviation) - errors.sums.signal
            errors.add(identical: identical, energy: max(0, energy))
        }
        errors.settle()
        return TensorMeasurement(
            errors: isCompared ? errors : nil, restored: WeightStatistics(restored), original: statistics,
            restoredHistogram: statistics.map {
                Histogram(restored, from: $0.histogram.from, to: $0.histogram.to)
            })
    }
}
