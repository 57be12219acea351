import Checkpoints
import TensorModel
import Weights

extension GGUFToHuggingFace {
    /// The bytes of `config.json`.
    ///
    /// - Parameter elementType: the type in which transformers loads the weights.
    /// - Throws: errors of reading.
    func configuration(_ elementType: FloatFormat) throws -> [UInt8] {
        func number(_ value: Int) -> JSONValue { .unsigned(UInt64(value)) }
        let (name, type) =
            switch decoder.family {
            case .llama: ("LlamaForCausalLM", "llama")
            case .mixtral: ("MixtralForCausalLM", "mixtral")
            case .qwen2: ("Qwen2ForCausalLM", "qwen2")
            }
        var members: [JSONValue.Member] = [
            .init("architectures", .array([.string(name)])), .init("model_type", .string(type)),
            .init("hidden_act", .string("silu")), .init("hidden_size", number(decoder.hidden)),
            .init("intermediate_size", number(decoder.intermediate)),
            .init("num_hidden_layers", number(decoder.layers)),
            .init("num_attention_heads", number(decoder.heads)),
            .init("num_key_value_heads", number(decoder.keyValueHeads)),
        ]
        if decoder.headSize * decoder.heads != decoder.hidden {
            members.append(.init("head_dim", number(decoder.headSize)))
        }
        if decoder.family == .mixtral {
            members += [
                .init("num_local_experts", number(decoder.experts)),
                .init("num_experts_per_tok", number(decoder.expertsUsed)),
            ]
        }
        if decoder.family == .llama {
            members += [
                .init("attention_bias", .bool(decoder.hasAttentionBias)),
                .init("mlp_bias", .bool(decoder.hasFeedForwardBias)),
            ]
        }
        members += [
            .init("rms_norm_eps", .number(decoder.epsilon)), .init("rope_theta", .number(decoder.ropeBase)),
            .init("rope_scaling", decoder.scaling?.json ?? .null),
            .init("max_position_embeddings", number(decoder.context)),
            .init("vocab_size", number(decoder.vocabulary)), .init("tie_word_embeddings", .bool(decoder.isTied)),
        ]
        // transformers takes 1 and 2 where these are left out.
        for (key, token) in [("bos_token_id", "bos"), ("eos_token_id", "eos")] {
            let id = try decoder.metadata.unsigned("tokenizer.ggml.\(token)_token_id")
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

extension GGUFRopeScaling {
    /// `rope_scaling` of `config.json`.
    fileprivate var json: JSONValue {
        func object(_ kind: String, _ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
            .object([.init("rope_type", .string(kind))] + members.map { .init($0.key, $0.value) })
        }
        switch self {
        case .linear(let factor): return object("linear", ["factor": .number(factor)])
        case .yarn(let factor, let context):
            return object(
                "yarn", ["factor": .number(factor), "original_max_position_embeddings": .unsigned(context)])
        case .llama3(let factor, let low, let high, let context):
            return object(
                "llama3",
                [
                    "factor": .number(factor), "low_freq_factor": .number(low), "high_freq_factor": .number(high),
                    "original_max_position_embeddings": .unsigned(context),
                ])
        }
    }
}
