import TensorModel
import Weights

extension GGUFDecoder {
    /// The tensors that transformers loads, with their shapes.     /// Biases of Llama and tied embeddings are those of the GGUF file.
    var huggingFaceShapes: [(TensorName, Shape)] {
        var found: [(TensorName, Shape)] = []
        func add(_ name: String, _ dimensions: Int...) {
            if let shape = Shape(dimensions) { found.append((TensorName(name), shape)) }
        }
        add("model.embed_tokens.weight", vocabulary, hidden)
        add("model.norm.weight", hidden)
        if !isTied { add("lm_head.weight", vocabulary, hidden) }
        for layer in 0..<layers {
            let prefix = "model.layers.\(layer)."
            add(prefix + "input_layernorm.weight", hidden)
            add(prefix + "post_attention_layernorm.weight", hidden)
            for (name, rows, columns) in [
                ("q", heads * headSize, hidden), ("k", keyValueHeads * headSize, hidden),
                ("v", keyValueHeads * headSize, hidden), ("o", hidden, heads * headSize),
            ] {
                add(prefix + "self_attn.\(name)_proj.weight", rows, columns)
                if hasAttentionBias || family == .qwen2 && name != "o" {
                    add(prefix + "self_attn.\(name)_proj.bias", rows)
                }
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
                if hasFeedForwardBias { add(prefix + "mlp.\(name)_proj.bias", rows) }
            }
        }
        return found
    }
}
