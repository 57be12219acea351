import Architectures
import FileAccess
import Moments
import TensorModel

/// A sequence that gradients are taken on.
struct GradientSequence: Sendable {
    /// Its tokens.
    let ids: [Int32]
    /// Number of its text, and its own number in the text.
    let text: Int, number: Int
    /// The weight of one of its tokens.
    let weight: Double
}

/// Gathers squares of gradients at the outputs of all matrices of a model, by a backward pass layer by layer.
///
/// The forward pass keeps the inputs of every layer, in memory or in a scratch file. The backward pass goes from the head to the first
/// layer.
struct GradientGatherer: Sendable {
    private let model: ModelWeights
    private let options: EvaluationOptions
    private let groups: [[GradientSequence]]
    private let budget: GradientBudget

    /// Shares out the memory.
    ///
    /// - Throws: `usage` if the budget is too small for one sequence.
    init(
        _ model: ModelWeights, _ options: EvaluationOptions, _ blocks: MomentBlocks, _ sequences: [GradientSequence]
    ) throws {
        (self.model, self.options) = (model, options)
        let budget = try GradientBudget(
            bytes: options.memory, jobs: options.jobs, model, blocks, sequences: sequences.count,
            context: options.context)
        self.budget = budget
        groups = stride(from: 0, to: sequences.count, by: budget.sequencesPerGroup).map {
            Array(sequences[$0..<min($0 + budget.sequencesPerGroup, sequences.count)])
        }
    }

    /// Number of steps: a layer of a group of sequences forwards is one, backwards two; the head of a group is one.
    var steps: Int { groups.count * (3 * model.hyperparameters.layers + 1) }

    /// The mean squares and the sensitivity of each matrix of `layout`.
    ///
    /// - Parameters:
    ///   - moments: those of all inputs.
    ///   - progress: called with the number of steps that are done.
    /// - Throws: errors of reading.
    func run(
        _ layout: GradientsLayout, _ moments: MomentsFile, progress: (Int) -> Void
    ) async throws -> (squares: [LinearMatrix: [Float]], sensitivities: [LinearMatrix: Double]) {
        let h = model.hyperparameters
        let forward = DecoderPass(model, context: options.context, jobs: budget.jobs, lookahead: budget.lookahead)
        let tokens = groups.map { $0.count * options.context }
        let scratch = budget.keepsStates ? nil : options.scratch
        // States forwards, gradients backwards; and the inputs of each layer, one group after the other.
        var store = try StateStore(tokens: tokens, width: h.hidden, scratch: scratch)
        var inputs = try StateStore(
            tokens: (0..<h.layers).flatMap { _ in tokens }, width: h.hidden, scratch: scratch)
        var done = 0
        func step(_ count: Int) throws {
            done += count
            progress(done)
            try Interruption.check()
        }
        for (number, group) in groups.enumerated() {
            try store.store(forward.embeddings(group.flatMap(\.ids)), number)
        }
        for layer in 0..<h.layers {
            for group in groups.indices {
                if group > 0, tokens[group] != tokens[group - 1] { forward.buffers.removeAll() }
                var states = try store.take(group)
                try inputs.store(states, layer * groups.count + group)
                try await forward.run(layer: layer, &states)
                try store.store(states, group)
                try step(1)
            }
        }
        var sums = GradientSums()
        let leverages = Leverages(moments, jobs: budget.jobs, maximumBytes: budget.factorBytes)
        let head = HeadBackward(jobs: budget.jobs)
        let weights = groups.map { group in
            group.flatMap { [Double](repeating: $0.weight, count: options.context) }
        }
        for group in groups.indices {
            let states = try store.take(group)
            let normed = states.normed(model.finalNorm, epsilon: h.normEpsilon)
            let (found, sum) = try await head.run(
                model, normed, draws: draws(groups[group]), weights: weights[group],
                leverages: leverages.of(.head, normed))
            sums.add(.head, sum)
            var gradients = TokenStates(tokens: states.tokens, width: h.hidden)
            gradients.addNormBackward(found, at: states, model.finalNorm, epsilon: h.normEpsilon)
            try store.store(gradients, group)
            try step(1)
        }
        let backward = BackwardPass(forward, leverages, jobs: budget.jobs)
        forward.buffers.removeAll()
        for layer in (0..<h.layers).reversed() {
            for group in groups.indices {
                if group > 0, tokens[group] != tokens[group - 1] { forward.buffers.removeAll() }
                let states = try inputs.take(layer * groups.count + group)
                var gradients = try store.take(group)
                try await backward.run(layer: layer, states, &gradients, weights[group], to: &sums)
                try store.store(gradients, group)
                try step(2)
            }
        }
        var means: [LinearMatrix: [Float]] = [:]
        var sensitivities: [LinearMatrix: Double] = [:]
        for entry in layout.matrices {
            means[entry.matrix] = sums.means(of: entry.matrix, rows: entry.rows)
            sensitivities[entry.matrix] = sums.sensitivity(of: entry.matrix)
        }
        return (means, sensitivities)
    }

    /// The numbers that the labels of a group are drawn by.
    private func draws(_ group: [GradientSequence]) -> [Double] {
        group.flatMap { sequence in
            (0..<options.context).map {
                LabelDraw.number(text: sequence.text, sequence: sequence.number, position: $0)
            }
        }
    }

    /// The matrices of a model that gradients are gathered of.
    ///
    /// - Throws: `momentsInvalid` for a model that no file of moments can describe.
    static func layout(_ h: ModelHyperparameters) throws -> GradientsLayout {
        var matrices = [GradientsLayout.Matrix(.head, rows: h.vocabulary)]
        func add(_ layer: Int, _ kind: TensorRole.Kind, _ rows: Int, expert: Int? = nil) {
            if let matrix = LinearMatrix(layer: layer, kind, expert: expert) {
                matrices.append(GradientsLayout.Matrix(matrix, rows: rows))
            }
        }
        for layer in 0..<h.layers {
            add(layer, .attentionQuery, h.heads * h.headSize)
            add(layer, .attentionKey, h.keyValueHeads * h.headSize)
            add(layer, .attentionValue, h.keyValueHeads * h.headSize)
            add(layer, .attentionOutput, h.hidden)
            for expert in h.experts > 0 ? Array(0..<h.experts).map(Optional.some) : [nil] {
                add(layer, .gate, h.feedForward, expert: expert)
                add(layer, .up, h.feedForward, expert: expert)
                add(layer, .down, h.hidden, expert: expert)
            }
        }
        return try GradientsLayout(matrices, vocabulary: h.vocabulary)
    }
}
