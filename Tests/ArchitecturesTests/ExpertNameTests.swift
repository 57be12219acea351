import Architectures
import TensorModel
import Testing

/// What names say of experts.
@Suite struct ExpertNameTests {
    @Test(
        arguments: [
            (
                "model.layers.7.mlp.experts.11.gate_proj.weight", 11, [7],
                "model.layers.7.mlp.experts.*.gate_proj.weight"
            ),
            (
                "model.layers.7.block_sparse_moe.experts.3.w1.weight", 3, [7],
                "model.layers.7.block_sparse_moe.experts.*.w1.weight"
            ),
            (
                "e.block.1.layer.2.mlp.experts.expert_0.wi.weight", 0, [1, 2],
                "e.block.1.layer.2.mlp.experts.expert_*.wi.weight"
            ),
            ("m.5.local_experts.2.x", 2, [5], "m.5.local_experts.*.x"),
            ("blk.4.ffn_up.6.weight", 6, [4], "blk.4.ffn_up.*.weight"),
            ("experts.1.w1.weight", 1, [], "experts.*.w1.weight"),
            ("model.layers.7.mlp.experts.gate_up_proj", nil, [7], nil), ("blk.4.ffn_up_exps.weight", nil, [4], nil),
            ("model.layers.7.mlp.shared_expert.gate_proj.weight", nil, [7], nil),
            ("model.layers.7.mlp.gate.weight", nil, [7], nil), ("layers.0.mlp.2.weight", nil, [0, 2], nil),
            ("blk.4.ffn_up.weight", nil, [4], nil), ("experts", nil, [], nil), ("", nil, [], nil),
            ("experts.", nil, [], nil),
            ("a.experts.99999999999999999999.w", nil, [], nil), ("experts.-1.w", nil, [], nil),
            ("a..experts..1", nil, [1], nil),
        ] as [(String, Int?, [Int], String?)])
    func names(name: String, expert: Int?, numbers: [Int], pattern: String?) {
        let found = ExpertName(TensorName(name))
        #expect(found.expert == expert && found.numbers == numbers)
        #expect(found.pattern.text == pattern ?? name)
    }
}
