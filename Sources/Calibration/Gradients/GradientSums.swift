import Architectures
import Products

/// Sums of squares of gradients at the outputs of matrices, weighted by the tokens they are of.
struct GradientSums {
    /// The sums of a matrix: for each row that of the squares, and that of the squares times the leverage of their token; and of the weights.
    struct Sum {
        /// Sums, a number per row.
        var squares: [Double], leveraged: [Double]
        /// The weight of the tokens.
        var weight = 0.0

        /// Zeros.
        init(rows: Int) {
            squares = [Double](repeating: 0, count: rows)
            leveraged = squares
        }
    }

    private var sums: [LinearMatrix: Sum] = [:]

    /// No sums yet.
    init() {}

    /// Adds the gradients of some tokens.
    ///
    /// - Parameters:
    ///   - matrix: nil adds nothing.
    ///   - gradients: a row per token that reached the matrix, a column per output.
    ///   - weights: the weight of each token.
    ///   - leverages: the leverage of each token at the input of the matrix.
    mutating func add(
        _ matrix: LinearMatrix?, _ gradients: TokenStates, _ weights: [Double], _ leverages: [Double]
    ) {
        guard let matrix else { return }
        let width = gradients.width
        var sum = sums.removeValue(forKey: matrix) ?? Sum(rows: width)
        for (token, weight) in weights.enumerated() {
            GradientSums.add(
                gradients.values.span, from: token * width, count: width, weight, leverages[token], to: &sum, at: 0)
            sum.weight += weight
        }
        sums[matrix] = sum
    }

    /// Adds the gradients of one token at some rows.
    static func add(
        _ gradients: Span<Float>, from: Int, count: Int, _ weight: Double, _ leverage: Double, to sum: inout Sum,
        at row: Int
    ) {
        var squares = sum.squares.mutableSpan
        Elementwise.addSquares(gradients, from: from, count: count, weight: weight, to: &squares, at: row)
        var leveraged = sum.leveraged.mutableSpan
        Elementwise.addSquares(
            gradients, from: from, count: count, weight: weight * leverage, to: &leveraged, at: row)
    }

    /// Adds sums that were made elsewhere.
    mutating func add(_ matrix: LinearMatrix, _ other: Sum) {
        var sum = sums.removeValue(forKey: matrix) ?? Sum(rows: other.squares.count)
        sum.add(other)
        sums[matrix] = sum
    }

    /// The mean squares of a matrix; zeros if no token reached it.
    func means(of matrix: LinearMatrix, rows: Int) -> [Float] {
        guard let sum = sums[matrix], sum.weight > 0 else { return [Float](repeating: 0, count: rows) }
        return sum.squares.map { Float($0 / sum.weight) }
    }

    /// The sensitivity of a matrix: the mean of its squares times leverages over tokens and rows; 0 if no token reached it.
    func sensitivity(of matrix: LinearMatrix) -> Double {
        guard let sum = sums[matrix], sum.weight > 0 else { return 0 }
        return sum.leveraged.reduce(0, +) / Double(sum.leveraged.count) / sum.weight
    }
}

extension GradientSums.Sum {
    /// Adds other sums of the same matrix.
    mutating func add(_ other: GradientSums.Sum) {
        for row in squares.indices {
            squares[row] += other.squares[row]
            leveraged[row] += other.leveraged[row]
        }
        weight += other.weight
    }
}
