import FileAccess
package import Quantization
import TensorModel

/// Statistics of a chunk, or of a piece of a kept tensor, besides its error sums. 576 KiB; reused from chunk to chunk.
package struct ChunkMeasurement: Sendable {
    /// The comparison with the source; undefined without a source and if `isIdentical`.
    package private(set) var comparison = PieceComparison()
    /// Counts of the source's weights, and of the restored weights. Those of a lossy chunk are binary32, others the element type.
    package private(set) var original = PieceCounts(), restored = PieceCounts()
    /// Whether all bytes equal the source's. Then only `original` is counted.
    package private(set) var isIdentical = false
    /// Number of columns of the chunk.
    private(set) var columns = 0

    /// A measurement of no weights.
    package init() {}

    /// Measures restored weights against the source's. Both must be finite.
    ///
    /// - Parameters:
    ///   - elements: the source's elements, contiguous. `weights` are the same in binary32.
    ///   - restored: as many restored weights.
    /// - Returns: the error sums.
    mutating func compare(
        _ elements: Span<UInt8>, _ format: FloatFormat, _ weights: Span<Float>, restored weightsNow: Span<Float>,
        rows: Int, columns: Int
    ) -> ErrorSums {
        isIdentical = false
        self.columns = columns
        comparison.compare(weights, weightsNow)
        original.count(elements, format, rows: rows, columns: columns, wantsEnergies: true)
        restored.count(weightsNow, rows: rows, columns: columns, wantsEnergies: true)
        return comparison.sums
    }

    /// Measures elements against the source's. Equal bytes are counted once.
    ///
    /// - Parameter buffers: scratch for both in binary32, used if they differ.
    mutating func compare(
        _ elements: Span<UInt8>, restored elementsNow: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int,
        _ buffers: inout (before: [Float], after: [Float])
    ) {
        count(original: elements, format, rows: rows, columns: columns)
        self.columns = columns
        isIdentical = elements.isSame(as: elementsNow)
        guard !isIdentical else { return }
        restored.count(elementsNow, format, rows: rows, columns: columns, wantsEnergies: true)
        let count = rows * columns
        buffers.before.grow(to: count)
        buffers.after.grow(to: count)
        FloatConversion.expand(elements, format, into: &buffers.before)
        FloatConversion.expand(elementsNow, format, into: &buffers.after)
        comparison.compare(
            buffers.before.span.extracting(0..<count), buffers.after.span.extracting(0..<count))
    }

    /// Counts elements that are known to equal the source's.
    mutating func count(original elements: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int) {
        isIdentical = true
        original.count(elements, format, rows: rows, columns: columns, wantsEnergies: true)
    }

    /// Counts restored elements without a source.
    mutating func count(restored elements: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int) {
        isIdentical = false
        restored.count(elements, format, rows: rows, columns: columns, wantsEnergies: true)
    }

    /// Counts restored weights without a source.
    mutating func count(restored weights: Span<Float>, rows: Int, columns: Int) {
        isIdentical = false
        restored.count(weights, rows: rows, columns: columns, wantsEnergies: true)
    }
}
