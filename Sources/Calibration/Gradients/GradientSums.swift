import Architectures
import Products

/// Sums of squares of gradients at the outputs of matrices, weighted by the tokens they are of.
struct GradientSums {
    private var sums: [LinearMatrix: (squares: [Double], weight: Double)] = [:]

    /// No sums yet.
    init() {}

    /// Adds the gradients of some tokens.
    ///
    /// - Parameters:
    ///   - matrix: nil adds nothing.
    ///   - gradients: a row per token that reached the matrix, a column per output.
    ///   - weights: the weight of each token.
    mutating func add(_ matrix: LinearMatrix?, _ gradients: TokenStates, _ weights: [Double]) {
        guard let matrix else { return }
        let width = gradients.width
        var squares = sums.removeValue(forKey: matrix) ?? ([Double](repeating: 0, count: width), 0)
        var target = squares.squares.mutableSpan
        for (token, weight) in weights.enumerated() {
            Elementwise.addSquares(
                gradients.values.span, from: token * width, count: width, weight: weight, to: &target, at: 0)
        }
        squares.weight += weights.reduce(0, +)
        sums[matrix] = squares
    }

    /// Adds sums that were made elsewhere.
    ///
    /// - Parameter weight: the weight of the tokens they are of.
    mutating func add(_ matrix: LinearMatrix, squares: [Double], weight: Double) {
        var old = sums.removeValue(forKey: matrix) ?? ([Double](repeating: 0, count: squares.count), 0)
        for row in squares.indices { old.squares[row] += squares[row] }
        old.weight += weight
        sums[matrix] = old
    }

    /// The mean squares of a matrix; zeros if no token reached it.
    func means(of matrix: LinearMatrix, rows: Int) -> [Float] {
        guard let sum = sums[matrix], sum.weight > 0 else { return [Float](repeating: 0, count: rows) }
        return sum.squares.map { Float($0 / sum.weight) }
    }
}
