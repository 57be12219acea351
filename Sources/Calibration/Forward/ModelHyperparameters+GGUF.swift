import Checkpoints
import SystemPackage
import TensorModel
package import Weights

extension ModelHyperparameters {
    /// Takes the hyperparameters from the metadata of a GGUF file.
    ///
    /// - Throws: `unsupportedSource` for a scaling of rotary positions that the forward pass does not have; `valueOutOfRange` for numbers that
    ///   no model has.
    package init(_ decoder: GGUFDecoder) throws {
        let file = decoder.metadata.path.string
        func count(_ value: Int, _ key: String, maximum: Int = ModelHyperparameters.maximumCount) throws -> Int {
            guard value <= maximum else {
                throw IngotError(
                    .valueOutOfRange, file: file, found: "\(value) under `\(key)`", expected: "at most \(maximum)")
            }
            return value
        }
        switch decoder.family {
        case .llama: family = .llama
        case .mixtral: family = .mixtral
        case .qwen2: family = .qwen2
        }
        hidden = try count(decoder.hidden, "embedding_length", maximum: ModelHyperparameters.maximumLength)
        feedForward = try count(
            decoder.intermediate, "feed_forward_length", maximum: ModelHyperparameters.maximumLength)
        layers = try count(decoder.layers, "block_count")
        vocabulary = try count(decoder.vocabulary, "token_embd", maximum: ModelHyperparameters.maximumLength)
        heads = try count(decoder.heads, "attention.head_count")
        keyValueHeads = try count(decoder.keyValueHeads, "attention.head_count_kv")
        headSize = try count(
            decoder.headSize, "attention.key_length", maximum: ModelHyperparameters.maximumLength)
        normEpsilon = decoder.epsilon
        rotaryBase = decoder.ropeBase
        switch decoder.scaling {
        case nil: rotaryScaling = .none
        case .linear(let factor): rotaryScaling = .linear(factor: factor)
        case .llama3(let factor, let low, let high, let context):
            rotaryScaling = .llama3(
                factor: factor, lowFactor: low, highFactor: high, originalContext: Double(context))
        case .yarn:
            throw IngotError(
                .unsupportedSource, file: file, found: "rotary positions of type `yarn`",
                expected: "no scaling, linear or llama3")
        }
        context = decoder.context
        experts = try count(decoder.experts, "expert_count")
        expertsPerToken = decoder.expertsUsed
        hasQueryBias = decoder.family == .qwen2 || decoder.hasAttentionBias
        hasOutputBias = decoder.hasAttentionBias
        hasFeedForwardBias = decoder.hasFeedForwardBias
        tiesEmbeddings = decoder.isTied
        try check(file)
    }
}
