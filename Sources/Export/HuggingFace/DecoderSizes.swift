import Checkpoints
import TensorModel

/// The numbers of a Llama-type decoder, from the metadata of a GGUF file.
struct DecoderSizes: Sendable {
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

    /// Reads the numbers.
    ///
    /// - Parameter tensors: shapes of the tensors of the GGUF file.
    /// - Throws: `unsupportedSource` if one is missing or contradicts another.
    init(_ metadata: GGUFMetadataReader, _ family: GGUFToHuggingFace.Family, _ tensors: [TensorName: Shape]) throws {
        let architecture = family == .qwen2 ? "qwen2" : "llama"
        func failure(_ key: String, _ found: String, _ expected: String) -> IngotError {
            GGUFToHuggingFace.refusal(metadata, nil, "\(found) under `\(architecture).\(key)`", expected)
        }
        func optional(_ key: String) throws -> Int? {
            let full = "\(architecture).\(key)"
            guard metadata.has(full) else { return nil }
            guard let value = try metadata.unsigned(full), (1...1 << 31).contains(value) else {
                throw failure(key, "no positive whole number", "a number from 1 to 2^31, for all layers alike")
            }
            return Int(value)
        }
        func required(_ key: String) throws -> Int {
            guard let value = try optional(key) else { throw failure(key, "nothing", "a whole number") }
            return value
        }
        func float(_ key: String) throws -> Double? {
            let full = "\(architecture).\(key)"
            guard metadata.has(full) else { return nil }
            guard let value = try metadata.float(full), value.isFinite, value > 0 else {
                throw failure(key, "no positive number", "a floating-point number above 0")
            }
            return value
        }
        layers = try required("block_count")
        hidden = try required("embedding_length")
        intermediate = try required("feed_forward_length")
        heads = try required("attention.head_count")
        keyValueHeads = try optional("attention.head_count_kv") ?? heads
        context = try required("context_length")
        guard let epsilon = try float("attention.layer_norm_rms_epsilon") else {
            throw failure("attention.layer_norm_rms_epsilon", "nothing", "the epsilon of RMSNorm")
        }
        self.epsilon = epsilon
        // llama.cpp's value for files without it.
        ropeBase = try float("rope.freq_base") ?? 10_000
        headSize = try optional("attention.key_length") ?? hidden / heads
        guard headSize > 0, headSize % 2 == 0 else {
            throw failure(
                "attention.head_count", "\(heads) heads of \(headSize) rows", "heads of an even number of rows")
        }
        let values = try optional("attention.value_length") ?? headSize
        guard values == headSize else {
            throw failure("attention.value_length", "\(values)", "\(headSize), as the heads of keys have")
        }
        let rotated = try optional("rope.dimension_count") ?? headSize
        guard rotated == headSize else {
            throw failure("rope.dimension_count", "\(rotated)", "\(headSize): all rows of a head are rotated")
        }
        experts = family == .mixtral ? try required("expert_count") : 0
        expertsUsed = family == .mixtral ? try required("expert_used_count") : 0
        let maximum = Limits.standard.tensorsPerFile
        guard layers <= maximum, experts <= maximum, layers * max(1, experts) <= maximum else {
            throw failure("block_count", "\(layers) layers", "at most \(maximum) tensors")
        }
        let embedding = TensorName("token_embd.weight")
        guard let shape = tensors[embedding], shape.dimensions.count == 2 else {
            throw GGUFToHuggingFace.refusal(metadata, embedding, "no such matrix", "the embedding of the tokens")
        }
        vocabulary = shape.dimensions[0]
    }

    /// The tensors that transformers loads, with their shapes.
    ///
    /// - Parameter has: whether the checkpoint has a tensor. It decides about the biases of Llama, and about tied embeddings.
    func expectedShapes(
        _ family: GGUFToHuggingFace.Family, has: (String) -> Bool
    ) -> [(TensorName, Shape)] {
        var found: [(TensorName, Shape)] = []
        func add(_ name: String, _ dimensions: Int...) {
            if let shape = Shape(dimensions) { found.append((TensorName(name), shape)) }
        }
        add("model.embed_tokens.weight", vocabulary, hidden)
        add("model.norm.weight", hidden)
        if !isTied(has) { add("lm_head.weight", vocabulary, hidden) }
        let attention = family == .llama && hasAttentionBias(has)
        let feedForward = family == .llama && hasFeedForwardBias(has)
        for layer in 0..<layers {
            let prefix = "model.layers.\(layer)."
            add(prefix + "input_layernorm.weight", hidden)
            add(prefix + "post_attention_layernorm.weight", hidden)
            for (name, rows, columns) in [
                ("q", heads * headSize, hidden), ("k", keyValueHeads * headSize, hidden),
                ("v", keyValueHeads * headSize, hidden), ("o", hidden, heads * headSize),
            ] {
                add(prefix + "self_attn.\(name)_proj.weight", rows, columns)
                if attention || family == .qwen2 && name != "o" { add(prefix + "self_attn.\(name)_proj.bias", rows) }
            }
            guard family != .mixtral else {
                add(prefix + "block_sparse_moe.gate.weight", experts, hidden)
                for expert in 0..<experts {
                    let name = prefix + "block_sparse_moe.experts.\(expert)."
                    add(name + "w1.weight", intermediate, hidden)
                    add(name + "w2.weight", hidden, intermediate)
                    add(name + "w3.weight", intermediate, hidden)
                }
                continue
            }
            for (name, rows, columns) in [
                ("gate", intermediate, hidden), ("up", intermediate, hidden), ("down", hidden, intermediate),
            ] {
                add(prefix + "mlp.\(name)_proj.weight", rows, columns)
                if feedForward { add(prefix + "mlp.\(name)_proj.bias", rows) }
            }
        }
        return found
    }

    /// Whether the embedding is the output matrix too.
    func isTied(_ has: (String) -> Bool) -> Bool { !has("lm_head.weight") }
    /// Whether the projections of attention have biases.
    func hasAttentionBias(_ has: (String) -> Bool) -> Bool { has("model.layers.0.self_attn.q_proj.bias") }
    /// Whether the feed-forward part has biases.
    func hasFeedForwardBias(_ has: (String) -> Bool) -> Bool { has("model.layers.0.mlp.up_proj.bias") }
}
