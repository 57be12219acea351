package import TensorModel

/// Names of the tensors of Llama-type decoders in GGUF files and in Hugging Face checkpoints.
package enum HuggingFaceNames {
    /// Tensors outside the layers.
    private static let outer: [TensorName: String] = [
        TensorName("token_embd.weight"): "model.embed_tokens.weight",
        TensorName("output_norm.weight"): "model.norm.weight",
        TensorName("output.weight"): "lm_head.weight",
    ]
    /// Modules of a layer: the name after `blk.N.`, and the name after `model.layers.N.`. The suffix (`.weight`, `.bias`) is the same.
    private static let modules: [TensorName: String] = [
        TensorName("attn_norm"): "input_layernorm", TensorName("ffn_norm"): "post_attention_layernorm",
        TensorName("attn_q"): "self_attn.q_proj", TensorName("attn_k"): "self_attn.k_proj",
        TensorName("attn_v"): "self_attn.v_proj", TensorName("attn_output"): "self_attn.o_proj",
        TensorName("ffn_gate"): "mlp.gate_proj", TensorName("ffn_up"): "mlp.up_proj",
        TensorName("ffn_down"): "mlp.down_proj", TensorName("ffn_gate_inp"): "block_sparse_moe.gate",
    ]
    /// Tensors that hold the matrices of all experts of a layer, and Mixtral's names of them.
    private static let experts: [TensorName: String] = [
        TensorName("ffn_gate_exps"): "w1", TensorName("ffn_down_exps"): "w2", TensorName("ffn_up_exps"): "w3",
    ]

    /// A tensor of a GGUF file, as far as its name tells.
    package enum Meaning {
        /// A tensor of the output. `module` is the name of the module in GGUF, empty outside the layers.
        case tensor(TensorName, module: String)
        /// The matrices of all experts of a layer, a tensor each in the output: the names are these texts with the number between.
        case experts(String, String)
    }

    /// What a name means; nil for a name that this table lacks.
    package static func meaning(_ name: TensorName) -> Meaning? {
        if let outer = outer[name] { return .tensor(TensorName(outer), module: "") }
        guard name.text.utf8.starts(with: "blk.".utf8) else { return nil }
        let parts = name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        guard parts.count == 4, parts[0] == "blk", let layer = Int(parts[1]), layer >= 0, "\(layer)" == parts[1],
            ["weight", "bias"].contains(parts[3])
        else { return nil }
        if let module = modules[TensorName(parts[2])] {
            return .tensor(TensorName("model.layers.\(layer).\(module).\(parts[3])"), module: parts[2])
        }
        guard parts[3] == "weight", let matrix = experts[TensorName(parts[2])] else { return nil }
        return .experts("model.layers.\(layer).block_sparse_moe.experts.", ".\(matrix).weight")
    }

    /// A tensor of a Hugging Face checkpoint, as far as its name tells.
    package enum Place {
        /// A tensor of the same rows in a GGUF file. `module` is the name of the module there, empty outside the layers.
        case tensor(TensorName, module: String)
        /// The matrix of one expert: a part of a tensor with those of all experts.
        case expert(TensorName, number: Int)
    }

    /// Where a tensor of a Hugging Face checkpoint stands in a GGUF file; nil for a name that this table lacks.
    package static func place(_ name: TensorName) -> Place? {
        if let outer = outerPlaces[name] { return .tensor(outer, module: "") }
        guard name.text.utf8.starts(with: "model.layers.".utf8) else { return nil }
        let parts = name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        guard parts.count >= 5, parts[0] == "model", parts[1] == "layers", let layer = number(parts[2]),
            let kind = parts.last, ["weight", "bias"].contains(kind)
        else { return nil }
        let module = parts[3..<parts.count - 1].joined(separator: ".")
        if let own = modulePlaces[TensorName(module)] {
            return .tensor(TensorName("blk.\(layer).\(own).\(kind)"), module: own)
        }
        guard parts.count == 8, parts[3] == "block_sparse_moe", parts[4] == "experts", let expert = number(parts[5]),
            kind == "weight", let own = expertPlaces[TensorName(parts[6])]
        else { return nil }
        return .expert(TensorName("blk.\(layer).\(own).weight"), number: expert)
    }

    private static let outerPlaces = inverse(outer) { $0 }
    private static let modulePlaces = inverse(modules) { $0.text }
    private static let expertPlaces = inverse(experts) { $0.text }

    private static func inverse<Value>(
        _ table: [TensorName: String], _ value: (TensorName) -> Value
    ) -> [TensorName: Value] {
        Dictionary(uniqueKeysWithValues: table.map { (TensorName($1), value($0)) })
    }

    /// A whole number of 0 or more as it is usually written; nil for any other text.
    private static func number(_ text: String) -> Int? {
        guard let number = Int(text), number >= 0, "\(number)" == text else { return nil }
        return number
    }
}
