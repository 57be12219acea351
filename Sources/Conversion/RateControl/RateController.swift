import Container
import Quantization
import TensorModel
import Weights

/// Chooses the step of each chunk of one tensor, so that the tensor meets its goal in bytes or in relative MSE.
///
/// If the goal is bytes and the tensor has more than `lag` chunks, the steps are corrected in flight: the step of chunk i depends on the
/// sizes of chunks 0 ... i - `lag`. So the steps are the same for any number of workers, and at most `lag` chunks may be in flight.
struct RateController: Sendable {
    /// Distance in chunks from a chunk to the last chunk whose size its step depends on; also the most chunks in flight.
    static let lag = MemoryBudget.maximumLookahead
    /// The in-flight correction changes the planned step by at most this many octaves.
    private static let reach = 0.25

    /// The planned rate and goal of the tensor.
    let rate: TensorRate
    private let grid: ChunkGrid
    private let fixedBytes: Int
    private var steps: [Float] = []
    private var sizes: [Int] = []
    private var sums = ErrorSums.zero
    /// Sums over the chunks whose sizes count: number, weights, bytes of streams, and bits above the predicted ones.
    private var seen = (chunks: 0, weights: 0.0, bytes: 0.0, excess: 0.0)
    /// Weights of all chunks that have a step.
    private var startedWeights = 0.0
    /// Predicted bytes of the streams of each chunk that has a step, by its index.
    private var expected: [Double] = []

    /// Begins a tensor of which no chunk is encoded yet.
    init(_ rate: TensorRate, _ prologue: PayloadPrologue) {
        self.rate = rate
        grid = prologue.grid
        fixedBytes = prologue.fixedBytes
    }

    private func weights(_ chunk: Int) -> Double { Double(grid.place(of: chunk).count) }

    /// Predicted bytes of the streams of a chunk at a step.
    private func expectedBytes(_ chunk: Int, _ step: Float) -> Double {
        weights(chunk) * (rate.bits - rate.slope * ExactMath.log2(Double(step) / Double(rate.rule.step))) / 8
    }

    /// The rule of a chunk. All chunks that are `lag` or more before it must be recorded.
    mutating func rule(of chunk: Int) -> TrellisRule {
        while steps.count <= chunk { appendStep() }
        var rule = rate.rule
        rule.step = steps[chunk]
        return rule
    }

    /// Chooses the step of the next chunk.
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
            // Bits per weight above the prediction. Damp the estimate with a prior of four chunks of zero excess.
            let excess = seen.excess / (seen.weights + 4 * weights(0))
            var left = rate.goal.aim - Double(fixedBytes) - seen.bytes
            for underWay in seen.chunks..<chunk { left -= expected[underWay] + excess * weights(underWay) / 8 }
            let leftWeights = Double(grid.rows) * Double(grid.columns) - startedWeights
            // Octaves above the planned step at which the remaining weights take the remaining bytes.
            let octaves = (rate.bits + excess - left * 8 / leftWeights) / rate.slope
            let bounded = min(max(octaves, -RateController.reach), RateController.reach)
            step = rate.shifted(by: bounded).rule.step
        }
        steps.append(step)
        expected.append(expectedBytes(chunk, step))
        startedWeights += weights(chunk)
    }

    /// Records the size and the error sums of an encoded chunk, in order.
    mutating func record(_ chunk: EncodedChunk) {
        sizes.append(chunk.byteCount)
        sums = sums + chunk.entry.sums
    }

    /// The measured quantity after all chunks are recorded: relative MSE, or bytes of the payload.
    private var result: Double {
        switch rate.goal.quantity {
        case .error: sums.relativeMSE
        // `fixedBytes` includes 63 bytes of padding: rounding down gives the payload, padded to a multiple of 64.
        case .bytes, .step: Double((sizes.reduce(0, +) + fixedBytes) / 64 * 64)
        }
    }

    // MARK: - Encoding again

    /// A tensor is encoded at most this many times in search of a step, and once more with the best one found.
    private static let maximumTries = 12
    /// The search ends when two tries are closer than this, in octaves.
    private static let finest = 0x1p-11

    /// One encoding of the tensor that missed the goal.
    ///
    /// - `octaves`: offset of all steps from those of the first try.
    /// - `excess`: log2(result / aim); for an error, log2(aim / result). A larger step always gives a smaller excess.
    /// - `holds`: whether the result is below the least that the goal accepts, and so below the maximum.
    private struct Try {
        let octaves: Double, excess: Double, holds: Bool
    }

    private var tries: [Try] = []
    /// Steps of the first try, one per chunk.
    private var firstSteps: [Float] = []
    /// Offset of the current try from `firstSteps`.
    private var octaves = 0.0
    private var isLast = false

    /// The text of an error: the result exceeds the maximum of the goal. nil if it does not.
    var missed: String? {
        guard rate.goal.side(of: result) > 0 else { return nil }
        return switch rate.goal.quantity {
        case .bytes, .step: "no step gives at most \(Int(rate.goal.maximum)) bytes; the nearest took \(Int(result))"
        case .error: "no step gives a relative MSE of at most \(rate.goal.maximum); the nearest gave \(result)"
        }
    }

    /// The rules for another try, one per chunk. Call it after all chunks are recorded.
    ///
    /// - Returns: nil if the goal is met, or if no other try is expected to be better than this one.
    mutating func correction() -> [TrellisRule]? {
        let side = rate.goal.side(of: result)
        // An exact tensor below its goal stays: more bytes would not lower its error.
        guard side != 0, !isLast, result.isFinite, sums.noise > 0 || side > 0 else { return nil }
        if tries.isEmpty { firstSteps = steps }
        let ratio = ExactMath.log2(max(result, rate.goal.aim * 0x1p-20) / rate.goal.aim)
        tries.append(
            Try(octaves: octaves, excess: rate.goal.quantity == .error ? -ratio : ratio, holds: side < 0))
        if tries.count < RateController.maximumTries, let next = nextOctaves(),
            case let rules = rules(shiftedBy: next),
            rules.map(\.step) != steps
        {
            octaves = next
            return rules
        }
        // No more steps to try. Among the tries below the maximum, take the one nearest to the aim.
        isLast = true
        let held = tries.filter(\.holds)
        if held.isEmpty, rate.goal.quantity == .error { return safeRules() }
        // If no try meets a goal in bytes: the smallest step among the tries within 0.7 % (0.01 octave) of the smallest size.
        let minimum = tries.map(\.excess).min() ?? 0
        let best =
            held.isEmpty
            ? tries.filter { $0.excess < minimum + 0.01 }.min { $0.octaves < $1.octaves }
            : held.min { $0.excess.magnitude < $1.excess.magnitude }
        guard let best, best.octaves != octaves else { return nil }
        return rules(shiftedBy: best.octaves)
    }

    /// One step for all chunks, at which the error cannot exceed the goal (`TensorRate.safeStep`).
    private func safeRules() -> [TrellisRule] {
        let rule = TrellisRule(step: TrellisRule.representable(rate.safeStep))
        return [TrellisRule](repeating: rule, count: grid.count)
    }

    /// The rules with the steps of the first try times 2^`octaves`.
    private func rules(shiftedBy octaves: Double) -> [TrellisRule] {
        firstSteps.map { step in
            var rule = rate.rule
            let wanted = Double(step) * ExactMath.exp2(octaves)
            rule.step = rate.bounded(wanted)
            return rule
        }
    }

    /// The offset of the next try: interpolated between the nearest tries on both sides of the aim, or extrapolated from one side.
    ///
    /// - Returns: nil if the nearest tries are closer than `finest`.
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
        // Extrapolate with octaves of the result per octave of the step: predicted (1.4427 = 1 / ln 2), or measured by the last two tries.
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
        // Go as far as the aim seems to be, and at most two octaves. The next try may then lie on its other side.
        let missing = last.excess / slope
        return last.octaves + min(max(missing, -2), 2)
    }

    /// Deletes the records of all chunks before another try with the given rules, one per chunk.
    mutating func restart(_ rules: [TrellisRule]) {
        steps = rules.map(\.step)
        sizes.removeAll()
        sums = .zero
    }
}
