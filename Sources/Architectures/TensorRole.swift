package import TensorModel

/// The role of a tensor in its model, as far as its name tells: its kind and its layer.
package struct TensorRole: Sendable, Hashable {
    /// The kind of the tensor.
    package let kind: Kind
    /// The number of its layer; nil outside the layers.
    package let layer: Int?

    /// Kinds of tensors, in the order in which data passes through them. The raw value is the name in reports.
    package enum Kind: String, Sendable, Hashable, CaseIterable, Comparable {
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

        /// Whether data passes through `a` before `b`.
        package static func < (a: Kind, b: Kind) -> Bool { (order[a] ?? 0) < (order[b] ?? 0) }
    }

    /// Last parts of tensor names, after the module's name: the module's own tensors, and those that other quantizers make of them.
    private static let leaves: Set<String> = [
        "weight", "bias", "qweight", "qzeros", "scales", "biases", "g_idx", "weight_packed", "weight_scale",
        "weight_zero_point", "weight_shape",
    ]

    /// Reads a name such as `model.layers.3.self_attn.q_proj.weight` or `blk.3.attn_q.weight`.
    package init(_ name: TensorName) {
        let parts = name.text.utf8.split(separator: UInt8(ascii: ".")).map { String(Substring($0)) }
        // The first number is the layer. Later numbers count experts, for example.
        let layer = parts.dropLast().lazy.compactMap(TensorRole.number).first
        self.layer = layer
        kind = TensorRole.kind(parts, inLayer: layer != nil)
    }

    /// The number that a part of a name is; nil if it has another character than digits, or is too large.
    static func number(_ part: String) -> Int? {
        part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(part) : nil
    }

    /// Whether a text contains a word. `word` is in lower case, the text may be in either case.
    private static func contains(_ text: String, _ word: String) -> Bool {
        var rest = text.utf8[...]
        while rest.count >= word.utf8.count {
            if word.utf8.elementsEqual(rest.prefix(word.utf8.count).lazy.map { $0 | 0x20 }) { return true }
            rest.removeFirst()
        }
        return false
    }

    private static func kind(_ parts: [String], inLayer: Bool) -> Kind {
        let last = parts.last ?? ""
        var path = parts
        if leaves.contains(last), parts.count > 1 { path.removeLast() }
        // Experts of old GGUF files: `ffn_gate.3.weight`.
        if path.count > 2, number(path[path.count - 1]) != nil, last == "weight" { path.removeLast() }
        let module = path.last ?? ""
        let isNorm = contains(module, "norm") || module.hasPrefix("ln_") || module.hasPrefix("layer_norm")
        if isNorm { return .norm }
        if last == "bias" || last.hasSuffix("_bias") { return .bias }
        let above = path.dropLast().last ?? ""
        switch module {
        // Outside the layers `output` is a head (see `ModuleNames`). In a layer these are projections, and the module above tells which.
        case "dense", "c_proj", "output", "wo":
            guard inLayer else { break }
            if path.contains(where: { contains($0, "attention") || $0 == "attn" || $0 == "self_attn" }) {
                return .attentionOutput
            }
            // In T5 `wo` is the down projection, in Llama's own files the output projection of attention.
            if module == "wo" { return above == "DenseReluDense" ? .down : .attentionOutput }
            return above == "intermediate" ? .up : .down
        case "gate": return inLayer ? .router : .other
        case "decoder" where above != "predictions": return .other
        default: break
        }
        return ModuleNames.entry(of: module)?.kind ?? .other
    }
}

extension TensorRole {
    /// Whether a tensor is the weight of a token embedding or an output head, outside the layers.
    package static func isEmbeddingOrHead(_ name: TensorName) -> Bool {
        let parts = name.text.split(separator: ".")
        guard parts.count >= 2, parts.last == "weight" else { return false }
        // A number means a layer.
        let inLayer = parts.contains { part in part.allSatisfy(\.isNumber) }
        return !inLayer && ModuleNames.entry(of: String(parts[parts.count - 2]))?.reachesEveryToken == true
    }

    /// The role in JSON (Specs/json.md, `role`).
    package var json: JSONValue {
        .object([
            .init("kind", .string(kind.rawValue)), .init("layer", layer.map { .unsigned(UInt64($0)) } ?? .null),
        ])
    }
}
