import Container
import Quantization
import TensorModel
import Weights

/// Chooses the step of each chunk of a tensor, so that the whole holds its goal.
///
/// Large tensors correct themselves: a chunk's step follows from the sizes of the chunks up to `lag` before it, whatever the number
/// of workers, which must not be further ahead.
struct RateController: Sendable {
    /// How far behind the sizes are that a step follows from; no more chunks than this are ever under way.
    static let lag = MemoryBudget.mostLookahead
    /// The most a step may leave the planned one, in octaves.
    private static let reach = 0.25

    let rate: TensorRate
    private let grid: ChunkGrid
    private let fixedBytes: Int
    private var steps: [Float] = []
    private var sizes: [Int] = []
    private var sums = ErrorSums.zero
    /// Of the chunks whose sizes count already: their number, weights, bytes, and bits above what was expected.
    private var seen = (chunks: 0, weights: 0.0, bytes: 0.0, excess: 0.0)
    private var startedWeights = 0.0
    /// Bytes expected of the chunks under way, were there no excess.
    private var expected: [Double] = []

    init(_ rate: TensorRate, _ prologue: PayloadPrologue) {
        self.rate = rate
        grid = prologue.grid
        fixedBytes = prologue.fixedBytes
    }

    private func weights(_ chunk: Int) -> Double { Double(grid.place(of: chunk).count) }

    private func expectedBytes(_ chunk: Int, _ step: Float) -> Double {
        weights(chunk) * (rate.bits - rate.slope * ExactMath.log2(Double(step) / Double(rate.rule.step))) / 8
    }

    /// The rule of a chunk, given that all chunks `lag` or more before it are recorded.
    mutating func rule(of chunk: Int) -> TrellisRule {
        while steps.count <= chunk { appendStep() }
        var rule = rate.rule
        rule.step = steps[chunk]
        return rule
    }

    /// Decides on the step of the next chunk.
    private mutating func appendStep() {
        let chunk = steps.count
        while seen.chunks <= chunk - RateController.lag {
            seen.weights += weights(seen.chunks)
            seen.bytes += Double(sizes[seen.chunks])
            seen.excess += (Double(sizes[seen.chunks]) - expected[seen.chunks]) * 8
            seen.chunks += 1
        }
        var step = rate.rule.step
        if seen.chunks > 0, rate.goal.quantity == .bytes {
            // As if four chunks more had been as expected: the first few are not taken for the whole.
            let excess = seen.excess / (seen.weights + 4 * weights(0))
            var left = rate.goal.aim - Double(fixedBytes) - seen.bytes
            for underWay in seen.chunks..<chunk { left -= expected[underWay] + excess * weights(underWay) / 8 }
            let leftWeights = Double(grid.rows) * Double(grid.columns) - startedWeights
            let octaves = (rate.bits + excess - left * 8 / leftWeights) / rate.slope
            let bounded = min(max(octaves, -RateController.reach), RateController.reach)
            step = rate.shifted(by: bounded).rule.step
        }
        steps.append(step)
        expected.append(expectedBytes(chunk, step))
        startedWeights += weights(chunk)
    }

    /// Takes note of a chunk, in order.
    mutating func record(_ chunk: EncodedChunk) {
        sizes.append(chunk.byteCount)
        sums = sums + chunk.entry.sums
    }

    /// What came of the goal, once all chunks are recorded.
    private var result: Double {
        switch rate.goal.quantity {
        case .error: sums.relativeMSE
        // The payload ends at a multiple of 64 bytes; `fixedBytes` has the most that takes.
        case .bytes, .step: Double((sizes.reduce(0, +) + fixedBytes) / 64 * 64)
        }
    }

    // MARK: - Other tries

    /// How often a tensor is encoded, at most, for a goal that is hard to meet; and once more, for the best of the tries.
    private static let mostTries = 12
    /// Steps are no finer than this, in octaves.
    private static let finest = 0x1p-11

    /// A try: the octaves all steps were off the first try's, and log2 of what came of it over what was aimed at, with the sign that a
    /// larger step makes less.
    private struct Try {
        let octaves: Double, excess: Double, holds: Bool
    }

    private var tries: [Try] = []
    private var firstSteps: [Float] = []
    private var octaves = 0.0
    private var isLast = false

    /// In words, that more was taken or lost than was asked for; nil where the goal holds.
    var missed: String? {
        guard rate.goal.side(of: result) > 0 else { return nil }
        return switch rate.goal.quantity {
        case .bytes, .step: "no step gives at most \(Int(rate.goal.most)) bytes; the nearest took \(Int(result))"
        case .error: "no step gives a relative MSE of at most \(rate.goal.most); the nearest gave \(result)"
        }
    }

    /// The rules for another try, one a chunk, where the goal was missed; nil where it was met, or no try will be better.
    mutating func correction() -> [TrellisRule]? {
        let side = rate.goal.side(of: result)
        // Nothing is gained by spending more on what is exact.
        guard side != 0, !isLast, result.isFinite, sums.noise > 0 || side > 0 else { return nil }
        if tries.isEmpty { firstSteps = steps }
        let ratio = ExactMath.log2(max(result, rate.goal.aim * 0x1p-20) / rate.goal.aim)
        tries.append(
            Try(octaves: octaves, excess: rate.goal.quantity == .error ? -ratio : ratio, holds: side < 0))
        if tries.count < RateController.mostTries, let next = nextOctaves(), case let rules = rules(shiftedBy: next),
            rules.map(\.step) != steps
        {
            octaves = next
            return rules
        }
        // No better one in sight: the nearest of those that are not above, or of all.
        isLast = true
        let held = tries.filter(\.holds)
        if held.isEmpty, rate.goal.quantity == .error { return safeRules() }
        // Where nothing helps, the least error.
        let least = tries.map(\.excess).min() ?? 0
        let best =
            held.isEmpty
            ? tries.filter { $0.excess < least + 0.01 }.min { $0.octaves < $1.octaves }
            : held.min { $0.excess.magnitude < $1.excess.magnitude }
        guard let best, best.octaves != octaves else { return nil }
        return rules(shiftedBy: best.octaves)
    }

    /// One step for all chunks, at which no weights can exceed the error.
    private func safeRules() -> [TrellisRule] {
        let rule = TrellisRule(step: TrellisRule.representable(rate.safeStep))
        return [TrellisRule](repeating: rule, count: grid.count)
    }

    private func rules(shiftedBy octaves: Double) -> [TrellisRule] {
        firstSteps.map { step in
            var rule = rate.rule
            let wanted = Double(step) * ExactMath.exp2(octaves)
            rule.step = rate.bounded(wanted)
            return rule
        }
    }

    /// Between the nearest tries on both sides, or beyond those on one; nil where there is nothing between.
    private func nextOctaves() -> Double? {
        guard let last = tries.last else { return nil }
        let upper = tries.filter { $0.excess < 0 }.min { $0.octaves < $1.octaves }
        let lower = tries.filter { $0.excess > 0 && $0.octaves < upper?.octaves ?? .infinity }.max {
            $0.octaves < $1.octaves
        }
        if let lower, let upper {
            let width = upper.octaves - lower.octaves
            guard width > RateController.finest else { return nil }
            let share = lower.excess / (lower.excess - upper.excess)
            return lower.octaves + width * min(max(share, 0.05), 0.95)
        }
        // The slope of the last two tries, or the one expected.
        var slope =
            switch rate.goal.quantity {
            case .error: 2.0
            case .bytes, .step:
                rate.slope * Double(grid.rows) * Double(grid.columns) / 8 / rate.goal.aim * 1.4426950408889634
            }
        if tries.count > 1 {
            let before = tries[tries.count - 2]
            let measured = (before.excess - last.excess) / (last.octaves - before.octaves)
            slope = measured > slope / 64 ? min(measured, slope) : slope / 64
        }
        // Hardly more than is missing, so that the next try is on the other side, and not far.
        let missing = last.excess / slope
        return last.octaves + min(max(missing, -2), 2)
    }

    /// Forgets the chunks, for another try with the given rules.
    mutating func restart(_ rules: [TrellisRule]) {
        steps = rules.map(\.step)
        sizes.removeAll()
        sums = .zero
    }
}
