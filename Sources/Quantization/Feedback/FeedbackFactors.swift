internal import Kernels
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

    /// The damping is this share of the mean of the diagonal.
    private static let damping = 0.01
    /// Blocks of fewer columns are put together, up to this many columns.
    private static let leastColumns = 64
    /// The damping is doubled at most this many times.
    private static let maximumDoublings = 40

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
        precondition(columns > 0 && width > 0 && diagonal.count == columns, "FeedbackFactors: sizes differ")
        let mean = diagonal.reduce(0.0) { $0 + Double($1) } / Double(columns)
        guard mean > 0, mean.isFinite else { return nil }
        let together = width >= FeedbackFactors.leastColumns ? 1 : FeedbackFactors.leastColumns / width
        var block = 0
        while block * width < columns {
            let range = block * width..<min(columns, (block + together) * width)
            let count = range.count
            var square = [Float](repeating: 0, count: count * count)
            for part in block..<block + together where part * width < columns {
                let first = part * width - range.lowerBound
                let size = min(width, columns - part * width)
                let numbers = width == 1 ? [diagonal[part]] : try triangle(part)
                precondition(numbers.count == size * (size + 1) / 2, "FeedbackFactors: a triangle of another size")
                var place = 0
                for row in first..<first + size {
                    for column in row..<first + size {
                        square[row * count + column] = numbers[place]
                        place += 1
                    }
                }
            }
            guard let (made, logarithms, doubled) = FeedbackFactors.factor(square, range, mean, shrinkage) else {
                return nil
            }
            blocks.append(made)
            octaves += logarithms
            doublings += doubled
            block += together
        }
    }

    /// Factors one block. Nil if there is no factor.
    private static func factor(
        _ square: [Float], _ range: Range<Int>, _ mean: Double, _ shrinkage: Double
    ) -> (block: Block, octaves: [Double], doublings: Int)? {
        let count = range.count
        let stride = (count + 7) / 8 * 8
        for doublings in 0...maximumDoublings {
            var matrix = [Double](repeating: 0, count: count * stride)
            let damping = mean * FeedbackFactors.damping * Double(sign: .plus, exponent: doublings, significand: 1)
            fill(&matrix, square, count, stride, 1 - shrinkage, damping)
            var span = matrix.mutableSpan
            guard Kernels.upperFactor(&span, count: count, stride: stride) else { continue }
            var coupling = [Float](repeating: 0, count: count * count)
            divide(matrix, count, stride, into: &coupling)
            guard coupling.allSatisfy(\.isFinite) else { continue }
            let octaves = (0..<count).map { -ExactMath.log2(matrix[$0 * stride + $0]) }
            var form = square
            for row in 0..<count {
                for column in row + 1..<max(count, row + 1) { form[row * count + column] *= 2 }
            }
            guard form.allSatisfy(\.isFinite) else { return nil }
            return (Block(columns: range, coupling: coupling, form: form), octaves, doublings)
        }
        return nil
    }

    /// Row j receives A[i][j] for i up to j: shrunk off the diagonal, damped on it.
    private static func fill(
        _ matrix: inout [Double], _ square: [Float], _ count: Int, _ stride: Int, _ kept: Double, _ damping: Double
    ) {
        for row in 0..<count {
            for column in row..<count {
                let number = Double(square[row * count + column])
                matrix[column * stride + row] = row == column ? number + damping : number * kept
            }
        }
    }

    /// R_ij / R_jj, row by row.
    private static func divide(_ matrix: [Double], _ count: Int, _ stride: Int, into coupling: inout [Float]) {
        for column in 0..<count {
            let pivot = matrix[column * stride + column]
            for row in 0..<column {
                coupling[row * count + column] = Float(matrix[column * stride + row] / pivot)
            }
        }
    }

    /// The mean of the columns' logarithms, rounded to 1/8 octave. It has byte 128.
    package var middle: Double { (octaves.reduce(0, +) / Double(octaves.count) * 8).rounded() / 8 }

    /// The scale bytes of the columns.
    package var columnBytes: [UInt8] {
        let middle = middle
        return octaves.map { ScaleBytes.byte(octaves: $0 - middle) }
    }
}
