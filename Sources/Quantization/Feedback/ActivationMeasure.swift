internal import Kernels

/// Measures the certificate over activations of a band from weights and restored weights, tile by tile from left to right. The sums have the
/// same bits as those of the encoder.
package struct ActivationMeasure {
    private let factors: FeedbackFactors
    private let rows: Int
    private let block = Kernels.FeedbackBlock()
    private var number = 0, next = 0
    /// Sums over the finished blocks.
    package private(set) var sums = ActivationSums()

    /// Begins a band of `rows` rows.
    package init(_ factors: FeedbackFactors, rows: Int) { (self.factors, self.rows) = (factors, rows) }

    /// Adds the next tile.
    ///
    /// - Parameters:
    ///   - weights: of the original, row by row.
    ///   - restored: what a decoder gives.
    ///   - columns: the tile's columns in the tensor.
    package mutating func add(_ weights: [Float], _ restored: [Float], columns: Range<Int>) {
        precondition(columns.lowerBound == next, "tiles out of order")
        while next < columns.upperBound {
            let current = factors.blocks[number]
            if next == current.columns.lowerBound { block.begin(rows: rows, columns: current.columns.count) }
            let end = min(columns.upperBound, current.columns.upperBound)
            let (offset, place) = (next - columns.lowerBound, next - current.columns.lowerBound)
            block.load(weights.span, width: columns.count, offset: offset, columns: end - next, at: place)
            block.loadRestored(restored.span, width: columns.count, offset: offset, columns: end - next, at: place)
            next = end
            guard end == current.columns.upperBound else { continue }
            let form = current.form
            block.measureErrors()
            sums.signal += max(0, block.quadraticForm(.originals, form.span, width: current.columns.count))
            sums.noise += max(0, block.quadraticForm(.errors, form.span, width: current.columns.count))
            number += 1
        }
    }
}
