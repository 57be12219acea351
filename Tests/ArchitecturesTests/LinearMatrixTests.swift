import Architectures
import TensorModel
import Testing

/// The matrices of linear layers, by their names.
@Suite struct LinearMatrixTests {
    @Test func names() {
        let table = """
            model.layers.3.self_attn.q_proj.weight layers.3.attn_q
            blk.3.attn_k.weight layers.3.attn_k
            model.layers.3.self_attn.v_proj.weight layers.3.attn_v
            model.layers.3.self_attn.qkv_proj.weight layers.3.attn_qkv
            model.layers.3.self_attn.o_proj.weight layers.3.attn_output
            blk.3.ffn_gate.weight layers.3.ffn_gate
            model.layers.3.mlp.gate_up_proj.weight layers.3.ffn_gate_up
            model.layers.3.mlp.down_proj.weight layers.3.ffn_down
            layers.12.feed_forward.w3.weight layers.12.ffn_up
            model.layers.7.block_sparse_moe.experts.3.w2.weight layers.7.experts.3.ffn_down
            model.layers.7.mlp.experts.gate_up_proj layers.7.experts.5.ffn_gate_up
            blk.9.ffn_up_exps.weight layers.9.experts.5.ffn_up
            model.layers.7.mlp.shared_expert.up_proj.weight layers.7.ffn_up
            lm_head.weight head
            output.weight head
            model.layers.7.block_sparse_moe.gate.weight -
            blk.9.ffn_gate_inp.weight -
            model.layers.3.input_layernorm.weight -
            model.layers.3.self_attn.q_proj.bias -
            model.embed_tokens.weight -
            token_embd.weight -
            model.layers.7.self_attn.kv_b_proj.weight -
            vision.layers.3.self_attn.q_proj.weight -
            """
        for line in table.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            #expect(LinearMatrix(TensorName(words[0]), expert: 5)?.text ?? "-" == words[1], "\(words[0])")
        }
        #expect(LinearMatrix(TensorName("blk.9.ffn_up_exps.weight"), expert: -1) == nil)
    }

    /// A text leads back to its matrix, and no other text does.
    @Test func texts() {
        let matrices = [
            LinearMatrix(layer: 0, .attentionQuery), LinearMatrix(layer: 0, .attentionFused),
            LinearMatrix(layer: 0, .gate), LinearMatrix(layer: 0, .gate, expert: 2),
            LinearMatrix(layer: 0, .gate, expert: 10), LinearMatrix(layer: 0, .down), LinearMatrix(layer: 11, .up),
            .head,
        ].compactMap { $0 }
        #expect(matrices.count == 8 && matrices.sorted() == matrices)
        for matrix in matrices {
            #expect(LinearMatrix(text: matrix.text) == matrix && matrix.description == matrix.text)
        }
        for text in [
            "", "head.", "head_in", "layers.0.head", "layers.00.ffn_down", "layers.-1.ffn_down", "layers.0.router",
            "layers.0.experts.1.attn_q", "layers.0.experts.01.ffn_up", "layers.0.experts.ffn_up", "layers.0.norm",
            "layers.0.x.1.ffn_up", "layer.0.ffn_up", "layers.0.ffn_up.x", "attn_q", "embedding",
            "layers.99999999999999999999.ffn_up",
        ] { #expect(LinearMatrix(text: text) == nil, "\(text)") }
        #expect(LinearMatrix(layer: 0, .head) == nil && LinearMatrix(layer: -1, .down) == nil)
        #expect(
            LinearMatrix(layer: 0, .down, expert: -1) == nil && LinearMatrix(layer: 0, .attentionKey, expert: 0) == nil)
        #expect(
            LinearMatrix(layer: 1, .gateUp, expert: 4)?.parts.map(\.text) == [
                "layers.1.experts.4.ffn_gate", "layers.1.experts.4.ffn_up",
            ])
        #expect(
            LinearMatrix(layer: 1, .attentionFused)?.parts.map(\.kind) == [
                .attentionQuery, .attentionKey, .attentionValue,
            ])
        #expect(LinearMatrix.head.parts.isEmpty)
    }
}
