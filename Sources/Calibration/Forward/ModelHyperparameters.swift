import FileAccess
package import SystemPackage
internal import TensorModel

/// The hyperparameters of a decoder of the Llama type: everything that its forward pass needs besides the weights.
///
/// Names and defaults are those of `config.json` in transformers 5 (`LlamaConfig`, `MistralConfig`, `Qwen2Config`, `MixtralConfig`).
package struct ModelHyperparameters: Sendable, Hashable {
    /// The families of models whose forward pass is supported.
    package enum Family: String, Sendable, Hashable, CaseIterable {
        case llama, mistral, qwen2, mixtral
    }

    /// How rotary frequencies are scaled for long contexts.
    package enum RotaryScaling: Sendable, Hashable {
        /// No scaling.
        case none
        /// All frequencies divided by a factor.
        case linear(factor: Double)
        /// The rule of Llama 3: low frequencies divided by `factor`, high ones kept, those between interpolated.
        case llama3(factor: Double, lowFactor: Double, highFactor: Double, originalContext: Double)
    }

    /// The family of the model.
    package var family: Family
    /// Length of a token's state; length of the states between the matrices of a feed-forward part.
    package var hidden: Int, feedForward: Int
    /// Number of layers; number of tokens in the vocabulary.
    package var layers: Int, vocabulary: Int
    /// Number of heads of queries, and of keys and values; length of a head.
    package var heads: Int, keyValueHeads: Int, headSize: Int
    /// The number added to the mean square in RMSNorm.
    package var normEpsilon: Double
    /// Base of the rotary frequencies, and their scaling.
    package var rotaryBase: Double, rotaryScaling: RotaryScaling
    /// Maximum number of tokens of a context that the model was made for.
    package var context: Int
    /// Number of experts in a layer, and how many of them a token uses; 0 in a dense model.
    package var experts: Int, expertsPerToken: Int
    /// Whether queries, keys and values have biases; whether the output projection has one; whether the feed-forward matrices have them.
    package var hasQueryBias: Bool, hasOutputBias: Bool, hasFeedForwardBias: Bool
    /// Whether the head is the embedding matrix.
    package var tiesEmbeddings: Bool

    /// Most layers, heads and experts, and the largest length, of a model that is read.
    static let maximumCount = 1 << 16, maximumLength = 1 << 24

    /// Reads the hyperparameters from the text of a `config.json`.
    ///
    /// - Parameter path: path of the file, for messages.
    /// - Throws: `unsupportedSource` for a family or an option that the forward pass does not have, named; `valueOutOfRange` for numbers that
    ///   no model has; `headerSyntax` and the like for text that is no JSON object.
    package init(configuration bytes: [UInt8], path: FilePath) throws {
        let reader: ConfigurationReader
        do {
            reader = try ConfigurationReader(bytes, path: path.string)
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
        let type = try reader.text("model_type") ?? "(none)"
        guard let family = Family(rawValue: type) else {
            throw reader.unsupported("a model of type `\(type.prefix(80))`", "one of \(Family.allNames)")
        }
        self.family = family
        try reader.requireActivation()
        hidden = try reader.count("hidden_size", maximum: ModelHyperparameters.maximumLength)
        feedForward = try reader.count("intermediate_size", maximum: ModelHyperparameters.maximumLength)
        layers = try reader.count("num_hidden_layers", maximum: ModelHyperparameters.maximumCount)
        vocabulary = try reader.count("vocab_size", maximum: ModelHyperparameters.maximumLength)
        heads = try reader.count("num_attention_heads", maximum: ModelHyperparameters.maximumCount)
        keyValueHeads = try reader.count(
            "num_key_value_heads", default: heads, maximum: ModelHyperparameters.maximumCount)
        let divided = hidden % heads == 0 ? hidden / heads : nil
        headSize = try reader.count("head_dim", default: divided, maximum: ModelHyperparameters.maximumLength)
        normEpsilon = try reader.number("rms_norm_eps", default: 1e-6)
        context = try reader.count(
            "max_position_embeddings", default: 2048, maximum: ModelHyperparameters.maximumLength)
        (rotaryBase, rotaryScaling) = try reader.rotary()
        tiesEmbeddings = try reader.flag("tie_word_embeddings", default: false)
        let hasBias = try reader.flag("attention_bias", default: false)
        hasQueryBias = family == .qwen2 || hasBias
        hasOutputBias = family != .qwen2 && hasBias
        hasFeedForwardBias = try reader.flag("mlp_bias", default: false)
        let isMixture = family == .mixtral
        experts =
            isMixture
            ? try reader.count("num_local_experts", default: 8, maximum: ModelHyperparameters.maximumCount) : 0
        expertsPerToken =
            isMixture
            ? try reader.count("num_experts_per_tok", default: 2, maximum: ModelHyperparameters.maximumCount) : 0
        try reader.refuseWindow(context: context, family: family)
        try check(path.string)
    }

    /// Requires that the numbers fit together.
    ///
    /// - Throws: `valueOutOfRange`.
    func check(_ path: String) throws {
        func require(_ holds: Bool, _ found: String, _ expected: String) throws {
            guard holds else { throw IngotError(.valueOutOfRange, file: path, found: found, expected: expected) }
        }
        try require(
            heads % keyValueHeads == 0, "\(heads) heads and \(keyValueHeads) key-value heads",
            "a number of heads that the number of key-value heads divides")
        try require(headSize % 2 == 0, "heads of length \(headSize)", "an even length: rotary positions turn pairs")
        try require(
            experts == 0 || expertsPerToken <= experts, "\(expertsPerToken) experts a token of \(experts)",
            "no more experts a token than there are")
        try require(normEpsilon > 0 && normEpsilon < 1, "an epsilon of \(normEpsilon)", "a number between 0 and 1")
        try require(
            rotaryBase >= 1 && rotaryBase <= 1e12, "a rotary base of \(rotaryBase)", "a number from 1 to 10^12")
    }
}

extension ModelHyperparameters.Family {
    /// All names, for messages.
    static var allNames: String { allCases.map(\.rawValue).joined(separator: ", ") }
}
