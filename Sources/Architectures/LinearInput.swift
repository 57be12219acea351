package import TensorModel

/// The input of linear layers: the activations that one or several weight matrices are multiplied with.
///
/// Matrices that read the same activations have equal values, whether their names are those of Hugging Face or of llama.cpp. So statistics
/// of activations are gathered once per value, and one file of them serves both forms of a model.
package struct LinearInput: Sendable, Hashable {
    /// Kinds of inputs, in the order in which data passes through a decoder. The raw value stands in `text`.
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Read by the projections of queries, keys and values.
        case attentionIn = "attention_in"
        /// Read by the output projection of attention.
        case outputIn = "output_in"
        /// Read by gate and up projections, and by routers. An expert's has the tokens that were routed to it; a shared expert's is the
        /// layer's, which the router reads too.
        case feedForwardIn = "feed_forward_in"
        /// Read by down projections.
        case downIn = "down_in"
        /// Read by the down projection of an expert that all tokens pass.
        case sharedDownIn = "shared_down_in"
        /// Read by the output head.
        case headIn = "head_in"

        /// Its place among all kinds.
        fileprivate var order: Int { Kind.orders[self] ?? 0 }
        private static let orders = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) })
        /// Whether each expert can have an input of this kind.
        fileprivate var hasExperts: Bool { self == .feedForwardIn || self == .downIn }
    }

    /// The number of the layer; nil for the head's input.
    package let layer: Int?
    /// The kind.
    package let kind: Kind
    /// The number of the expert; nil if all tokens pass.
    package let expert: Int?

    /// An input in a layer. Nil for a negative number, for the head's input, and for an expert's input of a kind that experts do not have.
    package init?(layer: Int, _ kind: Kind, expert: Int? = nil) {
        guard layer >= 0, kind != .headIn, (expert ?? 0) >= 0, expert == nil || kind.hasExperts else { return nil }
        (self.layer, self.kind, self.expert) = (layer, kind, expert)
    }

    private init() { (layer, kind, expert) = (nil, .headIn, nil) }

    /// The input of the output head.
    package static let head = LinearInput()
}

extension LinearInput: Comparable {
    /// Whether data passes through `a` before `b`: by layer, kind and expert; the head comes last.
    package static func < (a: LinearInput, b: LinearInput) -> Bool {
        (a.layer ?? .max, a.kind.order, a.expert ?? -1) < (b.layer ?? .max, b.kind.order, b.expert ?? -1)
    }
}

// MARK: - Text

extension LinearInput: CustomStringConvertible {
    /// The input as text, the same for ever: `layers.3.attention_in`, `layers.3.experts.2.down_in`, `head_in`.
    package var text: String {
        guard let layer else { return kind.rawValue }
        return "layers.\(layer)." + (expert.map { "experts.\($0)." } ?? "") + kind.rawValue
    }

    /// The same as `text`.
    package var description: String { text }

    /// Reads a text; nil for any that `text` never gives.
    package init?(text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            String(Substring($0))
        }
        guard let last = parts.last, let kind = Kind(rawValue: last) else { return nil }
        if kind == .headIn, parts.count == 1 {
            self = .head
            return
        }
        guard parts.count == 3 || parts.count == 5 && parts[2] == "experts", parts[0] == "layers",
            let layer = TensorRole.number(parts[1])
        else { return nil }
        let expert = parts.count == 5 ? TensorRole.number(parts[3]) : nil
        guard parts.count == 3 || expert != nil, let input = LinearInput(layer: layer, kind, expert: expert),
            TensorName(input.text) == TensorName(text)
        else { return nil }
        self = input
    }
}

// MARK: - Names

/// The inputs of a tensor of weights.
package enum TensorInputs: Sendable, Hashable {
    /// All rows read one input.
    case one(LinearInput)
    /// The tensor holds a matrix per expert, in its first of three dimensions. The matrix of expert `e` reads `input(ofExpert: e)`.
    case perExpert(layer: Int, LinearInput.Kind)

    /// The input of an expert's matrix; the only input of another tensor. Nil for a negative number.
    package func input(ofExpert expert: Int) -> LinearInput? {
        switch self {
        case .one(let input): input
        case .perExpert(let layer, let kind): LinearInput(layer: layer, kind, expert: expert)
        }
    }

    /// What a tensor's name tells of its inputs; nil for tensors that are no linear layer of a decoder, and for unknown names.
    ///
    /// The names are those of Llama and its relatives (Mistral, Qwen2, Phi-3, Mixtral, Qwen-MoE, DeepSeek, GPT-NeoX) at Hugging Face, of
    /// Llama's own files, and of llama.cpp. A tied embedding is the head too, but its name does not tell.
    package init?(_ name: TensorName) {
        let parts = name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            String(Substring($0))
        }
        let role = TensorRole(name)
        if role.kind == .head, role.layer == nil {
            guard TensorRole.isEmbeddingOrHead(name) else { return nil }
            self = .one(.head)
            return
        }
        guard let place = parts.firstIndex(where: { TensorRole.number($0) != nil }),
            TensorInputs.prefixes.contains(parts[..<place].joined(separator: ".")),
            let layer = TensorRole.number(parts[place])
        else { return nil }
        var rest = Array(parts[(place + 1)...])
        let isFused = rest.last != "weight" && rest.dropLast().last == "experts"
        if rest.last == "weight" { rest.removeLast() } else if !isFused { return nil }
        let expert = ExpertName(name).expert
        if expert != nil { rest.removeAll { TensorRole.number($0) != nil } }
        guard let module = rest.popLast(), !TensorInputs.inner.contains(module),
            rest.allSatisfy(TensorInputs.containers.contains)
        else { return nil }
        let isShared = module.hasSuffix("_shexp") || rest.contains { $0.hasPrefix("shared_expert") }
        guard let kind = TensorInputs.kind(role.kind, isShared: isShared) else { return nil }
        if kind == .feedForwardIn || kind == .downIn, !isShared, isFused || module.hasSuffix("_exps") {
            self = .perExpert(layer: layer, kind)
        } else if let input = LinearInput(layer: layer, kind, expert: expert) {
            self = .one(input)
        } else {
            return nil
        }
    }

    /// What may stand before the number of a decoder's layer. Encoders and image towers have layers of their own under other names.
    private static let prefixes: Set<String> = [
        "model.layers", "layers", "blk", "gpt_neox.layers", "model.language_model.layers",
        "language_model.model.layers",
    ]

    /// What may stand between the number of the layer and the module.
    private static let containers: Set<String> = [
        "self_attn", "attention", "mlp", "feed_forward", "block_sparse_moe", "experts", "shared_expert",
        "shared_experts",
    ]

    /// Modules that read what another module of the same attention made.
    private static let inner: Set<String> = ["q_b_proj", "kv_b_proj", "attn_q_b", "attn_kv_b"]

    private static func kind(_ kind: TensorRole.Kind, isShared: Bool) -> LinearInput.Kind? {
        switch kind {
        case .attentionQuery, .attentionKey, .attentionValue, .attentionFused: .attentionIn
        case .attentionOutput: .outputIn
        case .router, .gate, .up, .gateUp: .feedForwardIn
        case .down: isShared ? .sharedDownIn : .downIn
        case .embedding, .norm, .bias, .head, .other: nil
        }
    }
}
