import Quantization
import Testing

/// Leverages of tokens against an elimination in binary64.
@Suite struct InputLeverageTests {
    /// x^T A^-1 x, by Gaussian elimination of a positive definite matrix.
    private func form(_ matrix: [[Double]], _ x: [Double]) -> Double {
        var (a, b) = (matrix, x)
        for pivot in a.indices {
            for row in pivot + 1..<max(a.count, pivot + 1) {
                let factor = a[row][pivot] / a[pivot][pivot]
                for column in pivot..<a.count { a[row][column] -= factor * a[pivot][column] }
                b[row] -= factor * b[pivot]
            }
        }
        // With L D L^T = A and b = L^-1 x, the form is b^T D^-1 b.
        return a.indices.reduce(0) { $0 + b[$1] * b[$1] / a[$1][$1] }
    }

    @Test(arguments: [(9, 9, 0.1), (70, 30, 0.05), (70, 1, 0.0), (130, 64, 0.5), (17, 4, 1.0)])
    func againstElimination(columns: Int, width: Int, shrinkage: Double) throws {
        var generator = SeededGenerator(seed: UInt64(columns + width))
        let tokens = 37
        let rows = (0..<tokens).map { _ in
            (0..<columns).map { column in Float.random(in: -1...1, using: &generator) * Float(column % 7 + 1) }
        }
        let moments = (0..<columns).map { a in
            (0..<columns).map { b in
                Float(rows.reduce(0.0) { $0 + Double($1[a]) * Double($1[b]) } / Double(tokens))
            }
        }
        let diagonal = moments.indices.map { moments[$0][$0] }
        let blocks = stride(from: 0, to: columns, by: width).map { $0..<min(columns, $0 + width) }
        let leverage = try #require(
            InputLeverage(columns: columns, width: width, diagonal: diagonal, shrinkage: shrinkage) { number in
                blocks[number].flatMap { row in (row..<blocks[number].upperBound).map { moments[row][$0] } }
            })
        var workspace = InputLeverage.Workspace()
        let damping = 0.01 * diagonal.reduce(0.0) { $0 + Double($1) } / Double(columns)
        // Fewer tokens than before use the same buffers.
        for count in [tokens, 5] {
            let numbers = Array(rows.prefix(count).joined())
            let found = leverage.leverages(numbers.span, tokens: count, &workspace)
            #expect(found.count == count)
            for (token, value) in found.enumerated() {
                let sum = blocks.reduce(0.0) { sum, block in
                    let matrix = block.map { a in
                        block.map { b in
                            a == b ? Double(moments[a][a]) + damping : Double(moments[a][b]) * (1 - shrinkage)
                        }
                    }
                    return sum + form(matrix, block.map { Double(rows[token][$0]) })
                }
                #expect(abs(value - sum / Double(columns)) < 1e-4 * value, "\(token)")
            }
        }
    }

    @Test func withoutFactor() {
        let none = InputLeverage(columns: 3, width: 3, diagonal: [0, 0, 0], shrinkage: 0) { _ in
            [Float](repeating: 0, count: 6)
        }
        #expect(none == nil)
    }
}
