import Architectures
import Products
import TensorModel

/// Takes gradients at the outputs of a layer back to its inputs, and adds up their squares at the outputs of its matrices.
///
/// What the backward pass needs of the forward pass is computed again from the inputs of the layer. The choice of experts counts as fixed:
/// there is no gradient through the router.
struct BackwardPass: Sendable {
    private let forward: DecoderPass
    private let back: BackwardRunner
    private let attention: AttentionBackward
    private let leverages: Leverages

    /// Prepares a pass.
    ///
    /// - Parameters:
    ///   - forward: the pass through the same model.
    ///   - leverages: of the inputs of all matrices.
    ///   - jobs: shares of the tokens and heads in work at the same time.
    init(_ forward: DecoderPass, _ leverages: Leverages, jobs: Int) {
        let h = forward.model.hyperparameters
        (self.forward, self.leverages) = (forward, leverages)
        back = BackwardRunner(jobs: jobs, forward.buffers)
        attention = AttentionBackward(
            heads: h.heads, keyValueHeads: h.keyValueHeads, headSize: h.headSize, jobs: jobs, forward.buffers)
    }

    /// Takes gradients through one layer.
    ///
    /// - Parameters:
    ///   - states: the inputs of the layer, of whole sequences.
    ///   - gradients: those at its outputs; afterwards those at its inputs.
    ///   - weights: the weight of each token.
    ///   - sums: where the squares are added.
    func run(
        layer number: Int, _ states: TokenStates, _ gradients: inout TokenStates, _ weights: [Double],
        to sums: inout GradientSums
    ) async throws {
        func matrix(_ kind: TensorRole.Kind) -> LinearMatrix? { LinearMatrix(layer: number, kind) }
        func input(_ kind: LinearInput.Kind) -> LinearInput? { LinearInput(layer: number, kind) }
        let (model, buffers) = (forward.model, forward.buffers)
        let layer = model.layers[number]
        let epsilon = model.hyperparameters.normEpsilon
        let inputs = states.normed(layer.attentionNorm, epsilon: epsilon, from: buffers)
        let parts = try await forward.projections(layer, inputs)
        let means = try await forward.attention.run(parts[0], parts[1], parts[2], context: forward.context)
        // From the buffers, as it goes back there.
        var middle = buffers.take(tokens: states.tokens, width: states.width)
        middle.store(states.values, tokens: 0..<states.tokens, columns: 0..<states.width)
        try await forward.runner.add(layer.output, of: means, to: &middle)
        let ofInputs = try await leverages.of(input(.attentionIn), inputs)
        let ofMeans = try await leverages.of(input(.outputIn), means)
        buffers.give(inputs)
        buffers.give(means)

        let normed = middle.normed(layer.feedForwardNorm, epsilon: epsilon, from: buffers)
        let atNormed = try await feedForward(number, normed, gradients, weights, to: &sums)
        gradients.addNormBackward(atNormed, at: middle, layer.feedForwardNorm, epsilon: epsilon)
        buffers.give(normed)
        buffers.give(atNormed)
        buffers.give(middle)

        sums.add(matrix(.attentionOutput), gradients, weights, ofMeans)
        let atMeans = try await back.run([(gradients, layer.output.matrix)])
        var (queries, keys, values) = try await attention.run(
            parts[0], parts[1], parts[2], atMeans, context: forward.context)
        for part in parts { buffers.give(part) }
        buffers.give(atMeans)
        forward.positions.turnBack(&queries, context: forward.context)
        forward.positions.turnBack(&keys, context: forward.context)
        sums.add(matrix(.attentionQuery), queries, weights, ofInputs)
        sums.add(matrix(.attentionKey), keys, weights, ofInputs)
        sums.add(matrix(.attentionValue), values, weights, ofInputs)
        let atInputs = try await back.run([
            (queries, layer.query.matrix), (keys, layer.key.matrix), (values, layer.value.matrix),
        ])
        gradients.addNormBackward(atInputs, at: states, layer.attentionNorm, epsilon: epsilon)
        for part in [queries, keys, values, atInputs] { buffers.give(part) }
    }

    /// Gradients at the inputs of the feed-forward part, from those at its outputs.
    private func feedForward(
        _ number: Int, _ inputs: TokenStates, _ gradients: TokenStates, _ weights: [Double], to sums: inout GradientSums
    ) async throws -> TokenStates {
        let layer = forward.model.layers[number]
        guard let router = layer.router else {
            return try await gated(number, nil, layer.feedForward[0], inputs, gradients, weights, to: &sums)
        }
        var result = TokenStates(tokens: inputs.tokens, width: inputs.width)
        let scores = try await forward.runner.apply([router], to: inputs)[0]
        let count = forward.model.hyperparameters.expertsPerToken
        for (expert, chosen) in ExpertChoice.tokens(scores, count).enumerated() where !chosen.isEmpty {
            var own = TokenStates(tokens: chosen.count, width: gradients.width)
            own.add(
                gradients.rows(chosen).values, chosen.count, columns: 0..<own.width, bias: nil,
                chosen: chosen.enumerated().map { ($0.offset, $0.element.factor) })
            let found = try await gated(
                number, expert, layer.feedForward[expert], inputs.rows(chosen), own, chosen.map { weights[$0.token] },
                to: &sums)
            result.add(
                found.values, chosen.count, columns: 0..<result.width, bias: nil, chosen: chosen.map { ($0.token, 1) })
        }
        return result
    }

    /// Gradients at the inputs of a feed-forward part or of one expert, from those at its outputs.
    private func gated(
        _ number: Int, _ expert: Int?, _ part: GatedLinear, _ inputs: TokenStates, _ gradients: TokenStates,
        _ weights: [Double], to sums: inout GradientSums
    ) async throws -> TokenStates {
        func matrix(_ kind: TensorRole.Kind) -> LinearMatrix? { LinearMatrix(layer: number, kind, expert: expert) }
        let ofInputs = try await leverages.of(LinearInput(layer: number, .feedForwardIn, expert: expert), inputs)
        var both = try await forward.runner.apply([part.gate, part.up], to: inputs)
        var (gate, up) = (both[0], both[1])
        both = []
        let ofGated = try await gatedLeverages(number, expert, gate, up)
        sums.add(matrix(.down), gradients, weights, ofGated)
        let inner = try await back.run([(gradients, part.down.matrix)])
        var gates = gate.values.mutableSpan
        var ups = up.values.mutableSpan
        Elementwise.gateBackward(&gates, &ups, inner.values.span)
        sums.add(matrix(.gate), gate, weights, ofInputs)
        sums.add(matrix(.up), up, weights, ofInputs)
        let result = try await back.run([(gate, part.gate.matrix), (up, part.up.matrix)])
        // Experts have other numbers of tokens each time.
        if expert == nil { for states in [inner, gate, up] { forward.buffers.give(states) } }
        return result
    }

    /// Leverages at the input of a down projection, which gates and up projections give.
    private func gatedLeverages(_ number: Int, _ expert: Int?, _ gate: TokenStates, _ up: TokenStates) async throws
        -> [Double]
    {
        // From the buffers, as it goes back there.
        var gated = expert == nil ? forward.buffers.take(tokens: gate.tokens, width: gate.width) : gate
        if expert == nil { gated.store(gate.values, tokens: 0..<gate.tokens, columns: 0..<gate.width) }
        var target = gated.values.mutableSpan
        Elementwise.gate(&target, up.values.span, rows: gate.tokens, columns: gate.width, nil, nil)
        let found = try await leverages.of(LinearInput(layer: number, .downIn, expert: expert), gated)
        if expert == nil { forward.buffers.give(gated) }
        return found
    }
}
