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
    private var original: WeightCounts
    /// Nil as long as all that was restored is the source's.
    private var restored: WeightCounts?
    private let restoredFormat: FloatFormat
    private let isCompared: Bool
    private var identical: UInt64 = 0

    /// Sums of no chunks.
    ///
    /// - Parameters:
    ///   - format: what the source's weights are.
    ///   - isLossy: whether weights are restored as binary32, not as elements of the format.
    ///   - isCompared: whether there is a source.
    init(_ format: FloatFormat, isLossy: Bool, isCompared: Bool) {
        original = WeightCounts(format)
        restoredFormat = isLossy ? .f32 : format
        self.isCompared = isCompared
    }

    /// Adds a chunk, or a piece of a tensor stored as it is.
    mutating func add(_ chunk: ChunkMeasurement) {
        if chunk.isIdentical {
            restored?.add(chunk.original)
            identical += UInt64(chunk.original.total)
        } else {
            if restored == nil { restored = identical > 0 ? original : WeightCounts(restoredFormat) }
            restored?.add(chunk.restored)
            if isCompared { errors.add(chunk.comparison) }
        }
        if isCompared { original.add(chunk.original) }
    }

    /// What they come to.
    func measurement() -> TensorMeasurement {
        guard isCompared else {
            return TensorMeasurement(
                errors: nil, restored: WeightStatistics(restored ?? original), original: nil, restoredHistogram: nil)
        }
        let source = WeightStatistics(original)
        var errors = errors
        if identical > 0 {
            // The energy of what was compared is known; the rest is that of what need not be.
            let finite = Double(source.count - source.nan - source.infinite)
            let energy = finite * (source.mean * source.mean + source.standardDeviation * source.standardDeviation)
            errors.add(identical: identical, energy: max(0, energy - errors.sums.signal))
        }
        errors.settle()
        return TensorMeasurement(
            errors: errors, restored: restored.map { WeightStatistics($0) } ?? source, original: source,
            restoredHistogram: restored.map { Histogram($0, from: source.histogram.from, to: source.histogram.to) }
                ?? source.histogram)
    }
}
