import Architectures
import Moments
import Products
import TensorModel

/// Which half of the text a token belongs to, and its weight.
struct TokenShare: Sendable {
    /// 0 or 1.
    let half: Int
    /// The weight of its text.
    let weight: Double
}

/// Sums of second moments of the inputs of one layer, for both halves of the text.
struct MomentSums {
    private let blocks: MomentBlocks
    private var sums: [LinearInput: [HalfMoments]] = [:]

    /// Number of halves.
    static let halves = 2

    /// No sums yet.
    init(_ blocks: MomentBlocks) { self.blocks = blocks }

    /// Adds the activations of some tokens.
    ///
    /// - Parameters:
    ///   - states: one row per token.
    ///   - shares: for each row its half and weight.
    mutating func add(_ input: LinearInput, _ states: TokenStates, _ shares: [TokenShare]) async {
        let layout = blocks.layout(columns: states.width)
        let before = sums.removeValue(forKey: input) ?? MomentSums.empty(layout)
        var after = before
        await withTaskGroup(of: (Int, HalfMoments).self) { group in
            for half in 0..<MomentSums.halves {
                let old = before[half]
                group.addTask { (half, MomentSums.added(old, states, shares, half, layout)) }
            }
            for await (half, new) in group { after[half] = new }
        }
        sums[input] = after
    }

    /// The sums of an input; zeros if no token reached it.
    func halves(_ input: LinearInput, _ layout: BlockLayout) -> [HalfMoments] {
        sums[input] ?? MomentSums.empty(layout)
    }

    private static func empty(_ layout: BlockLayout) -> [HalfMoments] {
        (0..<halves).map { _ in
            HalfMoments(tokens: 0, weight: 0, sums: [Float](repeating: 0, count: layout.squareCount))
        }
    }

    /// The sums of a half with its rows of `states` added. A row of weight w counts as the row times the root of w.
    private static func added(
        _ old: HalfMoments, _ states: TokenStates, _ shares: [TokenShare], _ half: Int, _ layout: BlockLayout
    ) -> HalfMoments {
        var result = old
        var rows: [Float] = []
        for (token, share) in shares.enumerated() where share.half == half {
            let row = states.values[token * states.width..<(token + 1) * states.width]
            let factor = Float(share.weight.squareRoot())
            if factor == 1 { rows += row } else { rows += row.map { $0 * factor } }
            result.tokens += 1
            result.weight += share.weight
        }
        let count = rows.count / states.width
        guard count > 0 else { return result }
        guard layout.width > 1 else {
            for row in 0..<count {
                for column in 0..<states.width {
                    let x = rows[row * states.width + column]
                    result.sums[column] += x * x
                }
            }
            return result
        }
        var target = result.sums.mutableSpan
        for block in 0..<layout.count {
            let columns = layout.columns(of: block)
            Products.addMoments(
                rows.span.extracting(columns.lowerBound..<rows.count),
                MatrixShape(rows: count, columns: columns.count, stride: states.width), to: &target,
                from: layout.squareStart(of: block))
        }
        return result
    }
}
