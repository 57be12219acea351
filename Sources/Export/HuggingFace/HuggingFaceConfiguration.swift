import Checkpoints
import TensorModel

extension GGUFToHuggingFace {
    /// The bytes of `config.json`.
    ///
    /// - Parameter elementType: the type in which transformers loads the weights.
    /// - Throws: errors of reading.
    func configuration(_ elementType: FloatFormat) throws -> [UInt8] {
        func has(_ name: String) -> Bool { shapes[TensorName(name)] != nil }
        func number(_ value: Int) -> JSONValue { .unsigned(UInt64(value)) }
        let (name, type) =
            switch family {
            case .llama: ("LlamaForCausalLM", "llama")
            case .mixtral: ("MixtralForCausalLM", "mixtral")
            case .qwen2: ("Qwen2ForCausalLM", "qwen2")
            }
        var members: [JSONValue.Member] = [
            .init("architectures", .array([.string(name)])), .init("model_type", .string(type)),
            .init("hidden_act", .string("silu")), .init("hidden_size", number(sizes.hidden)),
            .init("intermediate_size", number(sizes.intermediate)), .init("num_hidden_layers", number(sizes.layers)),
            .init("num_attention_heads", number(sizes.heads)),
            .init("num_key_value_heads", number(sizes.keyValueHeads)),
        ]
        if sizes.headSize * sizes.heads != sizes.hidden { members.append(.init("head_dim", number(sizes.headSize))) }
        if family == .mixtral {
            members += [
                .init("num_local_experts", number(sizes.experts)),
                .init("num_experts_per_tok", number(sizes.expertsUsed)),
            ]
        }
        if family == .llama {
            members += [
                .init("attention_bias", .bool(sizes.hasAttentionBias(has))),
                .init("mlp_bias", .bool(sizes.hasFeedForwardBias(has))),
            ]
        }
        members += [
            .init("rms_norm_eps", .number(sizes.epsilon)), .init("rope_theta", .number(sizes.ropeBase)),
            .init("rope_scaling", scaling ?? .null), .init("max_position_embeddings", number(sizes.context)),
            .init("vocab_size", number(sizes.vocabulary)), .init("tie_word_embeddings", .bool(sizes.isTied(has))),
        ]
        // transformers takes 1 and 2 where these are left out.
        for (key, token) in [("bos_token_id", "bos"), ("eos_token_id", "eos")] {
            let id = try metadata.unsigned("tokenizer.ggml.\(token)_token_id")
            members.append(.init(key, id.map { .unsigned($0) } ?? .null))
        }
        let typeName =
            switch elementType {
            case .f16: "float16"
            case .bf16: "bfloat16"
            case .f32: "float32"
            }
        members.append(.init("torch_dtype", .string(typeName)))
        return Array((JSONValue.object(members).text(indented: true) + "\n").utf8)
    }
}
