public import TensorModel

/// What a tensor does in its model, as far as its name tells: its kind, and the layer it is in.
public struct TensorRole: Sendable, Hashable {
    /// What kind of tensor it is, under the names the field uses.
    public let kind: Kind
    /// The number of its layer; nil outside of layers.
    public let layer: Int?

    /// Kinds of tensors, in the order data meets them.
    public enum Kind: String, Sendable, Hashable, CaseIterable, Comparable {
        case embedding
        case attentionQuery = "attn_q"
        case attentionKey = "attn_k"
        case attentionValue = "attn_v"
        case attentionFused = "attn_qkv"
        case attentionOutput = "attn_output"
        case router
        case gate = "ffn_gate"
        case up = "ffn_up"
        case gateUp = "ffn_gate_up"
        case down = "ffn_down"
        case norm
        case bias
        case head
        case other

        private static let order = Dictionary(
            uniqueKeysWithValues: allCases.enumerated().map { ($0.element, $0.offset) })

        /// Whether `a` comes first.
        public static func < (a: Kind, b: Kind) -> Bool { (order[a] ?? 0) < (order[b] ?? 0) }
    }

    /// Modules by the last components of their names, in the families of the Hugging Face hub and in GGUF.
    private static let modules: [(kind: Kind, names: Set<String>)] = [
        (
            .embedding,
            [
                "embed_tokens", "tok_embeddings", "word_embeddings", "position_embeddings", "token_type_embeddings",
                "wte",
                "wpe", "embed_in", "embeddings", "shared", "token_embd", "embed_positions",
            ]
        ),
        (.head, ["lm_head", "embed_out", "output_layer", "head"]),
        (.attentionQuery, ["q_proj", "query", "wq", "attn_q", "q"]),
        (.attentionKey, ["k_proj", "key", "wk", "attn_k", "k"]),
        (.attentionValue, ["v_proj", "value", "wv", "attn_v", "v"]),
        (.attentionFused, ["qkv_proj", "query_key_value", "c_attn", "wqkv", "qkv", "attn_qkv"]),
        (.attentionOutput, ["o_proj", "out_proj", "wo", "attn_output", "o"]),
        (.router, ["router", "ffn_gate_inp"]),
        (.gate, ["gate_proj", "w1", "ffn_gate", "ffn_gate_exps"]),
        (.up, ["up_proj", "w3", "ffn_up", "ffn_up_exps", "fc1", "c_fc", "dense_h_to_4h", "fc_in", "intermediate"]),
        (.gateUp, ["gate_up_proj"]),
        (.down, ["down_proj", "w2", "ffn_down", "ffn_down_exps", "fc2", "dense_4h_to_h", "fc_out"]),
    ]

    private static let kinds = Dictionary(
        modules.flatMap { entry in entry.names.map { ($0, entry.kind) } }, uniquingKeysWith: { first, _ in first })

    /// Reads a name such as `model.layers.3.self_attn.q_proj.weight` or `blk.3.attn_q.weight`.
    public init(_ name: TensorName) {
        let parts = name.text.split(separator: ".").map(String.init)
        // The first number is the layer's; later ones count experts and the like.
        let layer = parts.dropLast().lazy.compactMap(TensorRole.number).first
        self.layer = layer
        kind = TensorRole.kind(parts, inLayer: layer != nil)
    }

    private static func number(_ part: String) -> Int? {
        part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(part) : nil
    }

    private static func kind(_ parts: [String], inLayer: Bool) -> Kind {
        let last = parts.last ?? ""
        let module = ["weight", "bias"].contains(last) ? parts.dropLast().last ?? last : last
        let isNorm = module.lowercased().contains("norm") || module.hasPrefix("ln_") || module.hasPrefix("layer_norm")
        if isNorm { return .norm }
        if last == "bias" { return .bias }
        // `output` alone is a head, or in GGUF; in a layer it is a projection, of what the module above it says.
        let above = parts.dropLast(module == last ? 1 : 2).last ?? ""
        switch module {
        case "output" where !inLayer: return .head
        case "dense", "c_proj", "output":
            let path = parts.dropLast()
            if path.contains("attention") || path.contains("attn") || above == "self_attention" {
                return .attentionOutput
            }
            return above == "intermediate" ? .up : .down
        case "gate": return inLayer ? .router : .other
        default: break
        }
        return kinds[module] ?? .other
    }
}
