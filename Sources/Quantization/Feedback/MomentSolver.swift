internal import Kernels

/// A factored matrix R R^T, ready to be divided by in binary32.
struct MomentSolver: Sendable {
    /// -R[j][k] and -R[k][j] at `k * count + j`, and 1 / R[j][j] (`Kernels.solve`).
    private let lower: [Float], upper: [Float], inverse: [Float]

    /// Rows and columns of the matrix.
    var count: Int { inverse.count }

    /// Takes a factor of `Kernels.upperFactor`: row j has R[i][j] for i up to j; rows are `stride` numbers apart.
    init(factor: [Double], count: Int, stride: Int) {
        var lower = [Float](repeating: 0, count: count * count)
        var upper = lower
        var inverse = [Float](repeating: 0, count: count)
        for k in 0..<count {
            inverse[k] = Float(1 / factor[k * stride + k])
            for j in 0..<k {
                let number = -Float(factor[k * stride + j])
                lower[k * count + j] = number
                upper[j * count + k] = number
            }
        }
        (self.lower, self.upper, self.inverse) = (lower, upper, inverse)
    }

    /// Replaces X by X (R R^T)^-1.
    ///
    /// - Parameters:
    ///   - values: X, column by column.
    ///   - height: columns are this many numbers apart, a multiple of 16.
    func solve(_ values: inout [Float], height: Int) {
        var target = values.mutableSpan
        Kernels.solve(&target, stride: height, lower: lower.span, upper: upper.span, inverse: inverse.span)
    }
}
