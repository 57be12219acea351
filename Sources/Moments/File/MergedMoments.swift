import TensorModel

/// The moments of all halves together, from their sums.
struct MergedMoments {
    private let halves: [HalfMoments]
    private let blocks: BlockLayout
    private let weight: Double

    /// Checks the sums.
    ///
    /// - Throws: `momentsInvalid` if a sum is not finite, the sum of a square is negative, or a weight is wrong.
    init(_ halves: [HalfMoments], _ blocks: BlockLayout) throws {
        (self.halves, self.blocks) = (halves, blocks)
        weight = halves.reduce(0) { $0 + $1.divisor }
        for half in halves {
            guard half.weight >= 0, half.weight.isFinite else {
                throw IngotError(.momentsInvalid, found: "a half of weight \(half.weight)", expected: "0 or more")
            }
            try MergedMoments.check(half, blocks)
        }
    }

    private static func check(_ half: HalfMoments, _ blocks: BlockLayout) throws {
        for block in 0..<blocks.count {
            let (start, width) = (blocks.squareStart(of: block), blocks.columns(of: block).count)
            for row in 0..<width {
                let first = start + row * width
                guard half.sums[first + row] >= 0 else {
                    throw IngotError(
                        .momentsInvalid, found: "the sum of squares \(half.sums[first + row])", expected: "0 or more")
                }
                for place in first + row..<first + width where !half.sums[place].isFinite {
                    throw IngotError(
                        .momentsInvalid, found: "the sum of products \(half.sums[place])",
                        expected: "a finite number",
                        remedy: "check the model: its activations overflow on this text")
                }
                let mean = Double(half.sums[first + row]) / half.divisor
                guard half.weight == 0 || Float(mean).isFinite else {
                    throw IngotError(
                        .momentsInvalid, found: "a mean square of \(mean)", expected: "a number of binary32")
                }
                guard half.weight > 0 || half.sums[first + row] == 0 else {
                    throw IngotError(.momentsInvalid, found: "sums of a half without tokens", expected: "zeros")
                }
            }
        }
    }

    /// The diagonal of a half's moments: its sums of squares over its weight; zeros for a half without tokens.
    static func diagonal(of half: HalfMoments, _ blocks: BlockLayout) -> [Float] {
        var diagonal: [Float] = []
        diagonal.reserveCapacity(blocks.columns)
        for block in 0..<blocks.count {
            let (start, width) = (blocks.squareStart(of: block), blocks.columns(of: block).count)
            for row in 0..<width {
                let sum = Double(half.sums[start + row * width + row])
                diagonal.append(half.weight > 0 ? Float(sum / half.divisor) : 0)
            }
        }
        return diagonal
    }

    /// Calls `body` with the rows of the merged moments' upper triangles, in order. In blocks of one column, up to 4096 rows come at once.
    func forEachRow(_ body: ([Float]) throws -> Void) throws {
        var pending: [Float] = []
        for block in 0..<blocks.count {
            let (start, width) = (blocks.squareStart(of: block), blocks.columns(of: block).count)
            for row in 0..<width {
                let first = start + row * width + row
                var sums = [Double](repeating: 0, count: width - row)
                for half in halves {
                    let numbers = half.sums
                    for index in sums.indices { sums[index] += Double(numbers[first + index]) }
                }
                for sum in sums { pending.append(Float(weight > 0 ? sum / weight : 0)) }
                // A weight that is much too small makes an infinite mean of a finite sum.
                guard pending.suffix(sums.count).allSatisfy(\.isFinite) else {
                    throw IngotError(.momentsInvalid, found: "a moment beyond binary32", expected: "a finite number")
                }
                if pending.count >= 4096 {
                    try body(pending)
                    pending.removeAll(keepingCapacity: true)
                }
            }
        }
        if !pending.isEmpty { try body(pending) }
    }
}
