internal import Kernels
internal import TensorModel

/// The matrix M = E (H + .1 mean(diag H) I)^-1 of a block, in 8 bits with a scale per row (Specs/moments.md, "Corrections").
package struct CorrectionMatrix: Sendable, Hashable {
    /// Rows and columns.
    package let count: Int
    /// The codes, row by row. M_ij is `scales[i] * codes[i * count + j]`.
    package let codes: [Int8]
    /// A scale per row, 0 or more.
    package let scales: [Float]

    /// A matrix of its parts.
    package init(count: Int, codes: [Int8], scales: [Float]) {
        precondition(codes.count == count * count && scales.count == count, "CorrectionMatrix: sizes differ")
        (self.count, self.codes, self.scales) = (count, codes, scales)
    }

    /// H is damped by this share of the mean of its diagonal.
    private static let damping = 0.1

    /// Solves for M.
    ///
    /// - Parameters:
    ///   - moments: H, of which the upper triangle is read: row by row, `count` numbers a row.
    ///   - products: E, row by row: E_ij is the mean of (y_i - x_i) y_j, with x the activations of the original and y those of the quantized
    ///     model.
    ///   - meanDiagonal: the mean of the diagonal of all blocks of H.
    /// - Returns: nil if H is zero, or has no factor.
    package init?(moments: [Float], products: [Float], count: Int, meanDiagonal: Double) {
        precondition(
            moments.count == count * count && products.count == count * count, "CorrectionMatrix: sizes differ")
        guard meanDiagonal > 0, meanDiagonal.isFinite else { return nil }
        let stride = (count + 7) / 8 * 8
        var matrix = [Double](repeating: 0, count: count * stride)
        for row in 0..<count {
            for column in row..<count {
                let number = Double(moments[row * count + column])
                matrix[column * stride + row] =
                    row == column ? number + CorrectionMatrix.damping * meanDiagonal : number
            }
        }
        var factor = matrix.mutableSpan
        guard Kernels.upperFactor(&factor, count: count, stride: stride) else { return nil }
        let height = (count + 15) / 16 * 16
        var values = [Float](repeating: 0, count: height * count)
        for row in 0..<count {
            for column in 0..<count { values[column * height + row] = products[row * count + column] }
        }
        MomentSolver(factor: matrix, count: count, stride: stride).solve(&values, height: height)
        guard values.allSatisfy(\.isFinite) else { return nil }
        self.init(rounding: values, count: count, height: height)
    }

    /// Rounds a matrix, column by column with columns `height` numbers apart, to 8 bits.
    private init(rounding values: [Float], count: Int, height: Int) {
        var codes = [Int8](repeating: 0, count: count * count)
        var scales = [Float](repeating: 0, count: count)
        for row in 0..<count {
            var largest: Float = 0
            for column in 0..<count { largest = max(largest, values[column * height + row].magnitude) }
            guard largest >= .leastNormalMagnitude else { continue }
            scales[row] = largest / 127
            for column in 0..<count {
                let code = (values[column * height + row] / scales[row]).rounded(.toNearestOrEven)
                codes[row * count + column] = Int8(max(-127, min(127, code)))
            }
        }
        self.init(count: count, codes: codes, scales: scales)
    }
}
