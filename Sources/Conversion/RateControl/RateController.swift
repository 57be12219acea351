import Container
import Quantization
import TensorModel

/// Chooses the step of each chunk of a tensor, so that the whole holds its goal.
///
/// Large tensors correct themselves: a chunk's step follows from the sizes of the chunks up to `lag` before it, whatever the number
/// of workers, which must not be further ahead.
final class RateController {
    /// How far behind the sizes are that a step follows from; no more chunks than this are ever under way.
    static let lag = 32
    /// The most a step may leave the planned one, in octaves.
    private static let reach = 0.25

    let rate: TensorRate
    private let grid: ChunkGrid
    private let fixedBytes: Int
    private var steps: [Float] = []
    private var sizes: [Int] = []
    private var sums = ErrorSums.zero
    private var tries = 0
    private var wasAbove = false
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

    /// The rule for the next chunk, in order.
    func nextRule() -> TrellisRule {
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
        var rule = rate.rule
        rule.step = step
        return rule
    }

    /// Takes note of a chunk, in order.
    func record(_ chunk: EncodedChunk) {
        sizes.append(chunk.byteCount)
        sums = sums + chunk.entry.sums
    }

    /// What came of the goal, once all chunks are recorded.
    private var result: Double {
        switch rate.goal.quantity {
        case .error: sums.relativeMSE
        case .bytes: Double(sizes.reduce(0, +) + fixedBytes)
        }
    }

    private static let triesAbove = 10
    private static let triesBelow = 3

    /// The rules for another try, one a chunk, where the goal was missed; nil where it was met, or cannot be.
    func correction() -> [TrellisRule]? {
        let side = rate.goal.side(of: result)
        guard side != 0, sums.noise > 0 || side > 0 else { return nil }
        guard tries < (side > 0 ? RateController.triesAbove : wasAbove ? 0 : RateController.triesBelow) else { return nil }
        wasAbove = wasAbove || side > 0 && tries > 0
        let octaves: Double
        switch rate.goal.quantity {
        case .error:
            guard sums.relativeMSE > 0, sums.relativeMSE.isFinite else { return nil }
            // Few weights, or few values, do not follow the law; a step that is safe for any has the last word.
            if side > 0, tries > 0 { return rules(rate.safeStep * ExactMath.exp2(Double(1 - tries) / 4)) }
            octaves = ExactMath.log2(rate.goal.aim / sums.relativeMSE) / 2
        case .bytes: octaves = (result - rate.goal.aim) * 8 / (rate.slope * Double(grid.rows) * Double(grid.columns))
        }
        let next = steps.map { step in
            let wanted = Double(step) * ExactMath.exp2(min(max(octaves, -2), 2))
            var rule = rate.rule
            rule.step = TrellisRule.representable(max(wanted, rate.leastStep))
            return rule
        }
        return next.map(\.step) == steps ? nil : next
    }

    /// One step for all chunks.
    private func rules(_ step: Double) -> [TrellisRule] {
        var rule = rate.rule
        rule.step = TrellisRule.representable(step)
        return [TrellisRule](repeating: rule, count: grid.count)
    }

    /// Forgets the chunks, for another try with the given rules.
    func restart(_ rules: [TrellisRule]) {
        tries += 1
        steps = rules.map(\.step)
        sizes.removeAll()
        sums = .zero
    }
}

/// The rules of a shard's chunks, asked for and recorded in order.
final class ChunkRules {
    private let shard: ConversionPlan.ShardPlan
    private var controllers: [Int: RateController] = [:]

    init(_ shard: ConversionPlan.ShardPlan) { self.shard = shard }

    /// The rule of a chunk that is about to be encoded; nil in other schemes than `trellis`.
    func next(_ job: ChunkJob) -> TrellisRule? {
        guard let rate = shard.rates[job.payload], let prologue = shard.layout.payloads[job.payload].descriptor?.prologue
        else { return nil }
        if job.chunk == 0 { controllers[job.payload] = RateController(rate, prologue) }
        return controllers[job.payload]?.nextRule()
    }

    /// Takes note of an encoded chunk.
    func record(_ job: ChunkJob, _ chunk: EncodedChunk) { controllers[job.payload]?.record(chunk) }

    /// The controller of a tensor whose chunks are all recorded.
    func finish(_ job: ChunkJob) -> RateController? { controllers.removeValue(forKey: job.payload) }
}
