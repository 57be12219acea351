package import TensorModel

/// What a tensor does in its model, as far as its name tells: its kind, and the layer it is in.
package struct TensorRole: Sendable, Hashable {
    /// What kind of tensor it is, under the names the field uses.
    package let kind: Kind
    /// The number of its layer; nil outside of layers.
    package let layer: Int?

    /// Kinds of tensors, in the order data meets them.
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

        /// Whether `a` comes first.
        package static func < (a: Kind, b: Kind) -> Bool { (order[a] ?? 0) < (order[b] ?? 0) }
    }

    /// What stands behind a module's name: its own tensors, and those that other quantizers make of them.
    private static let leaves: Set<String> = [
        "weight", "bias", "qweight", "qzeros", "scales", "biases", "g_idx", "weight_packed", "weight_scale",
        "weight_zero_point", "weight_shape",
    ]

    /// Reads a name such as `model.layers.3.self_attn.q_proj.weight` or `blk.3.attn_q.weight`.
    package init(_ name: TensorName) {
        let parts = name.text.utf8.split(separator: UInt8(ascii: ".")).map { String(Substring($0)) }
        // The first number is the layer's; later ones count experts and the like.
        let layer = parts.dropLast().lazy.compactMap(TensorRole.number).first
        self.layer = layer
        kind = TensorRole.kind(parts, inLayer: layer != nil)
    }

    private static func number(_ part: String) -> Int? {
        part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(part) : nil
    }

    /// Whether a word of small letters is somewhere in a text, in letters of either case.
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
        // `output` outside of layers is a head, as the table says; in a layer these are projections, and the module above tells which.
        case "dense", "c_proj", "output", "wo":
            guard inLayer else { break }
            if path.contains(where: { contains($0, "attention") || $0 == "attn" || $0 == "self_attn" }) {
                return .attentionOutput
            }
            // T5 calls its lower projection `wo`, Llama's own files the output of attention.
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
    /// Whether a tensor is the weight of a token embedding or of an output head outside of the layers.
    package static func isEmbeddingOrHead(_ name: TensorName) -> Bool {
        let parts = name.text.split(separator: ".")
        guard parts.count >= 2, parts.last == "weight" else { return false }
        // Numbers count layers.
        let inLayer = parts.contains { part in part.allSatisfy(\.isNumber) }
        return !inLayer && ModuleNames.entry(of: String(parts[parts.count - 2]))?.reachesEveryToken == true
    }

    /// The role as reports show it (Specs/json.md, `role`).
    package var json: JSONValue {
        .object([
            .init("kind", .string(kind.rawValue)), .init("layer", layer.map { .unsigned(UInt64($0)) } ?? .null),
        ])
    }
}
