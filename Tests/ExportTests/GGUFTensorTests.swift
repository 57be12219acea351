import Architectures
import Checkpoints
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// The tensors of GGUF files that are made of Hugging Face checkpoints.
@Suite struct GGUFTensorTests {
    private func error(
        isMixture: Bool = false, changes: [String: String] = [:], _ edit: (inout [SampleTensor]) -> Void = { _ in }
    ) throws -> IngotError? {
        var tensors = TinyModel.tensors(isMixture: isMixture)
        edit(&tensors)
        return #expect(throws: IngotError.self) {
            _ = try ContentSample.content(isMixture: isMixture, changes: changes, tensors: tensors)
        }
    }

    @Test("Names, order and kinds are those of llama.cpp") func names() throws {
        let content = try ContentSample.content()
        let layer = [
            "attn_k", "attn_norm", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_norm", "ffn_up",
        ]
        #expect(
            content.tensors.map(\.name.text)
                == ["output.weight", "output_norm.weight", "token_embd.weight"]
                + (0..<2).flatMap { number in layer.map { "blk.\(number).\($0).weight" } })
        #expect(content.tensors.prefix(3).map(\.role.kind) == [.head, .norm, .embedding])
        #expect(
            content.tensors.dropFirst(12).map(\.role.kind) == [
                .attentionKey, .norm, .attentionOutput, .attentionQuery, .attentionValue, .down, .gate, .norm, .up,
            ])
        #expect(content.tensors.dropFirst(12).allSatisfy { $0.role.layer == 1 })
    }

    @Test("Layer 10 follows layer 9") func manyLayers() throws {
        let directory = try TemporaryDirectory()
        let names = (0..<12).map { "blk.\($0).x.weight" }
        try GGUFSample.write(
            names.shuffled().map { GGUFSample.Tensor(SampleTensor($0, .f32, [4])) },
            metadata: [("general.architecture", 8, GGUFSample.text("other"))], to: directory.at("m.gguf"))
        let content = try GGUFContent(OpenedCheckpoint(directory.at("m.gguf")))
        #expect(content.tensors.map(\.name.text) == names)
    }

    @Test("Rows of queries and keys of Llama are those of llama.cpp's converter, and Qwen2 keeps its rows")
    func rows() throws {
        let content = try ContentSample.content()
        for (name, heads) in [("blk.0.attn_q.weight", 4), ("blk.1.attn_k.weight", 2)] {
            let tensor = try #require(content.tensors.first { $0.name.text == name })
            guard case .stored(let parts, let order?) = tensor.content else {
                Issue.record("\(name) without an order")
                continue
            }
            #expect(parts.count == 1 && parts[0].firstRow == 0)
            let rows = tensor.shape.dimensions[0]
            // weights.reshape(heads, 2, half, columns).swapaxes(1, 2): the new row (head, j, h) is the old row (head, h, j).
            let half = rows / heads / 2
            var expected: [Int] = []
            for head in 0..<heads {
                for pair in 0..<half { expected += [0, 1].map { head * 2 * half + $0 * half + pair } }
            }
            #expect((0..<rows).map { order.place(ofSource: $0) } == expected)
            #expect((0..<rows).map { order.source(ofPlace: order.place(ofSource: $0)) } == Array(0..<rows))
        }
        for tensor in content.tensors where !tensor.name.text.contains("attn_q") && !tensor.name.text.contains("attn_k")
        {
            guard case .stored(_, nil) = tensor.content else {
                Issue.record("\(tensor.name) in another order")
                continue
            }
        }
        var tensors = TinyModel.tensors()
        for layer in 0..<2 {
            for (name, rows) in [("q", 24), ("k", 12), ("v", 12)] {
                tensors.append(SampleTensor("model.layers.\(layer).self_attn.\(name)_proj.bias", .f32, [rows]))
            }
        }
        let qwen = try ContentSample.content(changes: ["model_type": #""qwen2""#], tensors: tensors)
        #expect(qwen.tensors.count == 27 && qwen.tensors.contains { $0.name.text == "blk.1.attn_k.bias" })
        for tensor in qwen.tensors {
            guard case .stored(_, nil) = tensor.content else {
                Issue.record("\(tensor.name) in another order")
                continue
            }
        }
    }

    @Test("Biases of Llama's queries and keys have the order of their rows") func biases() throws {
        var tensors = TinyModel.tensors()
        for layer in 0..<2 {
            for (name, rows) in [("q", 24), ("k", 12), ("v", 12), ("o", 24)] {
                tensors.append(SampleTensor("model.layers.\(layer).self_attn.\(name)_proj.bias", .f32, [rows]))
            }
        }
        let content = try ContentSample.content(changes: ["attention_bias": "true"], tensors: tensors)
        let biases = content.tensors.filter { $0.name.text.hasSuffix(".bias") }
        #expect(biases.count == 8)
        for bias in biases {
            guard case .stored(_, let order) = bias.content else { continue }
            #expect((order != nil) == (bias.name.text.contains("attn_q") || bias.name.text.contains("attn_k")))
        }
    }

    @Test("The matrices of experts are stacked in the order of their numbers") func experts() throws {
        let content = try ContentSample.content(isMixture: true)
        let down = try #require(content.tensors.first { $0.name.text == "blk.1.ffn_down_exps.weight" })
        #expect(down.shape.dimensions == [4, 24, 40] && down.role.kind == .down)
        guard case .stored(let parts, nil) = down.content else {
            Issue.record("no parts")
            return
        }
        #expect(parts.map(\.firstRow) == [0, 24, 48, 72])
        #expect(
            parts.map(\.weights.name.text)
                == (0..<4).map { "model.layers.1.block_sparse_moe.experts.\($0).w2.weight" })
        #expect(content.tensors.contains { $0.name.text == "blk.0.ffn_gate_inp.weight" && $0.role.kind == .router })
        #expect(down.sources.count == 4 && down.elementCount == 4 * 24 * 40)
    }

    @Test("A tied head is not written, and buffers of rotary frequencies are left out") func leftOut() throws {
        let buffers = [SampleTensor("model.layers.0.self_attn.rotary_emb.inv_freq", .f32, [3])]
        let tied = try ContentSample.content(
            changes: ["tie_word_embeddings": "true"],
            tensors: TinyModel.tensors().filter { $0.name != "lm_head.weight" } + buffers)
        #expect(tied.tensors.count == 20 && !tied.tensors.contains { $0.name.text == "output.weight" })
        #expect(!tied.warnings.contains { $0.tensor != nil })
        let stored = try ContentSample.content(changes: ["tie_word_embeddings": "true"])
        #expect(stored.tensors.count == 20)
        #expect(stored.warnings.first { $0.tensor?.text == "lm_head.weight" }?.message.contains("left out") == true)
    }

    @Test("Missing and other tensors are errors by name") func refusals() throws {
        let missing = try error { $0.removeAll { $0.name == "model.layers.1.mlp.up_proj.weight" } }
        #expect(missing?.code == .unsupportedSource && missing?.tensor?.text == "model.layers.1.mlp.up_proj.weight")
        #expect(missing?.found.contains("no such tensor") == true)
        let noHead = try error { $0.removeAll { $0.name == "lm_head.weight" } }
        #expect(noHead?.tensor?.text == "lm_head.weight")
        let more = try error { $0.append(SampleTensor("model.layers.0.self_attn.q_norm.weight", .f32, [6])) }
        #expect(more?.tensor?.text == "model.layers.0.self_attn.q_norm.weight")
        let layer = try error { $0.append(SampleTensor("model.layers.2.mlp.up_proj.weight", .f32, [40, 24])) }
        #expect(layer?.tensor?.text == "model.layers.2.mlp.up_proj.weight")
        let shape = try error { tensors in
            tensors.removeAll { $0.name == "model.norm.weight" }
            tensors.append(SampleTensor("model.norm.weight", .f32, [25]))
        }
        #expect(shape?.tensor?.text == "model.norm.weight" && shape?.expected == "shape 24")
        let type = try error { tensors in
            tensors.removeAll { $0.name == "model.norm.weight" }
            tensors.append(SampleTensor("model.norm.weight", raw: .i32, [24]))
        }
        #expect(type?.tensor?.text == "model.norm.weight" && type?.found.contains("I32") == true)
        let expert = try error(isMixture: true) { tensors in
            tensors.removeAll { $0.name.hasSuffix("layers.1.block_sparse_moe.experts.3.w2.weight") }
        }
        #expect(expert?.tensor?.text == "blk.1.ffn_down_exps.weight" && expert?.found.contains("expert 3") == true)
        let rows = try error(changes: ["vocab_size": "531"])
        #expect(rows?.tensor?.text.contains("weight") == true && rows?.expected?.contains("531") == true)
    }
}
