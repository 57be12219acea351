package import TensorModel

/// Error feedback (Specs/trellis.md, "Error feedback"), one weight at a time.
extension Reference {
    // MARK: - The factor

    /// The upper triangular R with R R^T = A, in binary64.
    ///
    /// - Parameter matrix: A, row by row; its lower triangle is not read.
    /// - Returns: R, row by row; nil if a pivot is not positive or not finite.
    package static func upperFactor(_ matrix: [Double], count: Int) -> [Double]? {
        var factor = [Double](repeating: 0, count: count * count)
        for column in (0..<count).reversed() {
            for row in (0...column).reversed() {
                var rest = matrix[row * count + column]
                for later in (column + 1..<count).reversed() {
                    rest -= factor[row * count + later] * factor[column * count + later]
                }
                if row == column {
                    guard rest > 0, rest.isFinite else { return nil }
                    factor[row * count + column] = rest.squareRoot()
                } else {
                    factor[row * count + column] = rest / factor[column * count + column]
                }
            }
        }
        return factor
    }

    /// A diagonal block of moments, factored.
    package struct FeedbackBlock: Sendable {
        /// Its columns.
        package var columns: Range<Int>
        /// How much column j takes of the error of column i, for i < j; 0 elsewhere: row i, then column j.
        package var coupling: [Float]
        /// The diagonal of R.
        package var pivots: [Double]
        /// How many times the damping was doubled.
        package var doublings: Int
    }

    /// Factors moments. Blocks narrower than 64 columns are put together.
    ///
    /// - Parameters:
    ///   - moments: row by row, with zeros outside of the blocks; the lower triangle is not read.
    ///   - width: columns of a block.
    /// - Returns: nil if the diagonal is zero, or a block has no factor with any damping.
    package static func feedbackBlocks(
        _ moments: [Float], columns: Int, width: Int, shrinkage: Double
    ) -> [FeedbackBlock]? {
        let mean = (0..<columns).reduce(0.0) { $0 + Double(moments[$1 * columns + $1]) } / Double(columns)
        guard mean > 0 else { return nil }
        let wide = width >= 64 ? width : 64 / width * width
        var blocks: [FeedbackBlock] = []
        for first in stride(from: 0, to: columns, by: wide) {
            let range = first..<min(columns, first + wide)
            guard let block = feedbackBlock(moments, columns, range, mean, shrinkage) else { return nil }
            blocks.append(block)
        }
        return blocks
    }

    private static func feedbackBlock(
        _ moments: [Float], _ columns: Int, _ range: Range<Int>, _ mean: Double, _ shrinkage: Double
    ) -> FeedbackBlock? {
        let count = range.count
        var damping = mean * 0.01
        for doublings in 0...40 {
            var matrix = [Double](repeating: 0, count: count * count)
            for row in 0..<count {
                for column in row..<count {
                    let moment = Double(moments[(range.lowerBound + row) * columns + range.lowerBound + column])
                    matrix[row * count + column] = row == column ? moment + damping : moment * (1 - shrinkage)
                }
            }
            damping *= 2
            guard let factor = upperFactor(matrix, count: count) else { continue }
            var coupling = [Float](repeating: 0, count: count * count)
            for row in 0..<count {
                for column in row + 1..<max(count, row + 1) {
                    coupling[row * count + column] =
                        Float(factor[row * count + column] / factor[column * count + column])
                }
            }
            return FeedbackBlock(
                columns: range, coupling: coupling, pivots: (0..<count).map { factor[$0 * count + $0] },
                doublings: doublings)
        }
        return nil
    }

    // MARK: - The search

    /// What the search makes of a band.
    package struct FeedbackBand: Sendable {
        /// Symbols and restored weights, row by row.
        package var symbols: [Int], restored: [Float]
        /// Weights minus restored weights, row by row.
        package var errors: [Float]
        /// The weights that are stored exactly, by their index in the band.
        package var patches: [Int: Float] = [:]
    }

    /// Quantizes a band of rows, column by column, with error feedback.
    ///
    /// - Parameters:
    ///   - rowSteps: the step of each row.
    ///   - columnScales: the scale of each column.
    ///   - shrinkage: how strongly targets are shrunk toward zero.
    package static func feedback(
        _ weights: [Float], rows: Int, columns: Int, _ blocks: [FeedbackBlock], rowSteps: [Float],
        columnScales: [Float], _ parameters: TrellisParameters, _ format: FloatFormat, shrinkage: Float = 0
    ) -> FeedbackBand {
        let zeros = [Float](repeating: 0, count: rows * columns)
        var band = FeedbackBand(
            symbols: [Int](repeating: 0, count: rows * columns), restored: zeros, errors: zeros)
        for block in blocks {
            for column in block.columns {
                quantize(
                    column, block, weights, rows, columns, rowSteps, columnScales, parameters, format, shrinkage, &band)
            }
        }
        return band
    }

    private static func quantize(
        _ column: Int, _ block: FeedbackBlock, _ weights: [Float], _ rows: Int, _ columns: Int, _ rowSteps: [Float],
        _ columnScales: [Float], _ parameters: TrellisParameters, _ format: FloatFormat, _ shrinkage: Float,
        _ band: inout FeedbackBand
    ) {
        let largest = largestFinite(format)
        let outermost = Float(2 * parameters.greatestSymbol - 1)
        let place = column - block.columns.lowerBound
        var targets: [Float] = []
        var levels: [Float] = []
        for row in 0..<rows {
            var target = weights[row * columns + column]
            for earlier in 0..<place {
                let error = band.errors[row * columns + block.columns.lowerBound + earlier]
                target.addProduct(error, block.coupling[earlier * block.columns.count + place])
            }
            targets.append(target)
            levels.append(target * ((1 / rowSteps[row]) * (1 / columnScales[column])))
        }
        let shrink = feedbackShrink(levels, shrinkage)
        let sizes = levels.map { $0.magnitude * shrink }
        let positions = zip(levels, sizes).map { level, size in
            let position = Int(min(size, outermost) * 16384)
            return level.sign == .minus ? -position : position
        }
        let symbols = trellisPath(positions, states: parameters.states)
        for (row, state) in trellisStates(symbols, states: parameters.states).enumerated() {
            let index = row * columns + column
            let step = rowSteps[row] * columnScales[column]
            var restored = Float(2 * symbols[row] + state % 2) * step
            if sizes[row] > outermost || !(restored.magnitude <= largest) {
                let bounded = min(max(targets[row], -largest), largest)
                restored = expanded(narrowed(bounded, format), format)
                band.patches[index] = restored
            }
            band.symbols[index] = symbols[row]
            band.restored[index] = restored
            band.errors[index] = weights[index] - restored
        }
    }

    /// The factor of all positions of a column: m / (m + shrinkage), m the mean square of its levels.
    private static func feedbackShrink(_ levels: [Float], _ shrinkage: Float) -> Float {
        guard shrinkage > 0 else { return 1 }
        var lanes = [Float](repeating: 0, count: 16)
        for (row, level) in levels.enumerated() { lanes[row % 16] += level * level }
        for half in [8, 4, 2, 1] {
            for lane in 0..<half { lanes[lane] += lanes[lane + half] }
        }
        let mean = lanes[0] / Float(levels.count)
        return (mean + shrinkage).isFinite ? mean / (mean + shrinkage) : 1
    }

    // MARK: - The certificate

    /// The sum of x H x^T over the rows of a band, within one block of H.
    ///
    /// - Parameters:
    ///   - numbers: weights or errors, row by row.
    ///   - moments: all of H, row by row; only the upper triangle of the block is read.
    package static func activationSum(
        _ numbers: [Float], rows: Int, columns: Int, _ moments: [Float], block: Range<Int>
    ) -> Double {
        var lanes = [Double](repeating: 0, count: 16)
        for column in block {
            for row in 0..<rows {
                var product: Float = 0
                for earlier in block.lowerBound...column {
                    let moment = moments[earlier * columns + column]
                    product += numbers[row * columns + earlier] * (earlier == column ? moment : 2 * moment)
                }
                lanes[row % 16] += Double(product) * Double(numbers[row * columns + column])
            }
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..<half { lanes[lane] += lanes[lane + half] }
        }
        return lanes[0]
    }
}
