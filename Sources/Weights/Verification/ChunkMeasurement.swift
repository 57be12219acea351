import FileAccess
package import Quantization
import TensorModel

/// What is gathered of a chunk, or of a piece of a tensor stored as it is, besides its error sums; 576 KiB, reused.
package struct ChunkMeasurement: Sendable {
    /// The comparison with the source; without a meaning where there is none, or `isIdentical`.
    package private(set) var comparison = PieceComparison()
    /// The source's weights, and those that were restored: of a lossy chunk in binary32, else in the element type.
    package private(set) var original = PieceCounts(), restored = PieceCounts()
    /// Whether all bytes are the source's: `original` alone was counted.
    package private(set) var isIdentical = false

    /// A measurement of nothing.
    package init() {}

    /// Measures restored weights against the source's, both finite.
    ///
    /// - Parameters:
    ///   - elements: the source's elements next to each other, and `weights` the same in binary32.
    ///   - restored: as many weights.
    /// - Returns: the error sums.
    mutating func compare(
        _ elements: Span<UInt8>, _ format: FloatFormat, _ weights: Span<Float>, restored weightsNow: Span<Float>,
        rows: Int, columns: Int
    ) -> ErrorSums {
        isIdentical = false
        comparison.compare(weights, weightsNow)
        original.count(elements, format, rows: rows, columns: columns, wantsEnergies: true)
        restored.count(weightsNow, rows: rows, columns: columns, wantsEnergies: true)
        return comparison.sums
    }

    /// Measures elements against the source's: of equal bytes they are counted once.
    ///
    /// - Parameter buffers: for both in binary32, where they differ.
    mutating func compare(
        _ elements: Span<UInt8>, restored elementsNow: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int,
        _ buffers: inout (before: [Float], after: [Float])
    ) {
        count(original: elements, format, rows: rows, columns: columns)
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

    /// Counts elements that are known to be the source's.
    mutating func count(original elements: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int) {
        isIdentical = true
        original.count(elements, format, rows: rows, columns: columns, wantsEnergies: true)
    }

    /// Counts restored elements, where there is no source.
    mutating func count(restored elements: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int) {
        isIdentical = false
        restored.count(elements, format, rows: rows, columns: columns, wantsEnergies: true)
    }

    /// Counts restored weights, where there is no source.
    mutating func count(restored weights: Span<Float>, rows: Int, columns: Int) {
        isIdentical = false
        restored.count(weights, rows: rows, columns: columns, wantsEnergies: true)
    }
}
