import Moments
import TensorModel
import TestSupport
import Testing

/// The Cholesky factor, and the choice of the shrinkage.
@Suite struct ShrinkageTests {
    /// A random symmetric positive definite matrix: `X^T X / rows` of `rows` random rows.
    private func moments(_ count: Int, rows: Int, _ generator: inout SeededGenerator) -> [Double] {
        var matrix = [Double](repeating: 0, count: count * count)
        for _ in 0..<rows {
            let row = (0..<count).map { _ in Double.random(in: -1...1, using: &generator) }
            for a in 0..<count { for b in 0..<count { matrix[a * count + b] += row[a] * row[b] / Double(rows) } }
        }
        return matrix
    }

    /// The inverse by Gauss and Jordan, and the logarithm of the determinant.
    private func naive(_ matrix: [Double], _ count: Int) -> (inverse: [Double], determinant: Double) {
        var left = matrix
        var right = (0..<count * count).map { $0 % (count + 1) == 0 ? 1.0 : 0.0 }
        var determinant = 1.0
        for pivot in 0..<count {
            let value = left[pivot * count + pivot]
            determinant *= value
            for column in 0..<count {
                left[pivot * count + column] /= value
                right[pivot * count + column] /= value
            }
            for row in 0..<count where row != pivot {
                let scale = left[row * count + pivot]
                for column in 0..<count {
                    left[row * count + column] -= scale * left[pivot * count + column]
                    right[row * count + column] -= scale * right[pivot * count + column]
                }
            }
        }
        return (right, determinant)
    }

    @Test(arguments: [1, 2, 3, 17, 40]) func factor(count: Int) throws {
        var generator = SeededGenerator(UInt64(count))
        let matrix = moments(count, rows: 2 * count + 1, &generator)
        let other = moments(count, rows: 3 * count, &generator)
        // Only the upper triangle is read.
        var upper = matrix
        for row in 0..<count { for column in 0..<row { upper[row * count + column] = .nan } }
        var half = other
        for row in 0..<count { for column in 0..<row { half[row * count + column] = .nan } }
        let cholesky = try #require(Cholesky(upper, count: count))
        for row in 0..<count {
            for column in 0..<count {
                var sum = 0.0
                for index in 0..<count {
                    sum += cholesky.factor[row * count + index] * cholesky.factor[column * count + index]
                }
                #expect(abs(sum - matrix[row * count + column]) < 1e-12)
            }
        }
        let (inverse, determinant) = naive(matrix, count)
        let product = cholesky.diagonal.reduce(1, *)
        #expect(abs(product * product / determinant - 1) < 1e-9)
        var trace = 0.0
        for row in 0..<count {
            for column in 0..<count { trace += inverse[row * count + column] * other[column * count + row] }
        }
        #expect(abs(cholesky.traceOfInverse(times: half) / trace - 1) < 1e-9)
    }

    @Test func noFactor() {
        #expect(Cholesky([0], count: 1) == nil)
        #expect(Cholesky([1, 2, 2, 1], count: 2) == nil)
        #expect(Cholesky([.nan], count: 1) == nil && Cholesky([.infinity], count: 1) == nil)
        #expect(Cholesky([], count: 0) != nil)
    }

    /// The score is log det + trace of the shrunk and damped matrix.
    @Test func score() throws {
        var generator = SeededGenerator(7)
        let (own, other) = (moments(5, rows: 9, &generator), moments(5, rows: 9, &generator))
        var shrunk = own
        let mean = (0..<5).reduce(0) { $0 + own[$1 * 6] } / 5
        for row in 0..<5 {
            for column in 0..<5 { shrunk[row * 5 + column] *= row == column ? 1 : 0.7 }
            shrunk[row * 6] += 0.01 * mean
        }
        let (inverse, determinant) = naive(shrunk, 5)
        var trace = 0.0
        for row in 0..<5 { for column in 0..<5 { trace += inverse[row * 5 + column] * other[column * 5 + row] } }
        let found = try #require(Shrinkage.score(own, other, 5, 0.3))
        // log of the determinant by its series is not needed: exp of the difference is.
        let logarithm = found - trace
        #expect(abs(ExactMath.exp2(logarithm * 1.4426950408889634) / determinant - 1) < 1e-9)
    }

    /// Halves of `tokens` tokens each, of columns that share a common part.
    private func halves(_ columns: Int, tokens: Int, common: Double, width: Int) -> ([HalfMoments], BlockLayout) {
        var generator = SeededGenerator(3)
        let blocks = MomentBlocks.width(width).layout(columns: columns)
        let halves = (0..<2).map { _ in
            var sums = [Float](repeating: 0, count: blocks.squareCount)
            for _ in 0..<tokens {
                let shared = Double.random(in: -1...1, using: &generator) * common
                let row = (0..<columns).map { _ in shared + Double.random(in: -1...1, using: &generator) }
                for block in 0..<blocks.count {
                    let range = blocks.columns(of: block)
                    for a in range {
                        for b in range where b >= a {
                            let place = (a - range.lowerBound) * range.count + b - range.lowerBound
                            sums[blocks.squareStart(of: block) + place] += Float(row[a] * row[b])
                        }
                    }
                }
            }
            return HalfMoments(tokens: UInt64(tokens), weight: Double(tokens), sums: sums)
        }
        return (halves, blocks)
    }

    /// Little text needs much shrinkage, much text little; unrelated columns need all of it.
    @Test func choices() {
        let little = halves(24, tokens: 30, common: 0.7, width: 24)
        let much = halves(24, tokens: 3000, common: 0.7, width: 24)
        let unrelated = halves(24, tokens: 60, common: 0, width: 24)
        #expect(Shrinkage.choose(much.0, much.1) <= 0.05)
        #expect(Shrinkage.choose(little.0, little.1) >= 0.2)
        #expect(Shrinkage.choose(unrelated.0, unrelated.1) == 1)
        let cut = halves(24, tokens: 3000, common: 0.7, width: 10)
        #expect(Shrinkage.candidates.contains(Shrinkage.choose(cut.0, cut.1)))
    }

    @Test func fallback() {
        let (halves, blocks) = halves(4, tokens: 10, common: 1, width: 4)
        #expect(Shrinkage.choose([halves[0]], blocks) == 0.2)
        let empty = HalfMoments(tokens: 0, weight: 0, sums: [Float](repeating: 0, count: 16))
        #expect(Shrinkage.choose([halves[0], empty], blocks) == 0.2)
        // Dead columns everywhere: no factor.
        let dead = HalfMoments(tokens: 5, weight: 5, sums: [Float](repeating: 0, count: 16))
        #expect(Shrinkage.choose([dead, dead], blocks) == 0.2)
    }

    @Test func subsets() {
        #expect(Shrinkage.spaced(5, at: 8) == [0, 1, 2, 3, 4])
        #expect(Shrinkage.spaced(9, at: 4) == [0, 3, 6])
        #expect(Shrinkage.spaced(512, at: 512).count == 512 && Shrinkage.spaced(513, at: 512).count == 257)
        // More columns than are looked at.
        let (wide, blocks) = halves(600, tokens: 3, common: 1, width: 600)
        #expect(Shrinkage.candidates.contains(Shrinkage.choose(wide, blocks)))
    }
}
