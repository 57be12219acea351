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
    private var original: TensorSums
    /// Nil as long as all that was restored is the source's.
    private var restored: TensorSums?
    private let restoredFormat: FloatFormat, shape: Shape
    private let isCompared: Bool
    private var identical: UInt64 = 0

    /// Sums of no chunks.
    ///
    /// - Parameters:
    ///   - format: what the source's weights are.
    ///   - isLossy: whether weights are restored as binary32, not as elements of the format.
    ///   - isCompared: whether there is a source.
    init(_ format: FloatFormat, _ shape: Shape, isLossy: Bool, isCompared: Bool) {
        original = TensorSums(format, shape)
        restoredFormat = isLossy ? .f32 : format
        self.shape = shape
        self.isCompared = isCompared
    }

    /// Adds a chunk, or a piece of a tensor stored as it is, whose first weight stands in a row and a column of the tensor.
    mutating func add(_ chunk: ChunkMeasurement, row: Int, column: Int) {
        if chunk.isIdentical {
            restored?.add(chunk.original, row: row, column: column)
            identical += UInt64(chunk.original.total)
        } else {
            if restored == nil { restored = identical > 0 ? original : TensorSums(restoredFormat, shape) }
            restored?.add(chunk.restored, row: row, column: column)
            if isCompared { errors.add(chunk.comparison) }
        }
        if isCompared { original.add(chunk.original, row: row, column: column) }
    }

    /// What they come to; used up by it.
    mutating func measurement() -> TensorMeasurement {
        guard isCompared else {
            return TensorMeasurement(
                errors: nil, restored: restored?.finish() ?? original.finish(), original: nil, restoredHistogram: nil)
        }
        let source = original.finish()
        let histogram = restored?.histogram(binnedAs: source.histogram) ?? source.histogram
        if identical > 0 {
            // The energy of what was compared is known; the rest is that of what need not be.
            let finite = Double(source.count - source.nan - source.infinite)
            let energy = finite * (source.mean * source.mean + source.standardDeviation * source.standardDeviation)
            errors.add(identical: identical, energy: max(0, energy - errors.sums.signal))
        }
        errors.settle()
        return TensorMeasurement(
            errors: errors, restored: restored?.finish() ?? source, original: source, restoredHistogram: histogram)
    }
}
