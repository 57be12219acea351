/// Cholesky factors in binary64, row by row, in an order that is always the same. For matrices of up to a few hundred columns.
package struct Cholesky {
    /// Rows and columns.
    package let count: Int
    /// The lower triangular factor `L` of the matrix `L L^T`, row by row; zeros above the diagonal.
    package let factor: [Double]

    /// Factors a symmetric matrix; nil if a pivot is not positive or not finite.
    ///
    /// - Parameter matrix: `count * count` numbers, row by row. Only the upper triangle is read.
    package init?(_ matrix: [Double], count: Int) {
        precondition(matrix.count == count * count)
        // The rows below the pivot's are updated whole, so that the inner loop runs over neighbours.
        var upper = matrix
        for pivot in 0..<count {
            let first = pivot * count
            let value = upper[first + pivot]
            guard value > 0, value.isFinite else { return nil }
            let root = value.squareRoot()
            for column in pivot..<count { upper[first + column] /= root }
            for row in pivot + 1..<count {
                let scale = upper[first + row]
                guard scale != 0 else { continue }
                Cholesky.subtract(&upper, from: row * count, first, scale, row..<count)
            }
        }
        var lower = [Double](repeating: 0, count: count * count)
        for row in 0..<count { for column in row..<count { lower[column * count + row] = upper[row * count + column] } }
        (self.count, factor) = (count, lower)
    }

    /// Subtracts `scale` times one row from another, in some columns.
    private static func subtract(
        _ matrix: inout [Double], from target: Int, _ source: Int, _ scale: Double, _ columns: Range<Int>
    ) {
        var numbers = matrix.mutableSpan
        for column in columns { numbers[target + column] -= scale * numbers[source + column] }
    }

    /// The diagonal of the factor: square roots of the pivots.
    package var diagonal: [Double] { (0..<count).map { factor[$0 * count + $0] } }

    /// The trace of the inverse of the factored matrix times a symmetric matrix.
    ///
    /// - Parameter matrix: `count * count` numbers, row by row. Only the upper triangle is read.
    package func traceOfInverse(times matrix: [Double]) -> Double {
        precondition(matrix.count == count * count)
        let inverse = self.inverse
        // The inverse of L L^T is V^T V with V the inverse of L: add up, over the rows v of V, v^T M v.
        var trace = 0.0
        var product = [Double](repeating: 0, count: count)
        for row in 0..<count {
            let start = row * count
            for column in 0...row { product[column] = 0 }
            for index in 0...row {
                let scale = inverse[start + index]
                // Half of the diagonal and the whole upper triangle; twice the sum below is the quadratic form.
                product[index] += 0.5 * scale * matrix[index * count + index]
                guard scale != 0, index < row else { continue }
                Cholesky.add(&product, matrix, index * count, scale, index + 1...row)
            }
            var form = 0.0
            for column in 0...row { form += product[column] * inverse[start + column] }
            trace += 2 * form
        }
        return trace
    }

    private static func add(
        _ target: inout [Double], _ matrix: [Double], _ source: Int, _ scale: Double, _ columns: ClosedRange<Int>
    ) {
        var sums = target.mutableSpan
        let numbers = matrix.span
        for column in columns { sums[column] += scale * numbers[source + column] }
    }

    /// The inverse of the factor, lower triangular, row by row.
    private var inverse: [Double] {
        var inverse = [Double](repeating: 0, count: count * count)
        for row in 0..<count {
            inverse[row * count + row] = 1
            for index in 0..<row {
                Cholesky.subtract(
                    &inverse, from: row * count, index * count, factor[row * count + index], 0..<index + 1)
            }
            let pivot = factor[row * count + row]
            for column in 0...row { inverse[row * count + column] /= pivot }
        }
        return inverse
    }
}
