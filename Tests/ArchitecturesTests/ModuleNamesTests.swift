import Architectures
import TensorModel
import Testing

/// The answers of version 0.1, in which kinds and embeddings had a table of names each.
@Suite struct ModuleNamesTests {
    /// A module; its kind outside of layers; its kind in a layer; whether its weight outside of layers is an embedding or a head.
    @Test func everyModule() {
        let table = """
            embed_tokens embedding embedding more
            tok_embeddings embedding embedding more
            word_embeddings embedding embedding more
            position_embeddings embedding embedding same
            token_type_embeddings embedding embedding same
            wte embedding embedding more
            wpe embedding embedding same
            embed_in embedding embedding more
            embeddings embedding embedding more
            shared embedding embedding more
            token_embd embedding embedding more
            embed_positions embedding embedding same
            token_types embedding embedding same
            position_embd embedding embedding same
            lm_head head head more
            embed_out head head more
            output_layer head head more
            head head head more
            score head head same
            classifier head head same
            decoder other other same
            q_proj attn_q attn_q same
            query attn_q attn_q same
            wq attn_q attn_q same
            attn_q attn_q attn_q same
            q attn_q attn_q same
            q_a_proj attn_q attn_q same
            q_b_proj attn_q attn_q same
            attn_q_a attn_q attn_q same
            attn_q_b attn_q attn_q same
            k_proj attn_k attn_k same
            key attn_k attn_k same
            wk attn_k attn_k same
            attn_k attn_k attn_k same
            k attn_k attn_k same
            v_proj attn_v attn_v same
            value attn_v attn_v same
            wv attn_v attn_v same
            attn_v attn_v attn_v same
            v attn_v attn_v same
            qkv_proj attn_qkv attn_qkv same
            query_key_value attn_qkv attn_qkv same
            c_attn attn_qkv attn_qkv same
            wqkv attn_qkv attn_qkv same
            qkv attn_qkv attn_qkv same
            attn_qkv attn_qkv attn_qkv same
            W_pack attn_qkv attn_qkv same
            kv_a_proj_with_mqa attn_qkv attn_qkv same
            kv_b_proj attn_qkv attn_qkv same
            attn_kv_a_mqa attn_qkv attn_qkv same
            attn_kv_b attn_qkv attn_qkv same
            o_proj attn_output attn_output same
            out_proj attn_output attn_output same
            attn_output attn_output attn_output same
            o attn_output attn_output same
            router router router same
            ffn_gate_inp router router same
            ffn_gate_inp_shexp router router same
            shared_expert_gate router router same
            gate_proj ffn_gate ffn_gate same
            w1 ffn_gate ffn_gate same
            ffn_gate ffn_gate ffn_gate same
            ffn_gate_exps ffn_gate ffn_gate same
            ffn_gate_shexp ffn_gate ffn_gate same
            wi_0 ffn_gate ffn_gate same
            up_proj ffn_up ffn_up same
            w3 ffn_up ffn_up same
            ffn_up ffn_up ffn_up same
            ffn_up_exps ffn_up ffn_up same
            ffn_up_shexp ffn_up ffn_up same
            fc1 ffn_up ffn_up same
            c_fc ffn_up ffn_up same
            dense_h_to_4h ffn_up ffn_up same
            fc_in ffn_up ffn_up same
            intermediate ffn_up ffn_up same
            wi ffn_up ffn_up same
            wi_1 ffn_up ffn_up same
            gate_up_proj ffn_gate_up ffn_gate_up same
            down_proj ffn_down ffn_down same
            w2 ffn_down ffn_down same
            ffn_down ffn_down ffn_down same
            ffn_down_exps ffn_down ffn_down same
            ffn_down_shexp ffn_down ffn_down same
            fc2 ffn_down ffn_down same
            dense_4h_to_h ffn_down ffn_down same
            fc_out ffn_down ffn_down same
            output head ffn_down more
            dense other ffn_down same
            c_proj other ffn_down same
            wo other attn_output same
            gate other router same
            """
        for line in table.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            let (lone, layered) = (TensorName(words[0] + ".weight"), TensorName("layers.3.\(words[0]).weight"))
            #expect(TensorRole(lone).kind.rawValue == words[1], "\(lone)")
            #expect(TensorRole(layered).kind.rawValue == words[2], "\(layered)")
            #expect(TensorRole(lone).layer == nil && TensorRole(layered).layer == 3, "\(lone)")
            #expect(TensorRole.isEmbeddingOrHead(lone) == (words[3] == "more"), "\(lone)")
            #expect(!TensorRole.isEmbeddingOrHead(layered), "\(layered)")
        }
    }

    /// Names with other endings, with numbers that are no layers' to one of the rules, and with characters that join a neighbour.
    private static let oddNames: [(name: String, kind: String, layer: Int?, isEmbeddingOrHead: Bool)] = [
        ("lm_head", "head", nil, false),
        ("lm_head.bias", "bias", nil, false),
        ("lm_head.qweight", "head", nil, false),
        ("lm_head.weight.weight", "other", nil, false),
        ("model.lm_head.weight", "head", nil, true),
        ("model.embed_tokens.weight", "embedding", nil, true),
        ("embed_tokens.scales", "embedding", nil, false),
        ("LM_HEAD.weight", "other", nil, false),
        ("lm_head.Weight", "other", nil, false),
        (".lm_head.weight", "head", nil, true),
        ("lm_head..weight", "head", nil, true),
        ("lm_head.weight.", "head", nil, true),
        ("cls.predictions.decoder.weight", "head", nil, false),
        ("decoder.weight", "other", nil, false),
        ("model.decoder.output.weight", "head", nil, true),
        ("transformer.output_layer.weight", "head", nil, true),
        ("99999999999999999999.lm_head.weight", "head", nil, false),
        ("model.layers.\u{664}.lm_head.weight", "head", nil, false),
        ("\u{BD}.wte.weight", "embedding", nil, false),
        ("wte.7.weight", "other", 7, false),
        ("wte.weight.7", "other", nil, false),
        ("7", "other", nil, false),
        ("weight", "other", nil, false),
        ("head", "head", nil, false),
        ("bert.embeddings.weight", "embedding", nil, true),
        ("mtp.0.shared.weight", "embedding", 0, false),
        ("model.layers.61.embed_tokens.weight", "embedding", 61, false),
        ("model.layers.61.shared_head.head.weight", "head", 61, false),
        ("lm_head.0.weight", "other", 0, false),
        ("lm_head\u{301}.weight", "other", nil, false),
        ("lm_head.weight\u{301}", "other", nil, false),
        ("wte.\u{301}weight", "other", nil, false),
        ("output.dense.weight", "other", nil, false),
        ("encoder.layer.0.output.weight", "ffn_down", 0, false),
        ("blk.2.output.weight", "ffn_down", 2, false),
        ("visual.merger.dense.weight", "other", nil, false),
        ("dense.weight", "other", nil, false),
        ("c_proj.weight", "other", nil, false),
        ("wo.weight", "other", nil, false),
        ("gate.weight", "other", nil, false),
        ("model.layers.0.mlp.experts.3.weight", "other", 0, false),
        ("blk.9.ffn_gate.3.weight", "ffn_gate", 9, false),
        ("blk.9.ffn_gate.3.bias", "bias", 9, false),
        ("a.3.weight", "other", 3, false),
    ]

    @Test func oddNames() {
        for (text, kind, layer, isEmbeddingOrHead) in ModuleNamesTests.oddNames {
            let name = TensorName(text)
            #expect(TensorRole(name).kind.rawValue == kind, "\(text)")
            #expect(TensorRole(name).layer == layer, "\(text)")
            #expect(TensorRole.isEmbeddingOrHead(name) == isEmbeddingOrHead, "\(text)")
        }
    }

    @Test func json() {
        #expect(TensorRole(TensorName("layers.3.q_proj.weight")).json.text() == #"{"kind":"attn_q","layer":3}"#)
        #expect(TensorRole(TensorName("lm_head.weight")).json.text() == #"{"kind":"head","layer":null}"#)
    }
}
