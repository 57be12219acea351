import TensorModel

/// A Llama-type decoder as its `config.json` describes it, with everything that a GGUF file states about it.
///
/// Keys and defaults are those of transformers 5 (`LlamaConfig`, `MistralConfig`, `MixtralConfig`, `Qwen2Config`).
struct DecoderConfiguration {
    /// Families of models whose layout in GGUF files is known.
    enum Family: String, CaseIterable {
        case llama, mistral, mixtral, qwen2

        /// The name of the architecture in GGUF files. llama.cpp runs Mistral and Mixtral as Llama.
        var architecture: String { self == .qwen2 ? "qwen2" : "llama" }

        /// The name of the class in `architectures` of `config.json`.
        var className: String {
            switch self {
            case .llama: "LlamaForCausalLM"
            case .mistral: "MistralForCausalLM"
            case .mixtral: "MixtralForCausalLM"
            case .qwen2: "Qwen2ForCausalLM"
            }
        }
    }

    /// How the rotary frequencies are scaled.
    enum Scaling: Hashable {
        case linear(factor: Double)
        /// YaRN. The numbers after `originalContext` are written if they are stated.
        case yarn(
            factor: Double, originalContext: Int, extrapolation: Double?, attention: Double?, betaFast: Double?,
            betaSlow: Double?)
        case llama3(RotaryFactors)
    }

    /// The document.
    let document: ModelDocument
    /// The family of the model.
    let family: Family
    /// Layers; width of the residual stream; width of the feed-forward part, of an expert if there are experts.
    let layers: Int, hidden: Int, intermediate: Int
    /// Heads of queries, and of keys and values; rows of a head.
    let heads: Int, keyValueHeads: Int, headSize: Int
    /// Rows of the embedding.
    let vocabulary: Int
    /// Tokens of the longest text.
    let context: Int
    /// Experts of a layer, and how many of them a token uses; 0 without experts.
    let experts: Int, expertsUsed: Int
    /// Base of the rotary frequencies, and the epsilon of RMSNorm.
    let ropeBase: Double, epsilon: Double
    /// How the rotary frequencies are scaled; nil if they are not.
    let scaling: Scaling?
    /// Whether the embedding is the output matrix too.
    let isTied: Bool
    /// Whether the four projections of attention have biases, and whether the matrices of the feed-forward part have them. Only Llama states
    /// this; the three biases of Qwen2 follow from the family.
    let hasAttentionBias: Bool, hasFeedForwardBias: Bool
    /// What llama.cpp does otherwise than transformers.
    private(set) var warnings: [IngotWarning] = []

    private static let maximumCount = 1 << 16
    private static let maximumLength = 1 << 24

    /// Reads the numbers.
    ///
    /// - Throws: `unsupportedSource` for an architecture or an option that a GGUF file of these families cannot state; `missingField` and
    ///   `valueOutOfRange` for numbers.
    init(_ document: ModelDocument) throws {
        self.document = document
        let family = try DecoderConfiguration.family(document)
        self.family = family
        let (counts, lengths) = (DecoderConfiguration.maximumCount, DecoderConfiguration.maximumLength)
        hidden = try document.required("hidden_size", maximum: lengths)
        intermediate = try document.required("intermediate_size", maximum: lengths)
        layers = try document.required("num_hidden_layers", maximum: counts)
        vocabulary = try document.required("vocab_size", maximum: lengths)
        context = try document.required("max_position_embeddings", maximum: Int(Int32.max))
        heads = try document.required("num_attention_heads", maximum: counts)
        keyValueHeads = try document.count("num_key_value_heads", maximum: counts) ?? heads
        headSize = try document.count("head_dim", maximum: lengths) ?? hidden / heads
        guard headSize > 0, headSize % 2 == 0 else {
            throw document.unsupported("\(heads) heads of \(headSize) rows", "heads of an even number of rows")
        }
        guard heads % keyValueHeads == 0 else {
            throw document.unsupported(
                "\(heads) heads of queries and \(keyValueHeads) of keys", "heads of keys that divide those of queries")
        }
        guard let epsilon = try document.positive("rms_norm_eps") else {
            throw IngotError(
                .missingField, file: document.path, found: "no `rms_norm_eps`", expected: "the epsilon of RMSNorm",
                remedy: "add it to the file")
        }
        self.epsilon = epsilon
        let isMixture = family == .mixtral
        experts = isMixture ? try document.count("num_local_experts", maximum: counts) ?? 8 : 0
        expertsUsed = isMixture ? try document.count("num_experts_per_tok", maximum: counts) ?? 2 : 0
        guard expertsUsed <= experts else {
            throw document.unsupported("\(expertsUsed) of \(experts) experts a token", "no more than there are")
        }
        isTied = try document.flag("tie_word_embeddings") ?? false
        hasAttentionBias = family == .llama ? try document.flag("attention_bias") ?? false : false
        hasFeedForwardBias = family == .llama ? try document.flag("mlp_bias") ?? false : false
        let activation = try document.text("hidden_act") ?? "silu"
        guard ["silu", "swish"].contains(activation) else {
            throw document.unsupported("the activation `\(activation.prefix(80))`", "silu")
        }
        (ropeBase, scaling) = try DecoderConfiguration.rotary(document, family, context, headSize, &warnings)
        if let window = try window(), window < context {
            warnings.append(
                IngotWarning(
                    file: document.path,
                    "attention in a window of \(window) tokens, which llama.cpp does not have for "
                        + "\(family.architecture): it differs on texts of more tokens"))
        }
    }

    /// The family that `architectures` and `model_type` state.
    private static func family(_ document: ModelDocument) throws -> Family {
        let known = Family.allCases.map(\.className).joined(separator: ", ")
        let type = try document.text("model_type")
        let byType = type.flatMap { Family(rawValue: $0) }
        guard let list = document["architectures"] else {
            guard let byType else {
                throw document.unsupported("a model of type `\((type ?? "none").prefix(80))`", "one of \(known)")
            }
            return byType
        }
        guard let name = list.array?.first?.string else {
            throw document.invalid("architectures", list, "the name of a class")
        }
        guard let byName = Family.allCases.first(where: { $0.className == name }) else {
            throw document.unsupported("the architecture \(name.prefix(80))", "one of \(known)")
        }
        guard type == nil || byType == byName else {
            throw document.unsupported(
                "the architecture \(name) of type `\((type ?? "").prefix(80))`", "type `\(byName.rawValue)`")
        }
        return byName
    }

    /// Tokens of the window of attention; nil without a window.
    private func window() throws -> Int? {
        if family == .qwen2, try !(document.flag("use_sliding_window") ?? false) { return nil }
        guard family != .llama else { return nil }
        return try document.count("sliding_window", maximum: Int(Int32.max))
    }

    /// Base and scaling of the rotary frequencies: `rope_theta` and `rope_scaling`, or both in `rope_parameters` (transformers 5).
    private static func rotary(
        _ document: ModelDocument, _ family: Family, _ context: Int, _ headSize: Int, _ warnings: inout [IngotWarning]
    ) throws -> (base: Double, scaling: Scaling?) {
        let key = document["rope_parameters"] == nil ? "rope_scaling" : "rope_parameters"
        let object = document[key]
        if let object, object.object == nil { throw document.invalid(key, object, "an object or null") }
        let base =
            try object.flatMap { try document.positive("rope_theta", in: $0) } ?? document.positive("rope_theta")
            ?? (family == .mixtral ? 1_000_000 : 10_000)
        for place in [object, document.value].compactMap({ $0 }) {
            let part = try document.positive("partial_rotary_factor", in: place) ?? 1
            guard part == 1 else {
                throw document.unsupported("rotary positions of \(part) of a head", "of all rows of a head")
            }
        }
        guard let object else { return (base, nil) }
        func stated(_ key: String) throws -> Double? { try document.positive(key, in: object) }
        func factor() throws -> Double {
            guard let factor = try stated("factor") else { throw document.invalid(key, object, "`factor`") }
            return factor
        }
        func original() throws -> Int? {
            guard let value = try stated("original_max_position_embeddings") else { return nil }
            guard let number = Int32(exactly: value) else {
                throw document.invalid(key, object, "a whole number as `original_max_position_embeddings`")
            }
            return Int(number)
        }
        let kind = (object["rope_type"] ?? object["type"])?.string ?? "default"
        switch kind {
        case "default": return (base, nil)
        case "linear": return (base, .linear(factor: try factor()))
        case "yarn":
            for other in ["mscale", "mscale_all_dim"] where object[other] ?? .null != .null {
                throw document.unsupported("YaRN with `\(other)`", "YaRN without it")
            }
            return (
                base,
                .yarn(
                    factor: try factor(), originalContext: try original() ?? context,
                    extrapolation: try stated("extrapolation_factor"),
                    attention: try stated("attention_factor") ?? stated("attn_factor"),
                    betaFast: try stated("beta_fast"), betaSlow: try stated("beta_slow"))
            )
        case "llama3":
            let factors = RotaryFactors(
                headSize: headSize, base: base, factor: try stated("factor") ?? 8,
                lowFactor: try stated("low_freq_factor") ?? 1, highFactor: try stated("high_freq_factor") ?? 4,
                originalContext: try original() ?? 8192)
            guard factors.highFactor > factors.lowFactor else {
                throw document.invalid(key, object, "`high_freq_factor` above `low_freq_factor`")
            }
            return (base, .llama3(factors))
        case "dynamic":
            warnings.append(
                IngotWarning(
                    file: document.path,
                    "rotary positions of type `dynamic`, which GGUF files do not state: llama.cpp differs on texts "
                        + "beyond the original context"))
            return (base, nil)
        default:
            throw document.unsupported(
                "rotary positions of type `\(kind.prefix(80))`", "default, linear, yarn, llama3 or dynamic")
        }
    }
}

// MARK: - Metadata

extension DecoderConfiguration {
    /// Appends what a GGUF file states about the decoder, in the order of llama.cpp's converter.
    ///
    /// - Parameter hasTokens: whether the file will list tokens. Without them, every family states their number.
    func write(to metadata: inout GGUFKeyValues, hasTokens: Bool) {
        let prefix = family.architecture + "."
        func count(_ key: String, _ value: Int) { metadata.append(prefix + key, .u32(UInt32(clamping: value))) }
        func float(_ key: String, _ value: Double?) {
            if let value { metadata.append(prefix + key, .f32(Float(value))) }
        }
        count("block_count", layers)
        count("context_length", context)
        count("embedding_length", hidden)
        count("feed_forward_length", intermediate)
        count("attention.head_count", heads)
        count("attention.head_count_kv", keyValueHeads)
        switch scaling {
        case .linear(let factor):
            metadata.append(prefix + "rope.scaling.type", .text("linear"))
            float("rope.scaling.factor", factor)
        case .yarn(let factor, let original, let extrapolation, let attention, let fast, let slow):
            metadata.append(prefix + "rope.scaling.type", .text("yarn"))
            float("rope.scaling.factor", factor)
            count("rope.scaling.original_context_length", original)
            float("rope.scaling.yarn_ext_factor", extrapolation)
            float("rope.scaling.yarn_attn_factor", attention)
            float("rope.scaling.yarn_beta_fast", fast)
            float("rope.scaling.yarn_beta_slow", slow)
        // The factors of llama3 are a tensor.
        case .llama3, nil: break
        }
        float("rope.freq_base", ropeBase)
        float("attention.layer_norm_rms_epsilon", epsilon)
        if experts > 0 {
            count("expert_count", experts)
            count("expert_used_count", expertsUsed)
        }
        // llama.cpp's converter writes the sizes of heads where transformers' configuration has a value.
        if document["head_dim"] != nil || family == .llama || family == .mistral {
            count("attention.key_length", headSize)
            count("attention.value_length", headSize)
        }
        if family.architecture == "llama" || !hasTokens { count("vocab_size", vocabulary) }
        if family.architecture == "llama" { count("rope.dimension_count", headSize) }
    }
}
