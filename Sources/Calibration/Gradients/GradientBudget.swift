import Moments
import Quantization
import TensorModel
import Work

/// How the memory budget of a backward pass is shared out.
struct GradientBudget: Sendable {
    /// Number of sequences whose layer is computed at the same time.
    let sequencesPerGroup: Int
    /// Bands or shares of tokens in work at the same time, and bands between reading and storing.
    let jobs: Int, lookahead: Int
    /// Whether the inputs of all layers stay in memory; otherwise they are in a scratch file.
    let keepsStates: Bool
    /// Bytes for factors of moments that stay.
    let factorBytes: UInt64

    /// Most tokens of a group: more would not make products faster.
    private static let maximumTokens = 8192
    /// Bytes that a worker needs besides its buffers: a decoder and its chunk.
    private static let workspaceBytes: UInt64 = 4 << 20

    /// Shares out a budget.
    ///
    /// - Parameter sequences: number of sequences of `context` tokens.
    /// - Throws: `usage` if the budget is too small for one sequence. The error says how much is enough.
    init(
        bytes: UInt64, jobs: Int, _ model: ModelWeights, _ blocks: MomentBlocks, sequences: Int, context: Int
    ) throws {
        let least = GradientBudget.least(model, blocks, context: context)
        guard least <= bytes, least < 1 << 60 else {
            throw IngotError(
                .usage, found: "a memory limit of \(bytes >> 20)MiB",
                expected: "at least \((least >> 20) + 1)MiB for gradients on a sequence of \(context) tokens",
                remedy: .either(.option(.moreMemory), or: "take a shorter context"))
        }
        var ledger = MemoryLedger(bytes: bytes)
        let h = model.hyperparameters
        try ledger.claim("sums of gradients", GradientBudget.sumBytes(h))
        let factors = GradientBudget.factors(h, blocks)
        try ledger.claim("factors of an input", factors.made)
        try ledger.claim("a sequence", UInt64(context) * GradientBudget.bytesPerToken(model, lookahead: 3))
        self.jobs = max(
            1,
            ledger.claim("workers", each: GradientBudget.worker(model, blocks, context: context), maximum: jobs))
        lookahead = self.jobs + 1
        let more = ledger.claim(
            "more sequences", each: UInt64(context) * GradientBudget.bytesPerToken(model, lookahead: lookahead),
            maximum: min(sequences, max(1, GradientBudget.maximumTokens / context)) - 1)
        sequencesPerGroup = 1 + more
        factorBytes =
            factors.kept + UInt64(ledger.claim("factors of a layer", each: factors.layer, maximum: 1)) * factors.layer
        keepsStates = GradientBudget.statesBytes(h, tokens: sequences * context) <= ledger.left
    }

    /// The smallest budget, in bytes: one worker, three bands of products, one sequence.
    ///
    /// - Returns: 2^64 - 1 if the sizes of the model are beyond any memory.
    static func least(_ model: ModelWeights, _ blocks: MomentBlocks, context: Int) -> UInt64 {
        let parts = [
            Checked.multiply(UInt64(context), bytesPerToken(model, lookahead: 3)),
            worker(model, blocks, context: context), sumBytes(model.hyperparameters),
            factors(model.hyperparameters, blocks).made,
        ]
        return parts.reduce(0) { sum, part in part.flatMap { Checked.add(sum, $0) } ?? .max }
    }

    /// Bytes of the inputs of all layers, and of the gradients between two layers.
    static func statesBytes(_ h: ModelHyperparameters, tokens: Int) -> UInt64 {
        let perToken = UInt64(h.layers + 1) * UInt64(h.hidden) * 4
        return Checked.multiply(UInt64(tokens), perToken) ?? .max
    }

    /// Bytes of the factors of the largest input, kept and while they are made; and of all inputs of a layer.
    private static func factors(
        _ h: ModelHyperparameters, _ blocks: MomentBlocks
    ) -> (kept: UInt64, made: UInt64, layer: UInt64) {
        func bytes(_ columns: Int) -> (kept: UInt64, made: UInt64) {
            InputLeverage.bytes(columns: columns, width: blocks.layout(columns: columns).width)
        }
        let (hidden, means, wide) = (bytes(h.hidden), bytes(h.heads * h.headSize), bytes(h.feedForward))
        let all = [hidden, means, wide]
        let (kept, made) = (all.map(\.kept).max() ?? 0, all.map(\.made).max() ?? 0)
        // Experts have inputs of their own beside that of the router.
        let each = Checked.add(hidden.kept, wide.kept)
        let experts = each.flatMap { Checked.multiply(UInt64(max(1, h.experts)), $0) }
        let others = Checked.add(hidden.kept, means.kept)
        return (kept, made, experts.flatMap { one in others.flatMap { Checked.add(one, $0) } } ?? .max)
    }

    /// Bytes of both sums of squares of all matrices, which are binary64 while they grow, and binary32 when they are written.
    private static func sumBytes(_ h: ModelHyperparameters) -> UInt64 {
        let experts = UInt64(max(1, h.experts))
        let perLayer =
            UInt64(h.heads * h.headSize) + 2 * UInt64(h.keyValueHeads * h.headSize) + UInt64(h.hidden)
            + experts * (2 * UInt64(h.feedForward) + UInt64(h.hidden))
        let numbers = Checked.multiply(perLayer, UInt64(h.layers)).flatMap { Checked.add($0, 2 * UInt64(h.vocabulary)) }
        return numbers.flatMap { Checked.multiply($0, 20) } ?? .max
    }

    /// Bytes of a worker: a band and its product, or weights and scores of a block of attention, or a share of the head or of leverages.
    private static func worker(_ model: ModelWeights, _ blocks: MomentBlocks, context: Int) -> UInt64 {
        let h = model.hyperparameters
        let part = VocabularyPass.partTokens
        let parts = ceilingDivide(h.vocabulary, part)
        let band = 2 * UInt64(max(model.largestBand, part * h.hidden)) * 4
        let (rows, length) = (UInt64(Attention.blockRows), UInt64(context))
        let heads = UInt64((h.heads / h.keyValueHeads + 2) * h.headSize) * 2
        let attention = (2 * rows * length + heads * length) * 4
        let share = UInt64(HeadBackward.mostTokens)
        let head = share * UInt64(part) * 4 + share * UInt64(parts) * 20 + UInt64(h.vocabulary) * 16
        let leverage = [h.hidden, h.heads * h.headSize, h.feedForward].map {
            InputLeverage.workspaceBytes(
                columns: $0, width: blocks.layout(columns: $0).width, tokens: Leverages.mostTokens)
        }.max()
        return workspaceBytes + band + max(attention, head, leverage ?? 0)
    }

    /// Bytes per token of a group: states, inputs, outputs and gradients of a layer, which stay for the next one; and products that wait.
    private static func bytesPerToken(_ model: ModelWeights, lookahead: Int) -> UInt64 {
        let h = model.hyperparameters
        let (queries, keys) = (h.heads * h.headSize, h.keyValueHeads * h.headSize)
        // Rows of chosen tokens, if there are experts.
        let chosen = h.experts > 0 ? 4 * h.hidden + 3 * h.feedForward : 0
        let states = 7 * h.hidden + 5 * queries + 4 * keys + 3 * h.feedForward + chosen
        // Each worker has the product of its share of the tokens.
        let share = max(h.hidden, queries, h.feedForward)
        return UInt64(states + share + lookahead * 2 * model.largestBandRows) * 4
    }
}
