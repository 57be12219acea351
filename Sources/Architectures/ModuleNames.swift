/// The only table of module names. It covers the model families of the Hugging Face hub and of llama.cpp.
///
/// A module's name is the last part of a tensor's name before `weight`, `bias` and the like: `q_proj`, `lm_head`.
enum ModuleNames {
    /// An entry of the table.
    struct Entry {
        /// The kind of its tensors.
        let kind: TensorRole.Kind
        /// Whether its weight, outside the layers, is a token embedding or an output head. An error in such a weight reaches every token.
        let reachesEveryToken: Bool
    }

    /// The entry of a module; nil for an unknown module.
    static func entry(of module: String) -> Entry? { entries[module] }

    private static let rows: [(kind: TensorRole.Kind, reachesEveryToken: Bool, names: String)] = [
        (
            .embedding, true,
            "embed_tokens tok_embeddings word_embeddings wte embed_in embeddings shared token_embd"
        ),
        (
            .embedding, false,
            "position_embeddings token_type_embeddings wpe embed_positions token_types position_embd"
        ),
        // `output` is a head only outside the layers; `TensorRole` treats it in a layer.
        (.head, true, "lm_head embed_out output output_layer head"),
        (.head, false, "score classifier decoder"),
        (.attentionQuery, false, "q_proj query wq attn_q q q_a_proj q_b_proj attn_q_a attn_q_b"),
        (.attentionKey, false, "k_proj key wk attn_k k"),
        (.attentionValue, false, "v_proj value wv attn_v v"),
        (
            .attentionFused, false,
            """
            qkv_proj query_key_value c_attn wqkv qkv attn_qkv W_pack kv_a_proj_with_mqa kv_b_proj attn_kv_a_mqa \
            attn_kv_b
            """
        ),
        (.attentionOutput, false, "o_proj out_proj attn_output o"),
        (.router, false, "router ffn_gate_inp ffn_gate_inp_shexp shared_expert_gate"),
        (.gate, false, "gate_proj w1 ffn_gate ffn_gate_exps ffn_gate_shexp wi_0"),
        (
            .up, false,
            "up_proj w3 ffn_up ffn_up_exps ffn_up_shexp fc1 c_fc dense_h_to_4h fc_in intermediate wi wi_1"
        ),
        (.gateUp, false, "gate_up_proj ffn_gate_up_exps"),
        (.down, false, "down_proj w2 ffn_down ffn_down_exps ffn_down_shexp fc2 dense_4h_to_h fc_out"),
    ]

    private static let entries = Dictionary(
        uniqueKeysWithValues: rows.flatMap { row in
            row.names.split(separator: " ").map {
                (String($0), Entry(kind: row.kind, reachesEveryToken: row.reachesEveryToken))
            }
        })
}
