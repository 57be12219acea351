internal import Kernels

/// A diagonal block of the moments of a linear input, shrunk and damped, and its factor (Specs/trellis.md, "The factor").
struct FactoredBlock {
    /// Its columns.
    let columns: Range<Int>
    /// The moments as they are stored: the upper triangle, and 0 below; row by row.
    let square: [Float]
    /// R with R R^T = H': row j has R_ij for i up to j. Rows are `stride` numbers apart.
    let factor: [Double]
    let stride: Int
    /// R_ij / R_jj for i < j, and 0 elsewhere: row i, then column j. All are finite.
    let coupling: [Float]
    /// How many times the damping had to be doubled.
    let doublings: Int

    /// The damping is this share of the mean of the diagonal.
    private static let damping = 0.01
    /// Blocks of fewer columns are put together, up to this many columns.
    private static let leastColumns = 64
    /// The damping is doubled at most this many times.
    private static let maximumDoublings = 40

    /// Blocks of the moments that are factored together.
    private static func together(width: Int) -> Int { width >= leastColumns ? 1 : leastColumns / width }

    /// Columns of the widest block that is factored.
    static func side(columns: Int, width: Int) -> Int { min(columns, together(width: width) * width) }

    /// Factors the moments of an input, block by block from left to right.
    ///
    /// - Parameters:
    ///   - columns: columns of the input.
    ///   - width: columns of a block of the moments; the last may be narrower.
    ///   - diagonal: the diagonal of the moments, 0 or more, finite.
    ///   - shrinkage: products of different columns are multiplied by 1 minus this, 0 to 1.
    ///   - triangle: the upper triangle of a block, by its number: `n` numbers of row 0, `n - 1` of row 1, down to 1.
    ///   - take: receives the blocks; false ends the work.
    /// - Returns: false if the diagonal is zero, a block has no factor whatever the damping is, or `take` ended the work.
    static func forEach(
        columns: Int, width: Int, diagonal: [Float], shrinkage: Double, triangle: (Int) throws -> [Float],
        take: (FactoredBlock) -> Bool
    ) rethrows -> Bool {
        precondition(columns > 0 && width > 0 && diagonal.count == columns, "FactoredBlock: sizes differ")
        let mean = diagonal.reduce(0.0) { $0 + Double($1) } / Double(columns)
        guard mean > 0, mean.isFinite else { return false }
        let together = together(width: width)
        var block = 0
        while block * width < columns {
            let range = block * width..<min(columns, (block + together) * width)
            let count = range.count
            var square = [Float](repeating: 0, count: count * count)
            for part in block..<block + together where part * width < columns {
                let first = part * width - range.lowerBound
                let size = min(width, columns - part * width)
                let numbers = width == 1 ? [diagonal[part]] : try triangle(part)
                precondition(numbers.count == size * (size + 1) / 2, "FactoredBlock: a triangle of another size")
                var place = 0
                for row in first..<first + size {
                    for column in row..<first + size {
                        square[row * count + column] = numbers[place]
                        place += 1
                    }
                }
            }
            guard let made = FactoredBlock(square, range, mean, shrinkage), take(made) else { return false }
            block += together
        }
        return true
    }

    /// Factors one block. Nil if there is no factor.
    private init?(_ square: [Float], _ range: Range<Int>, _ mean: Double, _ shrinkage: Double) {
        let count = range.count
        // One vector more than needed: rows a power of two apart would share a set of the cache.
        let stride = (count + 15) / 8 * 8
        for doublings in 0...FactoredBlock.maximumDoublings {
            var matrix = [Double](repeating: 0, count: count * stride)
            let damping = mean * FactoredBlock.damping * Double(sign: .plus, exponent: doublings, significand: 1)
            FactoredBlock.fill(&matrix, square, count, stride, 1 - shrinkage, damping)
            var span = matrix.mutableSpan
            guard Kernels.upperFactor(&span, count: count, stride: stride) else { continue }
            var coupling = [Float](repeating: 0, count: count * count)
            FactoredBlock.divide(matrix, count, stride, into: &coupling)
            guard coupling.allSatisfy(\.isFinite) else { continue }
            (columns, self.square, factor, self.stride) = (range, square, matrix, stride)
            (self.coupling, self.doublings) = (coupling, doublings)
            return
        }
        return nil
    }

    /// Squares of this many rows and columns are transposed at a time, so that their lines stay in the first-level cache.
    private static let tile = 16

    /// Row j receives A[i][j] for i up to j: shrunk off the diagonal, damped on it.
    private static func fill(
        _ matrix: inout [Double], _ square: [Float], _ count: Int, _ stride: Int, _ kept: Double, _ damping: Double
    ) {
        forEachTile(count) { rows, columns in
            for column in columns {
                for row in rows where row < column {
                    matrix[column * stride + row] = Double(square[row * count + column]) * kept
                }
            }
        }
        for row in 0..<count { matrix[row * stride + row] = Double(square[row * count + row]) + damping }
    }

    /// R_ij / R_jj, row by row.
    private static func divide(_ matrix: [Double], _ count: Int, _ stride: Int, into coupling: inout [Float]) {
        forEachTile(count) { rows, columns in
            for column in columns {
                let pivot = matrix[column * stride + column]
                for row in rows where row < column {
                    coupling[row * count + column] = Float(matrix[column * stride + row] / pivot)
                }
            }
        }
    }

    /// The tiles that have elements above the diagonal.
    private static func forEachTile(_ count: Int, _ work: (Range<Int>, Range<Int>) -> Void) {
        for row in Swift.stride(from: 0, to: count, by: tile) {
            let rows = row..<min(row + tile, count)
            for column in Swift.stride(from: row, to: count, by: tile) {
                work(rows, column..<min(column + tile, count))
            }
        }
    }
}
