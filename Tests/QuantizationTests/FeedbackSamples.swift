import Quantization
import TensorModel

/// Second moments of an input, in a full matrix, with zeros outside of the blocks.
struct MomentsSample {
    let columns: Int, width: Int, shrinkage: Double
    var matrix: [Float]

    /// Moments of random activations, whose columns have unlike scales and correlate.
    ///
    /// - Parameter tokens: fewer than columns give a singular matrix.
    init(columns: Int, width: Int, tokens: Int, shrinkage: Double, seed: UInt64, zeroColumns: Bool = false) {
        (self.columns, self.width, self.shrinkage) = (columns, width, shrinkage)
        var generator = SeededGenerator(seed: seed)
        let scales = (0..<columns).map { index -> Float in
            if zeroColumns, index % 5 == 2 { return 0 }
            let size: Float = index % 11 == 0 ? 9 : 0.25
            return Float(1 + index % 7) * size
        }
        var sums = [Double](repeating: 0, count: columns * columns)
        for _ in 0..<tokens {
            let common = generator.roughlyNormal()
            let x = scales.map { Double($0 * (generator.roughlyNormal() + common)) }
            for row in 0..<columns {
                for column in row..<columns where row / width == column / width {
                    sums[row * columns + column] += x[row] * x[column]
                }
            }
        }
        matrix = sums.map { Float($0 / Double(tokens)) }
    }

    /// Moments by a formula of row and column, for rows up to columns.
    init(columns: Int, width: Int, shrinkage: Double = 0, _ number: (Int, Int) -> Float) {
        (self.columns, self.width, self.shrinkage) = (columns, width, shrinkage)
        matrix = [Float](repeating: 0, count: columns * columns)
        for row in 0..<columns {
            for column in row..<columns where row / width == column / width {
                matrix[row * columns + column] = number(row, column)
            }
        }
    }

    /// The factors under test.
    var factors: FeedbackFactors? {
        FeedbackFactors(
            columns: columns, width: width, diagonal: (0..<columns).map { matrix[$0 * columns + $0] },
            shrinkage: shrinkage
        ) { part in
            let range = part * width..<min(columns, (part + 1) * width)
            return range.flatMap { row in (row..<range.upperBound).map { matrix[row * columns + $0] } }
        }
    }

    /// Those of the reference.
    var reference: [Reference.FeedbackBlock]? {
        Reference.feedbackBlocks(matrix, columns: columns, width: width, shrinkage: shrinkage)
    }
}

/// A band of weights with the steps of its rows and columns.
struct BandSample {
    var what: String
    var weights: [Float]
    let rows: Int, columns: Int
    let steps: ChunkSteps

    /// Weights of a pattern; the step is that part of their root mean square. Columns have scales around 1, and so have rows if asked for.
    init(
        _ pattern: Pattern, _ format: FloatFormat, _ rows: Int, _ columns: Int, part: Double, rowBytes: Bool,
        reach: Int = 20, seed: UInt64
    ) {
        what = "\(pattern), \(format), seed \(seed), \(rows) x \(columns), step \(part) rms, row bytes \(rowBytes)"
        weights = pattern.weights(rows * columns, format, seed: seed)
        (self.rows, self.columns) = (rows, columns)
        let square = weights.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(weights.count)
        let step = TrellisRule.representable(square == 0 ? 1 : square.squareRoot() * part)
        var generator = SeededGenerator(seed: seed + 77)
        func bytes(_ count: Int) -> [UInt8] {
            (0..<count).map { _ in UInt8(128 - reach + Int(generator.next() % UInt64(2 * reach))) }
        }
        steps = ChunkSteps(step: step, rowCount: rows, rows: rowBytes ? bytes(rows) : [], columns: bytes(columns))
    }

    /// What the reference makes of it.
    func expected(
        _ blocks: [Reference.FeedbackBlock], _ parameters: TrellisParameters, _ format: FloatFormat,
        shrinkage: Float = 0
    ) -> Reference.FeedbackBand {
        Reference.feedback(
            weights, rows: rows, columns: columns, blocks, rowSteps: steps.rowSteps, columnScales: steps.columnScales,
            parameters, format, shrinkage: shrinkage)
    }

    /// The elements of some columns, row by row.
    func part<Element>(_ all: [Element], _ range: Range<Int>) -> [Element] {
        (0..<rows).flatMap { row in range.map { all[row * columns + $0] } }
    }
}
