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

    /// Most tokens of a group: more would not make products faster.
    private static let maximumTokens = 8192
    /// Bytes that a worker needs besides its buffers: a decoder and its chunk.
    private static let workspaceBytes: UInt64 = 4 << 20

    /// Shares out a budget.
    ///
    /// - Parameter sequences: number of sequences of `context` tokens.
    /// - Throws: `usage` if the budget is too small for one sequence. The error says how much is enough.
    init(bytes: UInt64, jobs: Int, _ model: ModelWeights, sequences: Int, context: Int) throws {
        let least = GradientBudget.least(model, context: context)
        guard least <= bytes, least < 1 << 60 else {
            throw IngotError(
                .usage, found: "a memory limit of \(bytes >> 20)MiB",
                expected: "at least \((least >> 20) + 1)MiB for gradients on a sequence of \(context) tokens",
                remedy: .either(.option(.moreMemory), or: "take a shorter context"))
        }
        var ledger = MemoryLedger(bytes: bytes)
        let h = model.hyperparameters
        try ledger.claim("sums of gradients", GradientBudget.sumBytes(h))
        try ledger.claim("a sequence", UInt64(context) * GradientBudget.bytesPerToken(model, lookahead: 3))
        self.jobs = max(
            1,
            ledger.claim("workers", each: GradientBudget.worker(model, context: context), maximum: jobs))
        lookahead = self.jobs + 1
        let more = ledger.claim(
            "more sequences", each: UInt64(context) * GradientBudget.bytesPerToken(model, lookahead: lookahead),
            maximum: min(sequences, max(1, GradientBudget.maximumTokens / context)) - 1)
        sequencesPerGroup = 1 + more
        keepsStates = GradientBudget.statesBytes(h, tokens: sequences * context) <= ledger.left
    }

    /// The smallest budget, in bytes: one worker, three bands of products, one sequence.
    ///
    /// - Returns: 2^64 - 1 if the sizes of the model are beyond any memory.
    static func least(_ model: ModelWeights, context: Int) -> UInt64 {
        let parts = [
            Checked.multiply(UInt64(context), bytesPerToken(model, lookahead: 3)), worker(model, context: context),
            sumBytes(model.hyperparameters),
        ]
        return parts.reduce(0) { sum, part in part.flatMap { Checked.add(sum, $0) } ?? .max }
    }

    /// Bytes of the inputs of all layers, and of the gradients between two layers.
    static func statesBytes(_ h: ModelHyperparameters, tokens: Int) -> UInt64 {
        let perToken = UInt64(h.layers + 1) * UInt64(h.hidden) * 4
        return Checked.multiply(UInt64(tokens), perToken) ?? .max
    }

    /// Bytes of the sums of squares of all matrices, which are binary64 while they grow and binary32 when they are written.
    private static func sumBytes(_ h: ModelHyperparameters) -> UInt64 {
        let experts = UInt64(max(1, h.experts))
        let perLayer =
            UInt64(h.heads * h.headSize) + 2 * UInt64(h.keyValueHeads * h.headSize) + UInt64(h.hidden)
            + experts * (2 * UInt64(h.feedForward) + UInt64(h.hidden))
        let numbers = Checked.multiply(perLayer, UInt64(h.layers)).flatMap { Checked.add($0, 2 * UInt64(h.vocabulary)) }
        return numbers.flatMap { Checked.multiply($0, 12) } ?? .max
    }

    /// Bytes of a worker: a band and its product, or weights and scores of a block of attention, or a share of the head.
    private static func worker(_ model: ModelWeights, context: Int) -> UInt64 {
        let h = model.hyperparameters
        let part = VocabularyPass.partTokens
        let parts = ceilingDivide(h.vocabulary, part)
        let band = 2 * UInt64(max(model.largestBand, part * h.hidden)) * 4
        let (rows, length) = (UInt64(Attention.blockRows), UInt64(context))
        let heads = UInt64((h.heads / h.keyValueHeads + 2) * h.headSize) * 2
        let attention = (2 * rows * length + heads * length) * 4
        let share = UInt64(HeadBackward.mostTokens)
        let head = share * UInt64(part) * 4 + share * UInt64(parts) * 20 + UInt64(h.vocabulary) * 8
        return workspaceBytes + band + max(attention, head)
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
