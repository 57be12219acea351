internal import TensorModel

/// What error feedback needs of a linear input: the triangular factor of its shrunk and damped moments, block by block, and the scales of
/// its columns (Specs/trellis.md, "Error feedback").
package struct FeedbackFactors: Sendable {
    /// A diagonal block of the moments.
    package struct Block: Sendable {
        /// Its columns.
        package let columns: Range<Int>
        /// How much column j takes of the error of column i, R_ij / R_jj, for i < j, and 0 elsewhere: row i, then column j.
        let coupling: [Float]
        /// R_jj of each column.
        let pivots: [Float]
        /// The moments as they are stored: the upper triangle, with all but the diagonal doubled, and 0 below: row i, then column j.
        let form: [Float]
    }

    /// The blocks, from left to right.
    package private(set) var blocks: [Block] = []
    /// Of each column, -log2(R_jj): the logarithm of the step that it should have beside the others.
    package private(set) var octaves: [Double] = []
    /// How many times the damping had to be doubled, over all blocks.
    package private(set) var doublings = 0

    /// Number of columns.
    package var columns: Int { octaves.count }
    /// Bytes of the numbers of all blocks.
    package var byteCount: Int { blocks.reduce(0) { $0 + 8 * $1.columns.count * $1.columns.count } }

    /// Factors the moments of an input.
    ///
    /// - Parameters:
    ///   - columns: columns of the input.
    ///   - width: columns of a block of the moments; the last may be narrower.
    ///   - diagonal: the diagonal of the moments, 0 or more, finite.
    ///   - shrinkage: products of different columns are multiplied by 1 minus this, 0 to 1.
    ///   - triangle: the upper triangle of a block, by its number: `n` numbers of row 0, `n - 1` of row 1, down to 1.
    /// - Returns: nil if the diagonal is zero, or the moments have no factor whatever the damping is.
    package init?(
        columns: Int, width: Int, diagonal: [Float], shrinkage: Double, triangle: (Int) throws -> [Float]
    ) rethrows {
        let areFactored = try FactoredBlock.forEach(
            columns: columns, width: width, diagonal: diagonal, shrinkage: shrinkage, triangle: triangle
        ) { made in
            let count = made.columns.count
            var form = made.square
            for row in 0..<count {
                for column in row + 1..<max(count, row + 1) { form[row * count + column] *= 2 }
            }
            guard form.allSatisfy(\.isFinite) else { return false }
            let pivots = (0..<count).map { Float(made.factor[$0 * made.stride + $0]) }
            blocks.append(Block(columns: made.columns, coupling: made.coupling, pivots: pivots, form: form))
            octaves += (0..<count).map { -ExactMath.log2(made.factor[$0 * made.stride + $0]) }
            doublings += made.doublings
            return true
        }
        guard areFactored else { return nil }
    }

    /// The mean of the columns' logarithms, rounded to 1/8 octave. It has byte 128.
    package var middle: Double { (octaves.reduce(0, +) / Double(octaves.count) * 8).rounded() / 8 }

    /// The scale bytes of the columns.
    package var columnBytes: [UInt8] {
        let middle = middle
        return octaves.map { ScaleBytes.byte(octaves: $0 - middle) }
    }
}
