import Container
import Products
import Quantization
import TensorModel
import Weights
import Work

/// Draws a label from the model's distribution at each token, and computes the gradients of its log-probability at the logits and at the
/// states before the head.
struct HeadBackward: Sendable {
    /// Number of shares of the tokens in work at the same time.
    let jobs: Int
    /// Most tokens of a share.
    static let mostTokens = 1024

    /// The buffers of a worker.
    private struct Workspace {
        var reader = RowReader()
        var band = ReadWeights()
        /// Logits of a part of the vocabulary, tokens x part.
        var logits: [Float] = []
    }

    /// The gradients of a share: at its states, and the sums at the logits.
    private struct Found: Sendable { var states: [Float] = [], sum = GradientSums.Sum(rows: 0) }

    /// The distribution of a token: the logarithm of the sum of e^logit, the part of the vocabulary that its label is in, and the share of
    /// the probabilities of this part that come before the label.
    private struct Distribution { var logSum: Float, part: Int, rest: Double }

    /// Gradients at the normed states of some tokens, and the sums of their squares at the logits.
    ///
    /// Their sign is the opposite one: gradients of -log p. Only squares are of interest.
    ///
    /// - Parameters:
    ///   - states: normed states, a row per token.
    ///   - draws: for each token a number from 0 to 1. The label is the first token of the vocabulary up to which the probabilities sum to
    ///     more than that.
    ///   - weights: the weight of each token.
    ///   - leverages: the leverage of each token at the input of the head.
    func run(
        _ model: ModelWeights, _ states: TokenStates, draws: [Double], weights: [Double], leverages: [Double]
    ) async throws -> (gradients: TokenStates, sum: GradientSums.Sum) {
        var gradients = TokenStates(tokens: states.tokens, width: states.width)
        var sum = GradientSums.Sum(rows: model.hyperparameters.vocabulary)
        let shares = BackwardRunner.shares(of: states.tokens, jobs: jobs, most: HeadBackward.mostTokens)
        try await Pipeline(jobs: jobs, lookahead: jobs) { Workspace() }.run(shares, makeOutput: { Found() }) {
            share, workspace, output in
            try HeadBackward.run(
                model, states, share, Array(draws[share]), Array(weights[share]), Array(leverages[share]), &workspace,
                into: &output)
        } consume: { share, output in
            gradients.store(output.states, tokens: share, columns: 0..<states.width)
            sum.add(output.sum)
        }
        return (gradients, sum)
    }

    private static func run(
        _ model: ModelWeights, _ states: TokenStates, _ share: Range<Int>, _ draws: [Double], _ weights: [Double],
        _ leverages: [Double], _ workspace: inout Workspace, into found: inout Found
    ) throws {
        let vocabulary = model.hyperparameters.vocabulary
        let parts = stride(from: 0, to: vocabulary, by: VocabularyPass.partTokens).map {
            $0..<min($0 + VocabularyPass.partTokens, vocabulary)
        }
        // Of each part the largest logit, and the sum of e^(logit - largest): tokens x parts.
        var maxima = [Float](repeating: 0, count: share.count * parts.count)
        var sums = [Double](repeating: 0, count: share.count * parts.count)
        for (number, part) in parts.enumerated() {
            try logits(model, states, share, part, &workspace.reader, &workspace.band, into: &workspace.logits)
            var rows = workspace.logits.mutableSpan
            for token in 0..<share.count {
                let place = token * parts.count + number
                (maxima[place], sums[place]) = Elementwise.powers(&rows, from: token * part.count, count: part.count)
            }
        }
        let distributions = (0..<share.count).map { token in
            let range = token * parts.count..<(token + 1) * parts.count
            return distribution(maxima[range], sums[range], draws[token])
        }
        found.states.grow(to: share.count * states.width)
        found.sum = GradientSums.Sum(rows: vocabulary)
        found.sum.weight = weights.reduce(0, +)
        for (number, part) in parts.enumerated() {
            try logits(model, states, share, part, &workspace.reader, &workspace.band, into: &workspace.logits)
            var rows = workspace.logits.mutableSpan
            for token in 0..<share.count {
                let start = token * part.count
                Elementwise.powers(&rows, from: start, count: part.count, minus: distributions[token].logSum)
                if distributions[token].part == number {
                    let label = label(rows.span, start, part.count, distributions[token].rest)
                    rows[start + label] -= 1
                }
                GradientSums.add(
                    rows.span, from: start, count: part.count, weights[token], leverages[token], to: &found.sum,
                    at: part.lowerBound)
            }
            var target = found.states.mutableSpan
            Products.multiply(
                workspace.logits.span, MatrixShape(rows: share.count, columns: part.count),
                by: workspace.band.weights.span, MatrixShape(rows: part.count, columns: states.width), into: &target,
                from: 0, MatrixShape(rows: share.count, columns: states.width), adds: number > 0)
        }
    }

    /// Logits of a part of the vocabulary for a share of the tokens. Its rows of the head stay in `band`.
    private static func logits(
        _ model: ModelWeights, _ states: TokenStates, _ share: Range<Int>, _ part: Range<Int>,
        _ reader: inout RowReader,
        _ band: inout ReadWeights, into logits: inout [Float]
    ) throws {
        let head = model.head.matrix
        try reader.read(
            ChunkPlace(
                row: head.rows.lowerBound + part.lowerBound, column: 0, rows: part.count, columns: states.width),
            of: head.weights, into: &band)
        logits.grow(to: share.count * part.count)
        var target = logits.mutableSpan
        Products.multiply(
            states.values.span.extracting(share.lowerBound * states.width..<states.values.count),
            MatrixShape(rows: share.count, columns: states.width), transposed: band.weights.span,
            MatrixShape(rows: part.count, columns: states.width), into: &target,
            MatrixShape(rows: share.count, columns: part.count))
    }

    /// The distribution of a token, from the largest logit and the sum of each part.
    private static func distribution(
        _ maxima: ArraySlice<Float>, _ sums: ArraySlice<Double>, _ draw: Double
    ) -> Distribution {
        let maximum = Double(maxima.max() ?? 0)
        let powers = zip(maxima, sums).map { Activation.exponential(Double($0) - maximum) * $1 }
        let total = powers.reduce(0, +)
        let target = draw * total
        var (before, sum, part) = (0.0, 0.0, 0)
        for (number, power) in powers.enumerated() where power > 0 {
            (part, before) = (number, sum)
            sum += power
            if sum > target { break }
        }
        return Distribution(
            logSum: Float(maximum + Activation.logarithm(total)), part: part,
            rest: (target - before) / total)
    }

    /// The label among the probabilities of a part: the first one up to which they sum to more than `rest`, or the last that is not 0.
    private static func label(_ probabilities: Span<Float>, _ start: Int, _ count: Int, _ rest: Double) -> Int {
        var (sum, last) = (0.0, 0)
        for index in 0..<count {
            let probability = Double(probabilities[start + index])
            if probability > 0 { last = index }
            sum += probability
            if sum > rest { return index }
        }
        return last
    }
}
