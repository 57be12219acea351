internal import TensorModel

/// Chooses the shrinkage of an input: the share by which products of different columns are made smaller, because a text of finite length
/// states them too large.
///
/// The quantizer uses `H(s) = H with off-diagonals times (1 - s), plus .01 of the mean of its diagonal`. A good `s` makes the matrix of one
/// half of the text describe the other half. The measure is minus twice the Gaussian log-likelihood per token, up to a constant:
///
///     log det H_a(s) + tr(H_a(s)^-1 H_b)
///
/// It is added up over both directions and the blocks that are looked at; the candidate with the smallest sum is chosen, the larger one of
/// two that are equal.
///
/// Of a block with more than `maximumColumns` columns, evenly spaced columns are taken, and of more than `maximumBlocks` blocks, evenly
/// spaced blocks, so that the choice stays cheap. Fewer columns need less shrinkage than all of them would at the same number of tokens:
/// the choice errs to the small side for wide inputs with little text.
package enum Shrinkage {
    /// The candidates, in the order they are tried.
    package static let candidates: [Double] = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 1]
    /// The shrinkage where none can be chosen: with one half alone, with a half without tokens, or if no candidate has a Cholesky factor.
    package static let fallback = 0.2
    /// Damping of the quantizer: this share of the mean of the diagonal is added to the diagonal.
    package static let damping = 0.01
    /// Columns of a block that are looked at.
    package static let maximumColumns = 512
    /// Blocks that are looked at.
    package static let maximumBlocks = 4

    /// The shrinkage of an input from its halves.
    package static func choose(_ halves: [HalfMoments], _ blocks: BlockLayout) -> Double {
        guard halves.count == 2, halves.allSatisfy({ $0.weight > 0 }) else { return fallback }
        var scores = [Double?](repeating: 0, count: candidates.count)
        for block in spaced(blocks.count, at: maximumBlocks) {
            let width = blocks.columns(of: block).count
            let columns = spaced(width, at: maximumColumns)
            let parts = halves.map { part(of: $0, blocks.squareStart(of: block), width, columns) }
            for (index, candidate) in candidates.enumerated() {
                guard let sum = scores[index], let first = score(parts[0], parts[1], columns.count, candidate),
                    let second = score(parts[1], parts[0], columns.count, candidate)
                else {
                    scores[index] = nil
                    continue
                }
                scores[index] = sum + first + second
            }
        }
        var best: (score: Double, shrinkage: Double)?
        for (score, candidate) in zip(scores, candidates) {
            if let score, score <= best?.score ?? .infinity { best = (score, candidate) }
        }
        return best?.shrinkage ?? fallback
    }

    /// Numbers of `0..<count`, as many as `most` at most, with one distance.
    package static func spaced(_ count: Int, at most: Int) -> [Int] {
        Array(stride(from: 0, to: count, by: ceilingDivide(count, most)))
    }

    /// Some columns of a block, as moments: a square, row by row, of which the upper triangle is filled.
    private static func part(of half: HalfMoments, _ start: Int, _ width: Int, _ columns: [Int]) -> [Double] {
        var part = [Double](repeating: 0, count: columns.count * columns.count)
        let sums = half.sums
        for (row, from) in columns.enumerated() {
            for index in row..<columns.count {
                part[row * columns.count + index] = Double(sums[start + from * width + columns[index]]) / half.weight
            }
        }
        return part
    }

    /// The moments that the quantizer takes: off-diagonals times `1 - shrinkage`, and damping. Upper triangle alone.
    static func shrunk(_ moments: [Double], _ count: Int, _ shrinkage: Double) -> [Double] {
        var shrunk = moments
        var trace = 0.0
        for row in 0..<count { trace += moments[row * count + row] }
        for row in 0..<count {
            shrunk[row * count + row] += damping * trace / Double(count)
            for column in row + 1..<max(row + 1, count) { shrunk[row * count + column] *= 1 - shrinkage }
        }
        return shrunk
    }

    /// The score of one half's moments on the other's; nil if they have no Cholesky factor.
    package static func score(_ own: [Double], _ other: [Double], _ count: Int, _ shrinkage: Double) -> Double? {
        guard let cholesky = Cholesky(shrunk(own, count, shrinkage), count: count) else { return nil }
        let determinant = cholesky.diagonal.reduce(0) { $0 + 2 * ExactMath.log2($1) } * 0.6931471805599453
        let score = determinant + cholesky.traceOfInverse(times: other)
        return score.isFinite ? score : nil
    }
}
