internal import Kernels
internal import TensorModel

/// How far activations of a linear input are from its usual ones: x^T H'^-1 x over the number of columns, with H' the shrunk and damped
/// moments that error feedback factors (Specs/trellis.md, "The factor"). The blocks of H' add up. The mean over the tokens that H was
/// measured on is about 1, or less if H is much damped.
package struct InputLeverage: Sendable {
    private var blocks: [(columns: Range<Int>, solver: MomentSolver)] = []
    /// Number of columns.
    package let columns: Int

    /// Buffers of a worker.
    package struct Workspace {
        fileprivate var rows: [Float] = [], solved: [Float] = []

        /// No buffers yet.
        package init() {}
    }

    /// Factors the moments of an input; the parameters are those of `FeedbackFactors`.
    ///
    /// - Returns: nil if the diagonal is zero, or the moments have no factor whatever the damping is.
    package init?(
        columns: Int, width: Int, diagonal: [Float], shrinkage: Double, triangle: (Int) throws -> [Float]
    ) rethrows {
        self.columns = columns
        let areFactored = try FactoredBlock.forEach(
            columns: columns, width: width, diagonal: diagonal, shrinkage: shrinkage, triangle: triangle
        ) { made in
            let solver = MomentSolver(factor: made.factor, count: made.columns.count, stride: made.stride)
            blocks.append((made.columns, solver))
            return true
        }
        guard areFactored else { return nil }
    }

    /// Bytes of the numbers of an input with blocks of `width` columns; and in all while it is made. 2^64 - 1 beyond any memory.
    package static func bytes(columns: Int, width: Int) -> (kept: UInt64, made: UInt64) {
        let side = UInt64(FactoredBlock.side(columns: columns, width: width))
        // Twice the numbers of R, and the inverse of its diagonal.
        let kept = Checked.multiply(UInt64(columns), 8 * side + 4)
        // A square and a triangle of moments, the factor in binary64, and couplings.
        let besides = Checked.multiply(side + 16, 20 * side)
        return (kept ?? .max, kept.flatMap { kept in besides.flatMap { Checked.add(kept, $0) } } ?? .max)
    }

    /// Bytes of a workspace for some tokens.
    package static func workspaceBytes(columns: Int, width: Int, tokens: Int) -> UInt64 {
        8 * UInt64(tokens + 16) * UInt64(FactoredBlock.side(columns: columns, width: width) + 1)
    }

    /// The leverage of each token, 0 or more.
    ///
    /// - Parameter rows: a row of `columns` numbers for each token.
    package func leverages(_ rows: Span<Float>, tokens: Int, _ workspace: inout Workspace) -> [Double] {
        precondition(rows.count >= tokens * columns, "InputLeverage: a row per token")
        let height = (tokens + 15) / 16 * 16
        var sums = [Double](repeating: 0, count: height)
        for (range, solver) in blocks {
            let count = height * range.count
            if workspace.rows.count < count { workspace.rows = [Float](repeating: 0, count: count) }
            // Behind the last token of a column stand zeros.
            for place in 0..<(height > tokens ? count : 0) { workspace.rows[place] = 0 }
            var target = workspace.rows.mutableSpan
            Kernels.transpose(rows, rows: tokens, width: columns, columns: range, into: &target, stride: height)
            workspace.solved = workspace.rows
            solver.solve(&workspace.solved, height: height)
            InputLeverage.addProducts(
                workspace.rows.span, workspace.solved.span, count: count, height: height, to: &sums)
        }
        return sums.prefix(tokens).map { max(0, $0 / Double(columns)) }
    }

    /// Adds the products of two matrices, element by element, to the sum of each row. Columns are `height` numbers long.
    private static func addProducts(
        _ a: Span<Float>, _ b: Span<Float>, count: Int, height: Int, to sums: inout [Double]
    ) {
        var target = sums.mutableSpan
        for first in stride(from: 0, to: count, by: height) {
            for row in 0..<height { target[row] += Double(a[first + row]) * Double(b[first + row]) }
        }
    }
}
