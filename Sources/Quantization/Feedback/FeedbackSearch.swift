internal import Kernels
package import TensorModel

/// Searches the levels of a band of rows with error feedback, tile by tile from left to right (Specs/trellis.md, "Error feedback").
///
/// The error of a weight is carried to later columns of its row, within a block of the moments. Rows do not depend on each other.
package struct FeedbackSearch {
    private let factors: FeedbackFactors
    private let steps: Kernels.FeedbackSteps
    private let rows: Int
    private let block = Kernels.FeedbackBlock()
    /// The block that is under way, and the next column.
    private var number = 0, next = 0
    /// Sums over the finished blocks: tr(W H W^T) and tr(E H E^T), with H as it is stored.
    package private(set) var sums = ActivationSums()
    /// The time that was spent so far; the clock is read a few times for each panel.
    package private(set) var times = FeedbackTimes()

    /// Upper bound of the memory of a search in bytes, its factors not counted.
    package static func maximumBytes(rows: Int, blockColumns: Int) -> Int {
        Kernels.FeedbackBlock.bytes(rows: rows, columns: blockColumns)
    }

    private let measures: Bool
    private let correction: TargetCorrection?

    /// Begins a band.
    ///
    /// - Parameters:
    ///   - rows: rows of the band.
    ///   - shrinkage: how strongly targets are shrunk toward zero: by m / (m + shrinkage), m the mean square of a column's targets in levels.
    ///   - correction: what is added to the weights before the search; nil for nothing.
    ///   - measures: whether `sums` are wanted: they take twice the time of the feedback itself.
    ///   - steps: of its rows, and of all columns of the tensor.
    package init(
        _ factors: FeedbackFactors, rows: Int, _ steps: ChunkSteps, _ parameters: TrellisParameters,
        shrinkage: Float, _ format: FloatFormat, _ correction: TargetCorrection? = nil, measures: Bool
    ) {
        precondition(steps.columnScales.count == factors.columns && steps.rowSteps.count == rows, "sizes differ")
        self.factors = factors
        self.rows = rows
        self.measures = measures
        self.correction = correction
        self.steps = Kernels.FeedbackSteps(
            rowSteps: steps.rowSteps, columnScales: steps.columnScales,
            shrinkage: shrinkage, states: parameters.states, farthest: parameters.farthestLevel,
            format: format.rawValue)
    }

    /// Searches the levels of the next tile.
    ///
    /// - Parameters:
    ///   - weights: the tile's weights, finite, row by row; the tile has all rows of the band.
    ///   - columns: columns of the tile, behind those of the tile before.
    ///   - symbols: receives the symbols, in strip order.
    ///   - oddMasks: receives the parities of the states.
    /// - Returns: the weights that are stored exactly, as they are found.
    mutating func search(
        _ weights: [Float], columns: Range<Int>, symbols: inout [Int16], oddMasks: inout [UInt64]
    ) -> [Kernels.FeedbackPatch] {
        precondition(columns.lowerBound == next, "tiles out of order")
        let shape = Kernels.ChunkShape(rows: rows, columns: columns.count)
        let strip = Kernels.stripWidth
        symbols.grow(to: Kernels.symbolCount(shape))
        oddMasks.grow(to: Kernels.maskCount(shape))
        for index in 0..<Kernels.maskCount(shape) { oddMasks[index] = 0 }
        // Columns beyond the tile's width have no symbol.
        if columns.count % strip != 0 {
            let last = columns.count / strip * rows * strip
            for index in last..<last + rows * strip { symbols[index] = 0 }
        }
        var patches: [Kernels.FeedbackPatch] = []
        let clock = ContinuousClock()
        while next < columns.upperBound {
            let current = factors.blocks[number]
            let begin = clock.now
            if next == current.columns.lowerBound {
                block.begin(rows: rows, columns: current.columns.count)
                if let correction { correct(correction, current.columns) }
            }
            let inTile = next - columns.lowerBound
            let end = min(
                columns.lowerBound + (inTile / strip + 1) * strip, columns.upperBound, current.columns.upperBound)
            let panel = next - current.columns.lowerBound..<end - current.columns.lowerBound
            let first = inTile / strip * strip
            var found: [Kernels.FeedbackPatch] = []
            let (width, origin) = (current.columns.count, current.columns.lowerBound)
            if correction == nil {
                block.load(
                    weights.span, width: columns.count, offset: inTile, columns: panel.count, at: panel.lowerBound)
            }
            if panel.lowerBound > 0 {
                block.carry(current.coupling.span, width: width, from: 0..<panel.lowerBound, into: panel)
            }
            let carried = clock.now
            FeedbackSearch.quantize(
                block, panel, current.coupling, width, steps, origin, inTile - first, inTile / strip, rows, &symbols,
                &oddMasks, &found)
            let searched = clock.now
            times.products += carried - begin
            times.search += searched - carried
            for patch in found {
                patches.append(.init(row: patch.row, column: first + patch.column, value: patch.value))
            }
            next = end
            if end == current.columns.upperBound {
                if measures {
                    block.measureErrors()
                    // Rounding, or moments that are none, may give a number below 0.
                    sums.signal += max(0, block.quadraticForm(.originals, current.form.span, width: width))
                    sums.noise += max(0, block.quadraticForm(.errors, current.form.span, width: width))
                    times.sums += clock.now - searched
                }
                number += 1
            }
        }
        return patches
    }

    /// Loads all columns of a block, and corrects them.
    private func correct(_ correction: TargetCorrection, _ columns: Range<Int>) {
        for tile in correction.tiles {
            let common = tile.columns.clamped(to: columns)
            guard !common.isEmpty else { continue }
            let weights = tile.weights
            block.load(
                weights.span, width: tile.columns.count, offset: common.lowerBound - tile.columns.lowerBound,
                columns: common.count, at: common.lowerBound - columns.lowerBound)
        }
        let matrix = correction.blocks[number]
        block.correct(matrix.span, width: columns.count)
    }

    /// Takes the buffers as separate arguments, because a method would copy them.
    private static func quantize(
        _ block: Kernels.FeedbackBlock, _ panel: Range<Int>, _ coupling: [Float], _ width: Int,
        _ steps: Kernels.FeedbackSteps, _ origin: Int, _ place: Int, _ strip: Int, _ rows: Int,
        _ symbols: inout [Int16], _ oddMasks: inout [UInt64], _ found: inout [Kernels.FeedbackPatch]
    ) {
        let size = Kernels.stripWidth
        var symbols = symbols.mutableSpan
        var masks = oddMasks.mutableSpan
        var stripSymbols = symbols.extracting(strip * rows * size..<(strip + 1) * rows * size)
        var stripMasks = masks.extracting(strip * rows..<(strip + 1) * rows)
        block.quantize(
            panel, coupling.span, width: width, steps, columnOffset: origin, strip: place, symbols: &stripSymbols,
            oddMasks: &stripMasks, found: &found)
    }
}

/// What a search adds to the weights of a band before it begins: the weights times a matrix, block by block.
package struct TargetCorrection {
    /// Of each block of the factors: row i has what column i adds to each column, row by row.
    let blocks: [[Float]]
    /// All tiles of the band, as the search will get them.
    let tiles: [(columns: Range<Int>, weights: [Float])]

    /// A correction of a band.
    package init(blocks: [[Float]], tiles: [(columns: Range<Int>, weights: [Float])]) {
        (self.blocks, self.tiles) = (blocks, tiles)
    }
}

/// Sums of a certificate over activations: tr(W H W^T) and tr(E H E^T), with H the second moments as they are stored and E the errors.
package struct ActivationSums: Sendable, Hashable {
    /// tr(W H W^T).
    package var signal = 0.0
    /// tr(E H E^T).
    package var noise = 0.0

    /// Sums of nothing.
    package init() {}

    /// Adds sums.
    package static func + (a: ActivationSums, b: ActivationSums) -> ActivationSums {
        var sum = a
        sum.signal += b.signal
        sum.noise += b.noise
        return sum
    }

    /// The relative error over activations, noise / signal; 0 if the noise is 0. Infinite for sums that no description holds, because they
    /// overflowed.
    package var relativeError: Double {
        guard signal.isFinite, noise.isFinite else { return .infinity }
        return noise == 0 ? 0 : noise / signal
    }

    /// The sums as the reports show them: `relative_activation_error`.
    package var json: [JSONValue.Member] { [.init("relative_activation_error", .number(relativeError))] }
}
