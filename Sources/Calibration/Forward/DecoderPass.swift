import Architectures
import Container
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Runs tokens through the layers of a decoder.
struct DecoderPass: Sendable {
    /// The model.
    let model: ModelWeights
    /// Number of tokens of each sequence.
    let context: Int
    /// Its parts, which a backward pass needs too.
    let runner: LinearRunner
    let positions: RotaryPositions
    let attention: Attention
    let buffers = StateBuffers()

    /// Prepares a pass.
    ///
    /// - Parameters:
    ///   - context: number of tokens of each sequence.
    ///   - jobs: bands and heads in work at the same time.
    ///   - lookahead: bands between reading and storing.
    init(_ model: ModelWeights, context: Int, jobs: Int, lookahead: Int) {
        let h = model.hyperparameters
        self.model = model
        self.context = context
        runner = LinearRunner(jobs: jobs, lookahead: lookahead, buffers)
        positions = RotaryPositions(h, count: context, turnsNeighbours: model.turnsNeighbours)
        attention = Attention(heads: h.heads, keyValueHeads: h.keyValueHeads, headSize: h.headSize, jobs: jobs, buffers)
    }

    /// The embeddings of tokens. Rows of the embedding are read in ascending order, so that each tile is decoded once.
    ///
    /// - Throws: `textInvalid` if an id is not in the vocabulary.
    func embeddings(_ ids: [Int32]) throws -> TokenStates {
        let h = model.hyperparameters
        if let bad = ids.first(where: { $0 < 0 || Int($0) >= h.vocabulary }) {
            throw IngotError(
                .textInvalid, found: "token \(bad)", expected: "0 to \(h.vocabulary - 1), the vocabulary of the model",
                remedy: "use the tokenizer of this model")
        }
        var states = TokenStates(tokens: ids.count, width: h.hidden)
        var reader = RowReader()
        var read = ReadWeights()
        var places: [Int32: [Int]] = [:]
        for (token, id) in ids.enumerated() { places[id, default: []].append(token) }
        for (id, tokens) in places.sorted(by: { $0.key < $1.key }) {
            try Interruption.check()
            try reader.read(
                ChunkPlace(row: Int(id), column: 0, rows: 1, columns: h.hidden), of: model.embedding.weights,
                into: &read)
            let row = Array(read.weights.prefix(h.hidden))
            for token in tokens { states.store(row, tokens: token..<token + 1, columns: 0..<h.hidden) }
        }
        return states
    }

    /// Queries, keys and values of the normed inputs of a layer. Queries and keys are turned by their positions.
    func projections(_ layer: LayerWeights, _ inputs: TokenStates) async throws -> [TokenStates] {
        var parts = try await runner.apply([layer.query, layer.key, layer.value], to: inputs)
        positions.apply(to: &parts[0], context: context)
        positions.apply(to: &parts[1], context: context)
        return parts
    }

    /// Receives the input of linear layers: which it is, its rows, and the tokens that the rows are of; nil for all tokens.
    typealias Observer = (LinearInput, TokenStates, [Int]?) -> Void

    /// Runs one layer on the states of whole sequences.
    ///
    /// - Parameter observe: called with each distinct input of the layer's matrices.
    func run(layer number: Int, _ states: inout TokenStates, observe: Observer = { _, _, _ in }) async throws {
        func note(_ kind: LinearInput.Kind, _ states: TokenStates, expert: Int? = nil, _ tokens: [Int]? = nil) {
            if let input = LinearInput(layer: number, kind, expert: expert) { observe(input, states, tokens) }
        }
        let h = model.hyperparameters
        let layer = model.layers[number]
        let inputs = states.normed(layer.attentionNorm, epsilon: h.normEpsilon, from: buffers)
        note(.attentionIn, inputs)
        var parts = try await projections(layer, inputs)
        buffers.give(inputs)
        let means = try await attention.run(parts[0], parts[1], parts[2], context: context)
        for part in parts { buffers.give(part) }
        parts = []
        note(.outputIn, means)
        try await runner.add(layer.output, of: means, to: &states)
        buffers.give(means)
        let middle = states.normed(layer.feedForwardNorm, epsilon: h.normEpsilon, from: buffers)
        note(.feedForwardIn, middle)
        guard let router = layer.router else {
            let gated = try await runner.gated(layer.feedForward[0], middle)
            note(.downIn, gated)
            try await runner.add(layer.feedForward[0].down, of: gated, to: &states)
            buffers.give(middle)
            buffers.give(gated)
            return
        }
        let scores = try await runner.apply([router], to: middle)[0]
        for (expert, chosen) in ExpertChoice.tokens(scores, h.expertsPerToken).enumerated() where !chosen.isEmpty {
            let (own, tokens) = (middle.rows(chosen), chosen.map(\.token))
            note(.feedForwardIn, own, expert: expert, tokens)
            let gated = try await runner.gated(layer.feedForward[expert], own)
            note(.downIn, gated, expert: expert, tokens)
            try await runner.add(layer.feedForward[expert].down, of: gated, to: &states, chosen: chosen)
        }
    }

    /// Receives an input of an output or down projection: which it is, its rows in this model, its rows where only the matrices before it are
    /// those of another model, and the tokens that the rows are of; nil for all tokens.
    typealias PairObserver = (LinearInput, TokenStates, TokenStates, [Int]?) -> Void

    /// Runs one layer on the states of whole sequences, and beside it the parts that another model has in place of its queries, keys, values,
    /// gates and up projections. Both parts get the states of this model.
    func run(
        layer number: Int, beside other: DecoderPass, _ states: inout TokenStates, observe: PairObserver
    ) async throws {
        func note(
            _ kind: LinearInput.Kind, _ own: TokenStates, _ others: TokenStates, expert: Int? = nil,
            _ tokens: [Int]? = nil
        ) {
            if let input = LinearInput(layer: number, kind, expert: expert) { observe(input, own, others, tokens) }
        }
        let h = model.hyperparameters
        let (layer, changed) = (model.layers[number], other.model.layers[number])
        let inputs = states.normed(layer.attentionNorm, epsilon: h.normEpsilon)
        let parts = try await projections(layer, inputs)
        let means = try await attention.run(parts[0], parts[1], parts[2], context: context)
        let others = try await other.projections(changed, inputs)
        let otherMeans = try await other.attention.run(others[0], others[1], others[2], context: context)
        note(.outputIn, means, otherMeans)
        try await runner.add(layer.output, of: means, to: &states)
        let middle = states.normed(layer.feedForwardNorm, epsilon: h.normEpsilon)
        guard let router = layer.router else {
            let gated = try await runner.gated(layer.feedForward[0], middle)
            note(.downIn, gated, try await other.runner.gated(changed.feedForward[0], middle))
            try await runner.add(layer.feedForward[0].down, of: gated, to: &states)
            return
        }
        let scores = try await runner.apply([router], to: middle)[0]
        for (expert, chosen) in ExpertChoice.tokens(scores, h.expertsPerToken).enumerated() where !chosen.isEmpty {
            let (own, tokens) = (middle.rows(chosen), chosen.map(\.token))
            let gated = try await runner.gated(layer.feedForward[expert], own)
            let otherGated = try await other.runner.gated(changed.feedForward[expert], own)
            note(.downIn, gated, otherGated, expert: expert, tokens)
            try await runner.add(layer.feedForward[expert].down, of: gated, to: &states, chosen: chosen)
        }
    }
}

/// The choice of experts for tokens, as Mixtral makes it: softmax over all experts, the largest, and their probabilities scaled to sum 1.
enum ExpertChoice {
    /// For each expert its tokens, in order, and their factors.
    ///
    /// - Parameters:
    ///   - scores: outputs of the router, a column per expert.
    ///   - count: experts per token.
    static func tokens(_ scores: TokenStates, _ count: Int) -> [[(token: Int, factor: Float)]] {
        var chosen = [[(token: Int, factor: Float)]](repeating: [], count: scores.width)
        for token in 0..<scores.tokens {
            let row = scores.values[token * scores.width..<(token + 1) * scores.width]
            let maximum = row.max() ?? 0
            let weights = row.map { Activation.exponential($0 - maximum) }
            // Of equal experts the first is taken.
            let best = weights.indices.sorted { weights[$0] == weights[$1] ? $0 < $1 : weights[$0] > weights[$1] }
                .prefix(count)
            let sum = best.reduce(0 as Float) { $0 + weights[$1] }
            for expert in best { chosen[expert].append((token, weights[expert] / sum)) }
        }
        return chosen
    }
}
