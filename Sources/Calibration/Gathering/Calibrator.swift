import Architectures
package import FileAccess
package import Moments
import Products
package import SystemPackage
internal import TensorModel
import Weights

/// A text to gather activations on, and the weight of its tokens.
package struct WeightedText: Sendable {
    /// The text as token ids.
    package let text: TokenizedText
    /// Weight of one of its tokens, above 0.
    package let weight: Double

    /// A text.
    package init(_ text: TokenizedText, weight: Double) { (self.text, self.weight) = (text, weight) }
}

/// Gathers second moments of the inputs of all linear layers of a model, layer by layer, and writes them to a file.
package struct Calibrator: Sendable {
    private let model: ModelWeights
    private let options: EvaluationOptions
    private let blocks: MomentBlocks

    /// Prepares the run. Of the options, context, tokens, memory, jobs and scratch count.
    ///
    /// - Throws: `usage` if the options have no meaning, `libraryMissing`.
    package init(_ model: ModelWeights, _ options: EvaluationOptions, blocks: MomentBlocks) throws {
        guard options.context >= 2 else {
            throw IngotError(.usage, found: "a context of \(options.context) tokens", expected: "2 or more")
        }
        try Products.requireLibrary()
        (self.model, self.options, self.blocks) = (model, options, blocks)
    }

    /// Runs the texts through the model, and writes the moments. Sequences go to the two halves in turn.
    ///
    /// An interrupted run leaves the layers that it finished beside the file. The next run with the same model, texts and options computes
    /// their states again, and continues the file behind them.
    ///
    /// - Parameters:
    ///   - modelHash: hash of the weights, for the file (`ContentIdentity.weights`).
    ///   - tokenizerHash: hash of the tokenizer, for the file; nil if all texts are ids.
    /// - Returns: the number of inputs that an earlier run finished.
    /// - Throws: `textInvalid` if there are fewer than two sequences; errors of reading and writing.
    package func run(
        _ texts: [WeightedText], to path: FilePath, modelHash: ContentHash, tokenizerHash: ContentHash?,
        progress: @escaping (EvaluationProgress) -> Void = { _ in }
    ) async throws -> Int {
        var sequences: [(ids: [Int32], share: TokenShare)] = []
        var described: [MomentsDescription.Text] = []
        for text in texts {
            let found = text.text.sequences(options)
            for ids in found {
                sequences.append((ids, TokenShare(half: sequences.count % MomentSums.halves, weight: text.weight)))
            }
            described.append(
                MomentsDescription.Text(
                    name: FilePath(text.text.name).lastComponent?.string ?? text.text.name,
                    hash: text.text.idsHash.description,
                    weight: text.weight, tokens: UInt64(found.count * options.context)))
        }
        guard sequences.count >= MomentSums.halves else {
            throw IngotError(
                .textInvalid, file: texts.first?.text.name ?? "", found: "\(sequences.count) sequences",
                expected: "at least \(MomentSums.halves) of \(options.context) tokens: one for each half",
                remedy: "give a longer text, or a shorter context")
        }
        let h = model.hyperparameters
        var description = MomentsDescription()
        (description.blocks, description.family) = (blocks, h.family.rawValue)
        (description.context, description.sequences) = (UInt64(options.context), UInt64(sequences.count))
        description.texts = described
        description.modelHash = modelHash.description
        description.tokenizerHash = tokenizerHash?.description ?? ""
        var writer = try MomentsWriter.open(path, MomentsLayout(inputs(h)), description)
        let resumed = writer.resumedInputs
        let budget = try EvaluationBudget(
            bytes: options.memory, jobs: options.jobs, [model], sequences: sequences.count, context: options.context,
            reserved: try momentBytes(h))
        let groups = stride(from: 0, to: sequences.count, by: budget.sequencesPerGroup).map {
            Array(sequences[$0..<min($0 + budget.sequencesPerGroup, sequences.count)])
        }
        let pass = DecoderPass(model, context: options.context, jobs: budget.jobs, lookahead: budget.lookahead)
        var store = try StateStore(
            tokens: groups.map { $0.count * options.context }, width: h.hidden,
            scratch: budget.keepsStates ? nil : options.scratch)
        for (number, group) in groups.enumerated() {
            try store.store(pass.embeddings(group.flatMap(\.ids)), number)
        }
        var done = 0
        for layer in 0..<h.layers {
            // A finished layer needs its states only.
            let isFinished = (writer.next?.input.layer ?? .max) > layer
            var sums = MomentSums(blocks)
            for (number, group) in groups.enumerated() {
                try Interruption.check()
                var states = try store.take(number)
                let shares = group.flatMap { sequence in
                    [TokenShare](repeating: sequence.share, count: options.context)
                }
                var seen: [(LinearInput, TokenStates, [TokenShare])] = []
                try await pass.run(layer: layer, &states) { input, states, tokens in
                    guard !isFinished else { return }
                    seen.append((input, states, tokens.map { $0.map { shares[$0] } } ?? shares))
                }
                for (input, states, shares) in seen { await sums.add(input, states, shares) }
                try store.store(states, number)
                done += 1
                progress(EvaluationProgress(done: done, total: h.layers * groups.count + 1))
            }
            while let next = writer.next, next.input.layer == layer {
                try writer.append(sums.halves(next.input, next.blocks))
            }
        }
        var sums = MomentSums(blocks)
        for (number, group) in groups.enumerated() {
            let states = try store.take(number).normed(model.finalNorm, epsilon: h.normEpsilon)
            let shares = group.flatMap { [TokenShare](repeating: $0.share, count: options.context) }
            await sums.add(.head, states, shares)
        }
        while let next = writer.next { try writer.append(sums.halves(next.input, next.blocks)) }
        try writer.publish()
        progress(EvaluationProgress(done: done + 1, total: done + 1))
        return resumed
    }

    /// The inputs of all linear layers of a model.
    private func inputs(_ h: ModelHyperparameters) -> [MomentsLayout.Input] {
        var inputs: [MomentsLayout.Input] = []
        func add(_ input: LinearInput?, _ columns: Int) {
            if let input { inputs.append(MomentsLayout.Input(input, columns: columns)) }
        }
        for layer in 0..<h.layers {
            add(LinearInput(layer: layer, .attentionIn), h.hidden)
            add(LinearInput(layer: layer, .outputIn), h.heads * h.headSize)
            if h.experts == 0 {
                add(LinearInput(layer: layer, .feedForwardIn), h.hidden)
                add(LinearInput(layer: layer, .downIn), h.feedForward)
            } else {
                add(LinearInput(layer: layer, .feedForwardIn), h.hidden)
                for expert in 0..<h.experts {
                    add(LinearInput(layer: layer, .feedForwardIn, expert: expert), h.hidden)
                    add(LinearInput(layer: layer, .downIn, expert: expert), h.feedForward)
                }
            }
        }
        add(.head, h.hidden)
        return inputs
    }

    /// Bytes of the sums of one layer, and of one input while it is added to and written.
    private func momentBytes(_ h: ModelHyperparameters) throws -> UInt64 {
        func bytes(_ columns: Int) -> UInt64 {
            UInt64(MomentSums.halves * blocks.layout(columns: columns).squareCount) * 4
        }
        let experts = UInt64(max(1, h.experts))
        let attention = bytes(h.hidden) + bytes(h.heads * h.headSize)
        let feedForward = experts * (bytes(h.hidden) + bytes(h.feedForward)) + (h.experts > 0 ? bytes(h.hidden) : 0)
        return attention + feedForward + 2 * max(bytes(h.hidden), bytes(h.feedForward))
    }
}
