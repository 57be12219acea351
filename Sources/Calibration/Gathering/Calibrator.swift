import Architectures
package import FileAccess
package import Moments
import Products
package import SystemPackage
package import TensorModel
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

/// An importance matrix of llama.cpp to write beside the file of moments.
package struct ImatrixOutput: Sendable {
    /// The file, and its form.
    package let path: FilePath, form: Imatrix.Form

    /// An output.
    package init(_ path: FilePath, _ form: Imatrix.Form) { (self.path, self.form) = (path, form) }
}

/// Gathers second moments of the inputs of all linear layers of a model, layer by layer, and writes them to a file.
package struct Calibrator: Sendable {
    private let model: ModelWeights
    private let options: EvaluationOptions
    private let blocks: MomentBlocks
    private let gradientTokens: Int

    /// Tokens that gradients are taken on at most, if nothing else is asked for.
    package static var usualGradientTokens: Int { GradientSelection.usualTokens }

    /// Prepares the run. Of the options, context, tokens, memory, jobs and scratch count.
    ///
    /// - Parameter gradientTokens: tokens that gradients are taken on at most, in whole sequences; 0 for no gradients.
    /// - Throws: `usage` if the options have no meaning, `libraryMissing`.
    package init(
        _ model: ModelWeights, _ options: EvaluationOptions, blocks: MomentBlocks,
        gradientTokens: Int = usualGradientTokens
    ) throws {
        guard gradientTokens >= 0 else {
            throw IngotError(.usage, found: "gradients on \(gradientTokens) tokens", expected: "0 or more")
        }
        guard options.context >= 2 else {
            throw IngotError(.usage, found: "a context of \(options.context) tokens", expected: "2 or more")
        }
        try options.requireContext(of: model)
        try Products.requireLibrary()
        (self.model, self.options, self.blocks) = (model, options, blocks)
        self.gradientTokens = gradientTokens
    }

    /// A warning if the texts are too short for some inputs, which is known before the run; nil if they are not.
    ///
    /// - Parameter path: path of the file of moments, for the message.
    /// - Throws: `momentsInvalid` for a model that no file of moments can describe.
    package func shortTextWarning(_ texts: [WeightedText], _ path: FilePath) throws -> IngotWarning? {
        let tokens = texts.reduce(0) { $0 + $1.text.sequenceCount(options) * options.context }
        // Less than that is an error of the run.
        guard tokens >= MomentSums.halves * options.context else { return nil }
        let seen = Calibrator.inputs(model.hyperparameters).map {
            MomentsWarnings.Seen($0.input, perColumn: Double(tokens) / Double($0.columns))
        }
        return MomentsWarnings.shortText(seen, path.string)
    }

    /// Runs the texts through the model, and writes the moments. Sequences go to the two halves in turn.
    ///
    /// An interrupted run leaves the layers that it finished beside the file. The next run with the same model, texts and options computes
    /// their states again, and continues the file behind them. Gradients are one part behind all layers: they are computed from the beginning.
    ///
    /// - Parameters:
    ///   - modelHash: hash of the weights, for the file (`ContentIdentity.weights`).
    ///   - tokenizerHash: hash of the tokenizer, for the file; nil if all texts are ids.
    ///   - imatrix: an importance matrix to write too. It gets its name before the file of moments does, so a run that fails between them
    ///     has its moments beside the file, and can be continued.
    /// - Returns: the number of inputs that an earlier run finished.
    /// - Throws: `textInvalid` if there are fewer than two sequences; errors of reading and writing.
    package func run(
        _ texts: [WeightedText], to path: FilePath, modelHash: ContentHash, tokenizerHash: ContentHash?,
        imatrix: ImatrixOutput? = nil,
        progress: @escaping (EvaluationProgress) -> Void = { _ in }
    ) async throws -> Int {
        var sequences: [(ids: [Int32], share: TokenShare)] = []
        var described: [MomentsDescription.Text] = []
        var chosen: [GradientSequence] = []
        let selection = GradientSelection.choose(
            texts.map { $0.text.sequenceCount(options) }, context: options.context, tokens: gradientTokens)
        for (number, text) in texts.enumerated() {
            let found = text.text.sequences(options)
            for ids in found {
                sequences.append((ids, TokenShare(half: sequences.count % MomentSums.halves, weight: text.weight)))
            }
            chosen += selection[number].map {
                GradientSequence(ids: found[$0], text: number, number: $0, weight: text.weight)
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
        let gatherer = gradientTokens > 0 ? try GradientGatherer(model, options, blocks, chosen) : nil
        if gatherer != nil {
            description.gradients = GradientsDescription(
                tokens: UInt64(chosen.count * options.context),
                rowOrder: model.turnsNeighbours ? .neighbours : .halves)
        }
        let gradientsLayout = gatherer == nil ? nil : try GradientGatherer.layout(h)
        var writer = try MomentsWriter.open(
            path, MomentsLayout(Calibrator.inputs(h), gradients: gradientsLayout), description)
        let resumed = writer.resumedInputs
        let total = try await gather(sequences, to: &writer, stepsBehind: gatherer?.steps ?? 0, progress)
        if let gatherer, let gradientsLayout, writer.needsGradients {
            let before = total - 1 - gatherer.steps
            let found = try await gatherer.run(gradientsLayout, writer.inputs()) { steps in
                progress(EvaluationProgress(done: before + steps, total: total, isOfGradients: true))
            }
            try writer.append(
                OutputGradients(
                    squares: found.squares, sensitivities: found.sensitivities,
                    tokenWeights: Calibrator.tokenWeights(sequences, h.vocabulary)))
        }
        if let imatrix { try ImatrixWriter.write(writer.finished(), as: imatrix.form, to: imatrix.path) }
        try writer.publish()
        progress(EvaluationProgress(done: total, total: total))
        return resumed
    }

    /// Gathers the moments. Its buffers are gone when it returns.
    ///
    /// - Parameter stepsBehind: steps of what follows.
    /// - Returns: number of all steps.
    private func gather(
        _ sequences: [(ids: [Int32], share: TokenShare)], to writer: inout MomentsWriter, stepsBehind: Int,
        _ progress: (EvaluationProgress) -> Void
    ) async throws -> Int {
        let h = model.hyperparameters
        let budget = try EvaluationBudget(
            bytes: options.memory, jobs: options.jobs, [model], sequences: sequences.count, context: options.context,
            reserved: Calibrator.momentBytes(h, blocks))
        let groups = stride(from: 0, to: sequences.count, by: budget.sequencesPerGroup).map {
            Array(sequences[$0..<min($0 + budget.sequencesPerGroup, sequences.count)])
        }
        let pass = DecoderPass(model, context: options.context, jobs: budget.jobs, lookahead: budget.lookahead)
        var store = try StateStore(
            tokens: groups.map { $0.count * options.context }, width: h.hidden,
            scratch: budget.keepsStates ? nil : options.scratch)
        let total = h.layers * groups.count + stepsBehind + 1
        // An earlier run may have finished all layers.
        for (number, group) in groups.enumerated() where writer.next != nil {
            try store.store(pass.embeddings(group.flatMap(\.ids)), number)
        }
        var done = 0
        for layer in 0..<h.layers {
            guard writer.next != nil else { break }
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
                progress(EvaluationProgress(done: done, total: total))
            }
            while let next = writer.next, next.input.layer == layer {
                try writer.append(sums.halves(next.input, next.blocks))
            }
        }
        var sums = MomentSums(blocks)
        for (number, group) in groups.enumerated() where writer.next != nil {
            let states = try store.take(number).normed(model.finalNorm, epsilon: h.normEpsilon)
            let shares = group.flatMap { [TokenShare](repeating: $0.share, count: options.context) }
            await sums.add(.head, states, shares)
        }
        while let next = writer.next { try writer.append(sums.halves(next.input, next.blocks)) }
        return total
    }

    /// For each token of the vocabulary the sum of its weights in the sequences.
    private static func tokenWeights(_ sequences: [(ids: [Int32], share: TokenShare)], _ vocabulary: Int) -> [Double] {
        var weights = [Double](repeating: 0, count: vocabulary)
        for (ids, share) in sequences { for id in ids { weights[Int(id)] += share.weight } }
        return weights
    }

    /// The inputs of all linear layers of a model.
    static func inputs(_ h: ModelHyperparameters) -> [MomentsLayout.Input] {
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

    /// Bytes of the sums of one layer, and of one input while it is added to and written; 2^64 - 1 if they are beyond any memory.
    static func momentBytes(_ h: ModelHyperparameters, _ blocks: MomentBlocks) -> UInt64 {
        func bytes(_ columns: Int) -> UInt64 {
            let layout = blocks.layout(columns: columns)
            let perBlock = Checked.multiply(UInt64(layout.width), UInt64(layout.width))
            let all = perBlock.flatMap { Checked.multiply($0, UInt64(layout.count)) }
            return all.flatMap { Checked.multiply($0, UInt64(MomentSums.halves) * 4) } ?? .max
        }
        func sum(_ parts: [UInt64], times count: UInt64 = 1) -> UInt64 {
            parts.reduce(0) { Checked.multiply($1, count).flatMap { [sum = $0] in Checked.add(sum, $0) } ?? .max }
        }
        let (hidden, means, wide) = (bytes(h.hidden), bytes(h.heads * h.headSize), bytes(h.feedForward))
        let experts = sum([hidden, wide], times: UInt64(max(1, h.experts)))
        return sum([hidden, means, experts, h.experts > 0 ? hidden : 0, sum([max(hidden, wide)], times: 2)])
    }
}
