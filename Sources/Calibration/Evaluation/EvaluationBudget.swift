import TensorModel
import Work

/// How the memory budget of an evaluation is shared out.
struct EvaluationBudget: Sendable {
    /// Number of sequences whose layer is computed at the same time.
    let sequencesPerGroup: Int
    /// Bands in work at the same time, and between reading and storing.
    let jobs: Int, lookahead: Int
    /// Whether the states of all tokens stay in memory between layers; otherwise they are in a scratch file.
    let keepsStates: Bool

    /// Most tokens of a group: more would not make products faster.
    private static let maximumTokens = 8192
    /// Bytes that a worker needs besides its band: a decoder and its chunk.
    private static let workspaceBytes: UInt64 = 4 << 20

    /// Shares out a budget.
    ///
    /// - Parameters:
    ///   - models: the model, and its reference if there is one.
    ///   - sequences: number of sequences of `context` tokens.
    ///   - reserved: bytes that the caller needs for itself.
    /// - Throws: `usage` if the budget is too small for one sequence. The error says how much is enough.
    init(bytes: UInt64, jobs: Int, _ models: [ModelWeights], sequences: Int, context: Int, reserved: UInt64 = 0) throws
    {
        var ledger = MemoryLedger(bytes: bytes)
        let bandRows = models.map(\.largestBandRows).max() ?? 1
        let least = EvaluationBudget.least(models, context: context, reserved: reserved)
        guard least <= bytes, least < 1 << 60 else {
            throw IngotError(
                .usage, found: "a memory limit of \(bytes >> 20)MiB",
                expected: "at least \((least >> 20) + 1)MiB for a sequence of \(context) tokens",
                remedy: .either(.option(.moreMemory), or: "take a shorter context"))
        }
        let perToken = EvaluationBudget.leastPerToken(models)
        let sequence = UInt64(context) * perToken
        let scores = UInt64(Attention.blockRows * context) * 4
        let worker = EvaluationBudget.worker(models)
        try ledger.claim("moments", reserved)
        try ledger.claim("a sequence", sequence)
        self.jobs = max(1, ledger.claim("workers", each: worker + scores, maximum: jobs))
        lookahead = self.jobs + 1
        let waiting = lookahead
        let full = models.map { EvaluationBudget.bytesPerToken($0, bandRows, lookahead: waiting) }.max() ?? perToken
        let more = ledger.claim(
            "more sequences", each: UInt64(context) * full,
            maximum: min(sequences, max(1, EvaluationBudget.maximumTokens / context)) - 1)
        sequencesPerGroup = 1 + more
        let states = models.reduce(UInt64(0)) {
            $0 + UInt64(sequences * context * $1.hyperparameters.hidden) * 4
        }
        keepsStates = states <= ledger.left
    }

    /// The smallest budget, in bytes: one worker, three bands of products, one sequence.
    ///
    /// - Parameters: as for `init`.
    /// - Returns: 2^64 - 1 if the sizes of the model are beyond any memory.
    static func least(_ models: [ModelWeights], context: Int, reserved: UInt64) -> UInt64 {
        let parts = [
            Checked.multiply(UInt64(context), leastPerToken(models)),
            Checked.multiply(UInt64(context), UInt64(Attention.blockRows) * 4), worker(models), reserved,
        ]
        return parts.reduce(0) { sum, part in part.flatMap { Checked.add(sum, $0) } ?? .max }
    }

    private static func leastPerToken(_ models: [ModelWeights]) -> UInt64 {
        let bandRows = models.map(\.largestBandRows).max() ?? 1
        return models.map { bytesPerToken($0, bandRows, lookahead: 3) }.max() ?? 0
    }

    /// Bytes of a worker: a band, or a part of the head of both models.
    private static func worker(_ models: [ModelWeights]) -> UInt64 {
        let band = UInt64(models.map(\.largestBand).max() ?? 0) * 4
        let part = UInt64(VocabularyPass.partTokens * (models.map(\.hyperparameters.hidden).max() ?? 0)) * 4
        return workspaceBytes + 2 * max(band, part)
    }

    /// Bytes per token of a group: its states, the inputs and outputs of the widest part of a layer, and the products that wait.
    private static func bytesPerToken(_ model: ModelWeights, _ bandRows: Int, lookahead: Int) -> UInt64 {
        let h = model.hyperparameters
        let queries = h.heads * h.headSize
        // Buffers stay for the next layer.
        let states = 2 * h.hidden + 2 * queries + 2 * h.keyValueHeads * h.headSize + h.feedForward
        return UInt64(states + lookahead * 2 * bandRows) * 4
    }
}
