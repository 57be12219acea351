import Checkpoints
import Container
import Conversion
import ConversionSupport
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// Exports of checkpoints that were made of GGUF files. Tests/Peers/test_gguf_export.py loads such exports in transformers.
@Suite struct GGUFExportTests {
    private static let hidden = 64
    private static let heads = (queries: 4, keys: 2)

    private static func number(_ key: String, _ value: Int) -> (String, UInt32, [UInt8]) {
        ("llama." + key, 4, GGUFSample.word(UInt64(value), 4))
    }

    /// Metadata of a model of one layer.
    private static let metadata: [(String, UInt32, [UInt8])] = [
        ("general.architecture", 8, GGUFSample.text("llama")), number("block_count", 1),
        number("embedding_length", hidden), number("feed_forward_length", 96), number("attention.head_count", 4),
        number("attention.head_count_kv", 2), number("context_length", 128),
        ("llama.attention.layer_norm_rms_epsilon", 6, GGUFSample.word(UInt64(Float(1e-5).bitPattern), 4)),
    ]

    /// Tensors of a model of one layer; `q` is the type of the query projection.
    private static func tensors(_ q: FloatFormat = .f16) -> [SampleTensor] {
        [
            SampleTensor("token_embd.weight", .f16, [40, hidden]), SampleTensor("output_norm.weight", .f32, [hidden]),
            SampleTensor("blk.0.attn_norm.weight", .f32, [hidden]),
            SampleTensor("blk.0.ffn_norm.weight", .f32, [hidden]),
            SampleTensor("blk.0.attn_q.weight", q, [64, hidden]),
            SampleTensor("blk.0.attn_k.weight", .f16, [32, hidden]),
            SampleTensor("blk.0.attn_v.weight", .f16, [32, hidden]),
            SampleTensor("blk.0.attn_output.weight", .f16, [hidden, 64]),
            SampleTensor("blk.0.ffn_gate.weight", .f16, [96, hidden]),
            SampleTensor("blk.0.ffn_up.weight", .f16, [96, hidden]),
            SampleTensor("blk.0.ffn_down.weight", .f16, [hidden, 96]),
        ]
    }

    private static func write(
        _ tensors: [SampleTensor] = tensors(), _ metadata: [(String, UInt32, [UInt8])] = metadata, to path: FilePath
    ) throws {
        try GGUFSample.write(tensors.map(GGUFSample.Tensor.init), metadata: metadata, to: path)
    }

    /// The rows of a matrix in llama.cpp's order, from those of Hugging Face: the halves of each head alternate.
    private static func interleaved(_ bytes: [UInt8], rows: Int, heads: Int) -> [UInt8] {
        let (width, size) = (bytes.count / rows, rows / heads)
        var result: [UInt8] = []
        for head in 0..<heads {
            for pair in 0..<size / 2 {
                for row in [pair, pair + size / 2] {
                    let start = (head * size + row) * width
                    result += bytes[start..<start + width]
                }
            }
        }
        return result
    }

    @Test(
        "Rows of queries and keys go back to their places, whether they are encoded or kept",
        arguments: [EncodingOptions.Scheme.lossless, .uniform, .trellis], [nil, FloatFormat.f32]
    ) func rows(_ scheme: EncodingOptions.Scheme, _ format: FloatFormat?) async throws {
        let directory = try TemporaryDirectory()
        try GGUFExportTests.write(to: directory.at("m.gguf"))
        try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"), Verbs.options(scheme))
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"), as: format)
        try await Verbs.export(directory.at("sealed"), to: directory.at("named"), as: format, keepsNames: true)
        let (out, named) = (try Verbs.tensors(directory.at("out")), try Verbs.tensors(directory.at("named")))
        #expect(
            out.count == named.count && Set(named.keys) == Set(GGUFExportTests.tensors().map { TensorName($0.name) }))
        for (new, old, heads) in [("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)] {
            let found = try #require(out[TensorName("model.layers.0.self_attn.\(new).weight")])
            let source = try #require(named[TensorName("blk.0.\(old).weight")])
            #expect(GGUFExportTests.interleaved(found.bytes, rows: found.shape[0], heads: heads) == source.bytes)
            #expect(found.bytes != source.bytes && found.type == source.type && found.shape == source.shape)
        }
        for (new, old) in [
            ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"),
            ("model.layers.0.mlp.down_proj", "blk.0.ffn_down"), ("model.layers.0.self_attn.v_proj", "blk.0.attn_v"),
            ("model.layers.0.post_attention_layernorm", "blk.0.ffn_norm"),
        ] {
            #expect(out[TensorName(new + ".weight")]?.bytes == named[TensorName(old + ".weight")]?.bytes)
        }
        #expect(
            Files.names(directory.at("named")) == ["ingot-export.json", "model.safetensors", "source-metadata.gguf"])
    }

    @Test("config.json states the numbers of the metadata, and the rest follows from the tensors") func configuration()
        async throws
    {
        let directory = try TemporaryDirectory()
        try GGUFExportTests.write(to: directory.at("m.gguf"))
        try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"))
        let exporter = try SafetensorsExporter(
            OpenedCheckpoint(directory.at("sealed")), as: nil, memory: Verbs.minimumMemory, jobs: 1, force: false)
        let summary = try await exporter.run(to: directory.at("out"))
        #expect(summary.warnings.count == 1 && summary.warnings[0].message.contains("no tokenizer is written"))
        #expect(Files.names(directory.at("out")) == ["config.json", "ingot-export.json", "model.safetensors"])
        let found = try JSONValue.parse(Files.read(directory.at("out").appending("config.json")))
        let expected = try JSONValue.parse(
            Array(
                """
                {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64,
                "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
                "attention_bias": false, "mlp_bias": false, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
                "rope_scaling": null, "max_position_embeddings": 128, "vocab_size": 40, "tie_word_embeddings": true,
                "bos_token_id": null, "eos_token_id": null, "torch_dtype": "float16"}
                """.utf8))
        #expect(found == expected)
    }

    @Test("Without metadata, and for other architectures, the export is as before") func others() async throws {
        let directory = try TemporaryDirectory()
        let other = [("general.architecture", UInt32(8), GGUFSample.text("gemma3"))]
        for (name, metadata) in [("none", []), ("other", other)] {
            try GGUFExportTests.write(GGUFExportTests.tensors(), metadata, to: directory.at(name + ".gguf"))
            try await Verbs.convert(directory.at(name + ".gguf"), to: directory.at(name), Verbs.options(.lossless))
            try await Verbs.export(directory.at(name), to: directory.at(name + "-out"))
            let found = try Verbs.tensors(directory.at(name + "-out"))
            #expect(found.mapValues(\.bytes) == (try Verbs.tensors(directory.at(name + ".gguf"))).mapValues(\.bytes))
        }
    }

    @Test("An export under other names is replaced, and a checkpoint with damaged metadata is not exported")
    func replacing() async throws {
        let directory = try TemporaryDirectory()
        try GGUFExportTests.write(to: directory.at("m.gguf"))
        let (sealed, out) = (directory.at("sealed"), directory.at("out"))
        try await Verbs.convert(directory.at("m.gguf"), to: sealed)
        try await Verbs.export(sealed, to: out)
        try await Verbs.export(sealed, to: out, force: true, keepsNames: true)
        try await Verbs.export(sealed, to: out, force: true)
        try Files.patch([0], at: 40, in: out.appending("config.json"))
        #expect(try await Verbs.failure { try await Verbs.export(sealed, to: out, force: true) }?.code == .cannotCreate)
        try Files.patch([0xFF], at: 60, in: sealed.appending("source-metadata.gguf"))
        let error = try await Verbs.failure { try await Verbs.export(sealed, to: directory.at("new")) }
        #expect(error?.code == .fileHash && !Files.names(directory.path).contains("new"))
    }

    @Test(
        "G13: metadata that contradict the tensors are refused by name, before anything is written",
        arguments: [
            ("block_count", 2, "model.layers.1"), ("block_count", 1 << 31, "block_count"),
            ("attention.head_count", 3, "head_count"), ("attention.head_count_kv", 4, "k_proj"),
            ("embedding_length", 32, "model.embed_tokens"), ("feed_forward_length", 95, "mlp"),
            ("expert_count", 2, "expert_used_count"), ("rope.dimension_count", 8, "rope.dimension_count"),
            ("context_length", 0, "context_length"),
        ]) func contradictions(_ key: String, _ value: Int, _ word: String) async throws
    {
        let directory = try TemporaryDirectory()
        let own = GGUFExportTests.number(key, value)
        let metadata = GGUFExportTests.metadata.filter { $0.0 != own.0 } + [own]
        try GGUFExportTests.write(GGUFExportTests.tensors(), metadata, to: directory.at("m.gguf"))
        try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"))
        let error = try await Verbs.failure { try await Verbs.export(directory.at("sealed"), to: directory.at("out")) }
        #expect(error?.code == .unsupportedSource && error?.remedy.includes(.keepNames) == true)
        #expect("\(error?.tensor?.text ?? "") \(error?.found ?? "")".contains(word), "\(String(describing: error))")
        #expect(!Files.names(directory.path).contains("out"))
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"), keepsNames: true)
    }

    @Test("G13: tensors without a place in the layout are refused by name") func strangers() async throws {
        let directory = try TemporaryDirectory()
        for (name, shape) in [
            ("blk.0.ffn_gate_exps.weight", [2, 8, 64]), ("blk.00.attn_q.weight", [64, 64]), ("rope_freqs.weight", [9]),
            ("blk.0.attn_q.bias", [64]), ("blk.0.attn_q.scale", [64]), ("v.blk.0.attn_q.weight", [64, 64]),
        ] {
            let tensors = GGUFExportTests.tensors() + [SampleTensor(name, .f32, shape)]
            try GGUFExportTests.write(tensors, to: directory.at("m.gguf"))
            var options = Verbs.options()
            options.run.force = true
            try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"), options)
            let error = try await Verbs.failure {
                try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
            }
            let expected = name == "blk.0.attn_q.bias" ? "model.layers.0.self_attn.k_proj.bias" : name
            #expect(error?.code == .unsupportedSource && error?.tensor == TensorName(expected), "\(name)")
        }
    }
}
