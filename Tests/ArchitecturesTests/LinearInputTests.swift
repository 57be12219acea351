import Architectures
import TensorModel
import Testing

/// Which linear layers share an input.
@Suite struct LinearInputTests {
    /// Lines of a name and its input: a text, the text with `*` for tensors of all experts, or `-`.
    private func expect(_ table: String, location: SourceLocation = #_sourceLocation) {
        for line in table.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            let found: String =
                switch TensorInputs(TensorName(words[0])) {
                case nil: "-"
                case .one(let input): input.text
                case .perExpert(let layer, let kind): "layers.\(layer).experts.*.\(kind.rawValue)"
                }
            #expect(found == words[1], "\(words[0])", sourceLocation: location)
        }
    }

    @Test func llamaAndQwen2() {
        expect(
            """
            model.layers.3.self_attn.q_proj.weight layers.3.attention_in
            model.layers.3.self_attn.k_proj.weight layers.3.attention_in
            model.layers.3.self_attn.v_proj.weight layers.3.attention_in
            model.layers.3.self_attn.qkv_proj.weight layers.3.attention_in
            model.layers.3.self_attn.v_proj.bias -
            model.layers.3.self_attn.q_norm.weight -
            model.layers.3.self_attn.o_proj.weight layers.3.output_in
            model.layers.3.mlp.gate_proj.weight layers.3.feed_forward_in
            model.layers.3.mlp.up_proj.weight layers.3.feed_forward_in
            model.layers.3.mlp.gate_up_proj.weight layers.3.feed_forward_in
            model.layers.3.mlp.down_proj.weight layers.3.down_in
            model.layers.3.input_layernorm.weight -
            model.embed_tokens.weight -
            model.norm.weight -
            lm_head.weight head_in
            lm_head.bias -
            layers.12.attention.wq.weight layers.12.attention_in
            layers.12.attention.wo.weight layers.12.output_in
            layers.12.feed_forward.w1.weight layers.12.feed_forward_in
            layers.12.feed_forward.w2.weight layers.12.down_in
            layers.12.feed_forward.w3.weight layers.12.feed_forward_in
            output.weight head_in
            gpt_neox.layers.2.attention.query_key_value.weight layers.2.attention_in
            gpt_neox.layers.2.attention.dense.weight layers.2.output_in
            gpt_neox.layers.2.mlp.dense_h_to_4h.weight layers.2.feed_forward_in
            gpt_neox.layers.2.mlp.dense_4h_to_h.weight layers.2.down_in
            model.language_model.layers.0.mlp.up_proj.weight layers.0.feed_forward_in
            """)
    }

    @Test func experts() {
        expect(
            """
            model.layers.7.block_sparse_moe.gate.weight layers.7.feed_forward_in
            model.layers.7.block_sparse_moe.experts.3.w1.weight layers.7.experts.3.feed_forward_in
            model.layers.7.block_sparse_moe.experts.3.w2.weight layers.7.experts.3.down_in
            model.layers.7.block_sparse_moe.experts.3.w3.weight layers.7.experts.3.feed_forward_in
            model.layers.7.mlp.gate.weight layers.7.feed_forward_in
            model.layers.7.mlp.experts.11.gate_proj.weight layers.7.experts.11.feed_forward_in
            model.layers.7.mlp.experts.11.down_proj.weight layers.7.experts.11.down_in
            model.layers.7.mlp.experts.gate_up_proj layers.7.experts.*.feed_forward_in
            model.layers.7.mlp.experts.down_proj layers.7.experts.*.down_in
            model.layers.7.mlp.experts.down_proj_bias -
            model.layers.7.mlp.shared_expert_gate.weight layers.7.feed_forward_in
            model.layers.7.mlp.shared_expert.up_proj.weight layers.7.feed_forward_in
            model.layers.7.mlp.shared_experts.down_proj.weight layers.7.shared_down_in
            model.layers.7.self_attn.q_a_proj.weight layers.7.attention_in
            model.layers.7.self_attn.q_b_proj.weight -
            model.layers.7.self_attn.kv_a_proj_with_mqa.weight layers.7.attention_in
            model.layers.7.self_attn.kv_b_proj.weight -
            """)
    }

    @Test func gguf() {
        expect(
            """
            blk.0.attn_q.weight layers.0.attention_in
            blk.0.attn_k.weight layers.0.attention_in
            blk.0.attn_v.weight layers.0.attention_in
            blk.0.attn_v.bias -
            blk.0.attn_qkv.weight layers.0.attention_in
            blk.0.attn_output.weight layers.0.output_in
            blk.0.attn_norm.weight -
            blk.0.ffn_gate.weight layers.0.feed_forward_in
            blk.0.ffn_up.weight layers.0.feed_forward_in
            blk.0.ffn_down.weight layers.0.down_in
            blk.9.ffn_gate_inp.weight layers.9.feed_forward_in
            blk.9.ffn_gate_exps.weight layers.9.experts.*.feed_forward_in
            blk.9.ffn_up_exps.weight layers.9.experts.*.feed_forward_in
            blk.9.ffn_down_exps.weight layers.9.experts.*.down_in
            blk.9.ffn_gate.3.weight layers.9.experts.3.feed_forward_in
            blk.9.ffn_down.3.weight layers.9.experts.3.down_in
            blk.9.ffn_up_shexp.weight layers.9.feed_forward_in
            blk.9.ffn_down_shexp.weight layers.9.shared_down_in
            token_embd.weight -
            output.weight head_in
            output_norm.weight -
            """)
    }

    /// Encoders, image towers and transposed matrices have other inputs under like names; strange names have none.
    @Test func others() {
        expect(
            """
            encoder.layer.3.attention.self.query.weight -
            encoder.block.1.layer.0.SelfAttention.q.weight -
            vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight -
            model.decoder.layers.1.encoder_attn.k_proj.weight -
            transformer.h.0.attn.c_attn.weight -
            model.layers.61.shared_head.head.weight -
            model.layers.0.mlp.experts.3.weight -
            model.layers.99999999999999999999.mlp.up_proj.weight -
            model.layers.0.up_proj.lora_A.weight -
            ... -
            weight -
            """)
        #expect(TensorInputs(TensorName("")) == nil)
    }

    /// A text leads back to its input, and no other text does.
    @Test func texts() {
        let inputs = [
            LinearInput(layer: 0, .attentionIn), LinearInput(layer: 0, .feedForwardIn),
            LinearInput(layer: 0, .feedForwardIn, expert: 0), LinearInput(layer: 0, .feedForwardIn, expert: 10),
            LinearInput(layer: 0, .downIn, expert: 2), LinearInput(layer: 11, .sharedDownIn), .head,
        ].compactMap { $0 }
        #expect(inputs.count == 7 && inputs.sorted() == inputs)
        for input in inputs { #expect(LinearInput(text: input.text) == input) }
        for text in [
            "", "head_in.", "layers.0.head_in", "layers.00.down_in", "layers.-1.down_in",
            "layers.0.experts.1.output_in",
            "layers.0.experts.01.down_in", "layers.0.experts.down_in", "layers.0.x.1.down_in", "layer.0.down_in",
            "layers.0.down_in.x", "layers.99999999999999999999.down_in", "attention_in",
        ] { #expect(LinearInput(text: text) == nil, "\(text)") }
        #expect(LinearInput(layer: 0, .headIn) == nil && LinearInput(layer: -1, .downIn) == nil)
        #expect(LinearInput(layer: 0, .outputIn, expert: 1) == nil && LinearInput(layer: 0, .downIn, expert: -1) == nil)
        #expect(TensorInputs.perExpert(layer: 4, .downIn).input(ofExpert: 3)?.text == "layers.4.experts.3.down_in")
        #expect(TensorInputs.one(.head).input(ofExpert: 3) == .head)
    }
}
