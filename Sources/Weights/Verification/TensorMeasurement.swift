package import Quantization
import TensorModel

/// The statistics that a verification gathers for a tensor, besides its error sums.
package struct TensorMeasurement: Sendable {
    /// Statistics of the errors; nil without a source.
    package let errors: ErrorStatistics?
    /// Statistics of the restored weights, and of the source's; nil without a source.
    package let restored: WeightStatistics, original: WeightStatistics?
    /// A histogram of the restored weights with the bounds of the source's histogram; nil without a source.
    package let restoredHistogram: Histogram?
    /// The restored weights whose values differ from the source's; none without a source.
    package let differences: ValueDifferences
}

/// Adds the statistics of a tensor's chunks, in order. 1.2 MB, for one tensor at a time.
struct MeasurementSums {
    private var errors = ErrorStatistics()
    private var original: TensorSums
    /// Sums of the restored weights; nil while all chunks were identical to the source's.
    private var restored: TensorSums?
    private let restoredFormat: FloatFormat, shape: Shape
    private let isCompared: Bool
    private var identical: UInt64 = 0
    private var differences = ValueDifferences()

    /// Sums over no chunks.
    ///
    /// - Parameters:
    ///   - format: element type of the source.
    ///   - isLossy: whether weights are restored as binary32 instead of elements of the format.
    ///   - isCompared: whether there is a source.
    init(_ format: FloatFormat, _ shape: Shape, isLossy: Bool, isCompared: Bool) {
        original = TensorSums(format, shape)
        restoredFormat = isLossy ? .f32 : format
        self.shape = shape
        self.isCompared = isCompared
    }

    /// Adds a chunk, or a piece of a kept tensor, whose first weight is at `row` and `column` of the tensor. A piece of one row may go on in
    /// the rows after it.
    mutating func add(_ chunk: ChunkMeasurement, row: Int, column: Int) {
        if chunk.isIdentical {
            restored?.add(chunk.original, row: row, column: column)
            identical += UInt64(chunk.original.total)
        } else {
            if restored == nil { restored = identical > 0 ? original : TensorSums(restoredFormat, shape) }
            restored?.add(chunk.restored, row: row, column: column)
            if isCompared {
                errors.add(chunk.comparison)
                differences.add(chunk.comparison.difference, row: row, column: column, columns: chunk.columns)
            }
        }
        if isCompared { original.add(chunk.original, row: row, column: column) }
    }

    /// The statistics of the tensor. Call it once: it consumes the sums.
    mutating func measurement() -> TensorMeasurement {
        guard isCompared else {
            return TensorMeasurement(
                errors: nil, restored: restored?.finish() ?? original.finish(), original: nil, restoredHistogram: nil,
                differences: ValueDifferences())
        }
        let source = original.finish()
        let histogram = restored?.histogram(binnedAs: source.histogram) ?? source.histogram
        if identical > 0 {
            // Identical chunks were not compared. Their sum of squares is that of the tensor minus that of the compared chunks.
            let finite = Double(source.count - source.nan - source.infinite)
            let energy = finite * (source.mean * source.mean + source.standardDeviation * source.standardDeviation)
            errors.add(identical: identical, energy: max(0, energy - errors.sums.signal))
        }
        errors.settle()
        return TensorMeasurement(
            errors: errors, restored: restored?.finish() ?? source, original: source, restoredHistogram: histogram,
            differences: differences.wrapped(to: shape.columns))
    }
}
