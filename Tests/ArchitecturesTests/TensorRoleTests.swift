import Architectures
import TensorModel
import Testing

/// What names say, in the families of models people convert.
@Suite struct TensorRoleTests {
    private func expect(_ table: String, location: SourceLocation = #_sourceLocation) {
        for line in table.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            let role = TensorRole(TensorName(words[0]))
            #expect(role.kind.rawValue == words[1], "\(words[0])", sourceLocation: location)
            #expect(role.layer == Int(words[2]), "\(words[0])", sourceLocation: location)
        }
    }

    @Test func llama() {
        expect(
            """
            model.embed_tokens.weight embedding -
            model.layers.0.self_attn.q_proj.weight attn_q 0
            model.layers.12.self_attn.k_proj.weight attn_k 12
            model.layers.3.self_attn.v_proj.weight attn_v 3
            model.layers.3.self_attn.v_proj.bias bias 3
            model.layers.3.self_attn.o_proj.weight attn_output 3
            model.layers.3.self_attn.q_norm.weight norm 3
            model.layers.3.self_attn.qkv_proj.weight attn_qkv 3
            model.layers.3.mlp.gate_proj.weight ffn_gate 3
            model.layers.3.mlp.up_proj.weight ffn_up 3
            model.layers.3.mlp.gate_up_proj.weight ffn_gate_up 3
            model.layers.3.mlp.down_proj.weight ffn_down 3
            model.layers.3.input_layernorm.weight norm 3
            model.norm.weight norm -
            lm_head.weight head -
            layers.5.attention.wq.weight attn_q 5
            layers.5.attention.wo.weight attn_output 5
            layers.5.feed_forward.w1.weight ffn_gate 5
            layers.5.feed_forward.w2.weight ffn_down 5
            layers.5.feed_forward.w3.weight ffn_up 5
            layers.5.attention_norm.weight norm 5
            tok_embeddings.weight embedding -
            output.weight head -
            """)
    }

    @Test func mixturesOfExperts() {
        expect(
            """
            model.layers.7.block_sparse_moe.gate.weight router 7
            model.layers.7.block_sparse_moe.experts.3.w1.weight ffn_gate 7
            model.layers.7.block_sparse_moe.experts.3.w2.weight ffn_down 7
            model.layers.7.block_sparse_moe.experts.3.w3.weight ffn_up 7
            model.layers.7.mlp.gate.weight router 7
            model.layers.7.mlp.experts.11.gate_proj.weight ffn_gate 7
            model.layers.7.mlp.shared_expert_gate.weight router 7
            model.layers.7.mlp.router.weight router 7
            model.layers.7.mlp.experts.gate_up_proj ffn_gate_up 7
            model.layers.7.mlp.experts.down_proj ffn_down 7
            model.layers.7.mlp.experts.down_proj_bias bias 7
            blk.7.ffn_gate_up_exps.weight ffn_gate_up 7
            model.layers.7.self_attn.q_b_proj.weight attn_q 7
            model.layers.7.self_attn.kv_b_proj.weight attn_qkv 7
            """)
    }

    @Test func olderFamilies() {
        expect(
            """
            wte.weight embedding -
            transformer.wpe.weight embedding -
            h.0.attn.c_attn.weight attn_qkv 0
            h.0.attn.c_proj.weight attn_output 0
            h.0.attn.c_proj.bias bias 0
            h.0.mlp.c_fc.weight ffn_up 0
            h.0.mlp.c_proj.weight ffn_down 0
            h.0.ln_1.weight norm 0
            ln_f.weight norm -
            gpt_neox.embed_in.weight embedding -
            gpt_neox.layers.2.attention.query_key_value.weight attn_qkv 2
            gpt_neox.layers.2.attention.dense.weight attn_output 2
            gpt_neox.layers.2.attention.rotary_emb.inv_freq other 2
            gpt_neox.layers.2.mlp.dense_h_to_4h.weight ffn_up 2
            gpt_neox.layers.2.mlp.dense_4h_to_h.weight ffn_down 2
            gpt_neox.final_layer_norm.weight norm -
            embed_out.weight head -
            transformer.h.4.self_attention.dense.weight attn_output 4
            model.decoder.layers.1.fc1.weight ffn_up 1
            model.decoder.layers.1.self_attn.out_proj.weight attn_output 1
            bert.embeddings.word_embeddings.weight embedding -
            bert.embeddings.LayerNorm.weight norm -
            encoder.layer.3.attention.self.query.weight attn_q 3
            encoder.layer.3.attention.self.key.bias bias 3
            encoder.layer.3.attention.output.dense.weight attn_output 3
            encoder.layer.3.attention.output.LayerNorm.weight norm 3
            encoder.layer.3.intermediate.dense.weight ffn_up 3
            encoder.layer.3.output.dense.weight ffn_down 3
            pooler.dense.weight other -
            cls.predictions.decoder.weight head -
            shared.weight embedding -
            encoder.block.1.layer.0.SelfAttention.q.weight attn_q 1
            encoder.block.1.layer.0.SelfAttention.o.weight attn_output 1
            encoder.block.1.layer.1.DenseReluDense.wi_0.weight ffn_gate 1
            encoder.block.1.layer.1.DenseReluDense.wo.weight ffn_down 1
            """)
    }

    @Test func ggufAndOtherQuantizers() {
        expect(
            """
            token_embd.weight embedding -
            output.weight head -
            output_norm.weight norm -
            blk.0.attn_q.weight attn_q 0
            blk.0.attn_qkv.weight attn_qkv 0
            blk.0.attn_output.weight attn_output 0
            blk.0.attn_norm.weight norm 0
            blk.0.ffn_norm.weight norm 0
            blk.0.ffn_gate.weight ffn_gate 0
            blk.9.ffn_gate.3.weight ffn_gate 9
            blk.9.ffn_gate_inp.weight router 9
            blk.9.ffn_down_exps.weight ffn_down 9
            blk.9.ffn_up_shexp.weight ffn_up 9
            model.layers.0.mlp.up_proj.qweight ffn_up 0
            model.layers.0.mlp.up_proj.scales ffn_up 0
            model.layers.0.self_attn.q_proj.weight_packed attn_q 0
            """)
    }

    /// Any name has a role; numbers that no machine holds are no layers.
    @Test func strangeNames() {
        expect("... other -\n.weight other -\nweight other -\nbias bias -\n99999999999999999999.q_proj.weight attn_q -")
        #expect(TensorRole(TensorName("")).kind == .other && TensorRole(TensorName("")).layer == nil)
        #expect(TensorRole(TensorName("model.layers.\u{0664}.x")).layer == nil)
    }
}
