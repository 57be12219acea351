package import FileAccess
import Products
package import SystemPackage
internal import TensorModel
import Weights

/// Options of an evaluation.
package struct EvaluationOptions: Sendable, Hashable {
    /// Number of tokens of a sequence, and of those that only give context: predictions behind them are scored.
    package var context = 512, unscored = 256
    /// Most tokens of each text; nil for all.
    package var tokens: Int?
    /// Upper bound of the buffers, in bytes; bands in work at the same time.
    package var memory: UInt64 = 2 << 30, jobs = 1
    /// Directory of the scratch file, if states do not fit in memory.
    package var scratch: FilePath = "/tmp"

    /// The defaults of the command: those of llama.cpp's `perplexity`.
    package init() {}

    /// Requires that the model was made for a context of this length. Beyond it a model predicts little, and its figures mislead.
    ///
    /// - Throws: `usage`, which names both lengths.
    func requireContext(of model: ModelWeights) throws {
        let longest = model.hyperparameters.context
        guard context <= longest else {
            throw IngotError(
                .usage, found: "a context of \(context) tokens",
                expected: "at most \(longest), the longest that the model was made for (`max_position_embeddings`)",
                remedy: "take a shorter context")
        }
    }
}

/// A text as token ids.
package struct TokenizedText: Sendable {
    /// Name of the text in reports.
    package let name: String
    /// The ids, without those that the tokenizer puts before a text.
    package let ids: [Int32]
    /// Tokens that the tokenizer puts before a text.
    package let begin: [Int32]
    /// Hash of the text in UTF-8; nil for a file of ids.
    package let textHash: ContentHash?

    /// A text.
    package init(name: String, ids: [Int32], begin: [Int32], textHash: ContentHash? = nil) {
        (self.name, self.ids, self.begin, self.textHash) = (name, ids, begin, textHash)
    }

    /// Hash of the ids as 32-bit numbers, little-endian.
    package var idsHash: ContentHash {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * ids.count)
        for id in ids { bytes += LittleEndian.bytes(UInt32(bitPattern: id)) }
        return ContentHash(of: bytes.span)
    }

    /// Number of sequences that the text has.
    func sequenceCount(_ options: EvaluationOptions) -> Int {
        min(ids.count, options.tokens ?? .max) / options.context
    }

    /// Sequences of `context` tokens without overlap; what is left at the end is not used. The first tokens of a sequence are replaced by
    /// those that the tokenizer puts before a text, as llama.cpp's `perplexity` does.
    func sequences(_ options: EvaluationOptions) -> [[Int32]] {
        (0..<sequenceCount(options)).map { number -> [Int32] in
            var sequence = Array(ids[number * options.context..<(number + 1) * options.context])
            sequence.replaceSubrange(0..<min(begin.count, sequence.count), with: begin.prefix(sequence.count))
            return sequence
        }
    }
}

/// Progress of an evaluation: steps done of all steps. A step is a layer of a group of sequences, or the head of one.
package struct EvaluationProgress: Sendable, Hashable {
    /// Number of steps done, and of all steps.
    package let done: Int, total: Int
    /// Whether the step was one of gradients.
    package var isOfGradients = false
}

/// Measures perplexity of a model, and its divergence from a reference, on texts.
package struct Evaluator: Sendable {
    private let model: ModelWeights, reference: ModelWeights?
    private let options: EvaluationOptions

    /// Prepares an evaluation.
    ///
    /// - Throws: `usage` if the options have no meaning, `sourceMismatch` if the reference has another vocabulary, `libraryMissing`.
    package init(_ model: ModelWeights, against reference: ModelWeights?, _ options: EvaluationOptions) throws {
        guard options.context >= 2, (0..<options.context - 1).contains(options.unscored) else {
            throw IngotError(
                .usage, found: "a context of \(options.context) tokens, \(options.unscored) of them not scored",
                expected: "at least 2 tokens, and one that is scored")
        }
        for model in [model] + (reference.map { [$0] } ?? []) { try options.requireContext(of: model) }
        if let reference, reference.hyperparameters.vocabulary != model.hyperparameters.vocabulary {
            throw IngotError(
                .sourceMismatch,
                found: "a reference with \(reference.hyperparameters.vocabulary) tokens",
                expected: "\(model.hyperparameters.vocabulary), the vocabulary of the model",
                remedy: "name the model that this one was made from")
        }
        try Products.requireLibrary()
        (self.model, self.reference, self.options) = (model, reference, options)
    }

    /// Evaluates all texts.
    ///
    /// - Returns: one result per text, in order.
    /// - Throws: `textInvalid` for a text shorter than a context, or with tokens that the model does not have; errors of reading.
    package func run(
        _ texts: [TokenizedText], progress: @escaping (EvaluationProgress) -> Void = { _ in }
    ) async throws -> [TextScores] {
        let sequences = texts.map { $0.sequences(options) }
        for (text, found) in zip(texts, sequences) where found.isEmpty {
            throw IngotError(
                .textInvalid, file: text.name, found: "\(text.ids.count) tokens",
                expected: "at least \(options.context), one sequence",
                remedy: "give a longer text, or a shorter context")
        }
        let all = sequences.flatMap(\.self)
        let models = [model] + (reference.map { [$0] } ?? [])
        let budget = try EvaluationBudget(
            bytes: options.memory, jobs: options.jobs, models, sequences: all.count, context: options.context)
        let groups = stride(from: 0, to: all.count, by: budget.sequencesPerGroup).map {
            Array(all[$0..<min($0 + budget.sequencesPerGroup, all.count)])
        }
        let total = groups.count * (models.reduce(0) { $0 + $1.hyperparameters.layers } + 1)
        var done = 0
        func step() {
            done += 1
            progress(EvaluationProgress(done: done, total: total))
        }
        var own = try await states(of: model, groups, budget, step)
        var scores: [SequenceScores] = []
        if let reference {
            var other = try await states(of: reference, groups, budget, step)
            for group in groups.indices {
                let (mine, others) = (try own.take(group), try other.take(group))
                scores += try await score(groups[group], mine, (reference, others), budget)
                step()
            }
        } else {
            for group in groups.indices {
                scores += try await score(groups[group], try own.take(group), nil, budget)
                step()
            }
        }
        var results: [TextScores] = []
        for (text, found) in zip(texts, sequences) {
            results.append(TextScores(name: text.name, sequences: Array(scores.prefix(found.count))))
            scores.removeFirst(found.count)
        }
        return results
    }

    /// The states of all groups behind the last layer of a model.
    private func states(
        of model: ModelWeights, _ groups: [[[Int32]]], _ budget: EvaluationBudget, _ step: () -> Void
    ) async throws -> StateStore {
        let pass = DecoderPass(model, context: options.context, jobs: budget.jobs, lookahead: budget.lookahead)
        var store = try StateStore(
            tokens: groups.map { $0.count * options.context }, width: model.hyperparameters.hidden,
            scratch: budget.keepsStates ? nil : options.scratch)
        for (number, group) in groups.enumerated() {
            try store.store(pass.embeddings(group.flatMap(\.self)), number)
        }
        for layer in 0..<model.hyperparameters.layers {
            for group in groups.indices {
                try Interruption.check()
                var states = try store.take(group)
                try await pass.run(layer: layer, &states)
                try store.store(states, group)
                step()
            }
        }
        return store
    }

    /// Scores the sequences of a group.
    private func score(
        _ group: [[Int32]], _ states: TokenStates, _ reference: (model: ModelWeights, states: TokenStates)?,
        _ budget: EvaluationBudget
    ) async throws -> [SequenceScores] {
        let scored = group.indices.flatMap { sequence in
            (options.unscored..<options.context - 1).map { (token: sequence * options.context + $0, factor: Float(1)) }
        }
        func last(_ model: ModelWeights, _ states: TokenStates) -> TokenStates {
            states.rows(scored).normed(model.finalNorm, epsilon: model.hyperparameters.normEpsilon)
        }
        let targets = group.flatMap { $0[(options.unscored + 1)...] }
        let sums = try await VocabularyPass(jobs: budget.jobs, lookahead: budget.lookahead).run(
            model, last(model, states), reference.map { ($0.model, last($0.model, $0.states)) }, targets: targets)
        let perSequence = options.context - 1 - options.unscored
        return group.indices.map { sequence in
            SequenceScores(
                sums[sequence * perSequence..<(sequence + 1) * perSequence], hasReference: reference != nil)
        }
    }
}
