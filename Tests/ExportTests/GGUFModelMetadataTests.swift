import Checkpoints
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// The metadata about the model in GGUF files that are made of Hugging Face checkpoints, and of GGUF files.
@Suite struct GGUFModelMetadataTests {
    private func error(changes: [String: String]) throws -> IngotError? {
        #expect(throws: IngotError.self) { _ = try ContentSample.content(changes: changes) }
    }

    @Test("The numbers of the configuration come back from the file") func numbers() throws {
        let directory = try TemporaryDirectory()
        let content = try GGUFContent(
            ContentSample.model(
                directory,
                changes: ["rope_theta": "500000.0", "rope_scaling": #"{"rope_type": "linear", "factor": 2.5}"#],
                files: [
                    "generation_config.json":
                        #"{"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05, "top_p": null}"#,
                    "README.md": "---\nlicense: \"apache-2.0\"\nlicense_link: https://x.y\ntags:\n- a\n---\n# A\n",
                ]))
        let metadata = try ContentSample.write(content, to: directory.at("m.gguf"))
        let decoder = try #require(try GGUFDecoder(metadata, OpenedCheckpoint(directory.at("m.gguf"))))
        #expect(decoder.family == .llama && decoder.layers == 2 && decoder.hidden == 24 && decoder.intermediate == 40)
        #expect(decoder.heads == 4 && decoder.keyValueHeads == 2 && decoder.headSize == 6)
        #expect(decoder.context == 64 && decoder.vocabulary == 530 && !decoder.isTied)
        #expect(decoder.epsilon == 1e-5 && decoder.ropeBase == 500_000 && decoder.scaling == .linear(factor: 2.5))
        #expect(try metadata.unsigned("llama.vocab_size") == 530)
        #expect(try metadata.unsigned("llama.rope.dimension_count") == 6)
        #expect(try metadata.string("general.name") == "Tiny Model")
        #expect(try metadata.string("general.size_label") == "35K")
        #expect(try metadata.string("general.license") == "apache-2.0")
        #expect(try metadata.string("general.license.link") == "https://x.y")
        #expect(try metadata.float("general.sampling.temp") == 0.6)
        #expect(try metadata.unsigned("general.sampling.top_k") == 20)
        #expect(try metadata.float("general.sampling.penalty_repeat") == 1.05)
        #expect(!metadata.has("general.sampling.top_p"))
        #expect(try metadata.unsigned("general.quantization_version") == 2)
        #expect(try metadata.unsigned("general.file_type") == 0)
        // Without a tokenizer.
        #expect(try metadata.string("tokenizer.ggml.model") == "no_vocab")
        #expect(content.warnings.contains { $0.message.contains("no tokenizer.json") })
    }

    @Test("Mixtral, Qwen2 and YaRN") func families() throws {
        let directory = try TemporaryDirectory()
        let mixture = try ContentSample.write(
            GGUFContent(ContentSample.model(directory, "mixture", isMixture: true), name: "A model"),
            to: directory.at("mixture.gguf"))
        let decoder = try #require(try GGUFDecoder(mixture, OpenedCheckpoint(directory.at("mixture.gguf"))))
        #expect(decoder.family == .mixtral && decoder.experts == 4 && decoder.expertsUsed == 2)
        #expect(decoder.ropeBase == 1e6 && !mixture.has("llama.attention.key_length"))
        #expect(try mixture.string("general.name") == "A model")
        #expect(try mixture.string("general.size_label") == "4x35K")
        var tensors = TinyModel.tensors()
        for layer in 0..<2 {
            for (name, rows) in [("q", 24), ("k", 12), ("v", 12)] {
                tensors.append(SampleTensor("model.layers.\(layer).self_attn.\(name)_proj.bias", .f32, [rows]))
            }
        }
        let qwen = try ContentSample.write(
            GGUFContent(
                ContentSample.model(
                    directory, "qwen",
                    changes: [
                        "model_type": #""qwen2""#, "architectures": #"["Qwen2ForCausalLM"]"#,
                        "rope_scaling":
                            #"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "beta_fast": 16}"#,
                    ], tensors: tensors)), to: directory.at("qwen.gguf"))
        let read = try #require(try GGUFDecoder(qwen, OpenedCheckpoint(directory.at("qwen.gguf"))))
        #expect(read.family == .qwen2 && read.scaling == .yarn(factor: 4, originalContext: 32_768))
        #expect(try qwen.float("qwen2.rope.scaling.yarn_beta_fast") == 16)
        #expect(!qwen.has("qwen2.rope.dimension_count") && !qwen.has("qwen2.attention.key_length"))
        #expect(try qwen.unsigned("qwen2.vocab_size") == 530)
    }

    @Test(
        "Llama 3's factors are a tensor that the reader turns back into the same numbers",
        arguments: [8192, 32, 4096, 131_072])
    func llama3(originalContext: UInt64) throws {
        let directory = try TemporaryDirectory()
        let scaling = """
            {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": \(originalContext)}
            """
        // Heads of 64 rows, as Llama 3.2 1B has them; the tensors are of one layer.
        func matrix(_ name: String, _ rows: Int, _ columns: Int) -> SampleTensor {
            SampleTensor("model.\(name).weight", .f16, [rows, columns])
        }
        let tensors = [
            matrix("embed_tokens", 16, 32), SampleTensor("model.norm.weight", .f16, [32]),
            SampleTensor("model.layers.0.input_layernorm.weight", .f16, [32]),
            SampleTensor("model.layers.0.post_attention_layernorm.weight", .f16, [32]),
            matrix("layers.0.self_attn.q_proj", 128, 32), matrix("layers.0.self_attn.k_proj", 64, 32),
            matrix("layers.0.self_attn.v_proj", 64, 32), matrix("layers.0.self_attn.o_proj", 32, 128),
            matrix("layers.0.mlp.gate_proj", 8, 32), matrix("layers.0.mlp.up_proj", 8, 32),
            matrix("layers.0.mlp.down_proj", 32, 8),
        ]
        let content = try GGUFContent(
            ContentSample.model(
                directory,
                changes: [
                    "hidden_size": "32", "intermediate_size": "8", "num_hidden_layers": "1", "vocab_size": "16",
                    "num_attention_heads": "2", "num_key_value_heads": "1", "head_dim": "64",
                    "tie_word_embeddings": "true", "rope_theta": "500000.0", "rope_scaling": scaling,
                ], tensors: tensors))
        let factors = try #require(content.tensors.first { $0.name == GGUFDecoder.frequencyFactors })
        guard case .made(let bytes) = factors.content else {
            Issue.record("not made")
            return
        }
        #expect(factors.shape.dimensions == [32] && content.tensors.map(\.name)[1] == factors.name)
        let values = (0..<32).map { FloatBytes.decode(bytes, $0, .f32) }
        // The bits that llama.cpp's converter writes for these numbers (torch 2.13 on x86-64).
        if originalContext == 8192 {
            #expect(values[..<15].allSatisfy { $0 == 1 } && values[18...].allSatisfy { $0 == 32 })
            #expect(values[15...17].map(\.bitPattern) == [1_070_816_962, 1_079_161_967, 1_092_266_734])
        }
        let metadata = try ContentSample.write(content, to: directory.at("m.gguf"))
        #expect(!metadata.has("llama.rope.scaling.type"))
        let decoder = try #require(try GGUFDecoder(metadata, OpenedCheckpoint(directory.at("m.gguf"))))
        #expect(
            decoder.scaling == .llama3(factor: 32, lowFactor: 1, highFactor: 4, originalContext: originalContext))
        #expect(decoder.headSize == 64 && decoder.isTied)
    }

    @Test(
        "What the format or llama.cpp cannot state is refused by name",
        arguments: [
            (["model_type": #""gemma2""#], "gemma2"), (["architectures": #"["Qwen3ForCausalLM"]"#], "Qwen3ForCausalLM"),
            (["architectures": #"["MistralForCausalLM"]"#], "MistralForCausalLM"),
            (["hidden_act": #""gelu""#], "gelu"), (["partial_rotary_factor": "0.5"], "0.5"),
            (["rope_scaling": #"{"rope_type": "longrope"}"#], "longrope"),
            (["rope_scaling": #"{"rope_type": "yarn", "factor": 2, "mscale": 1}"#], "mscale"),
            (["rope_scaling": #"{"rope_type": "linear"}"#], "rope_scaling"), (["rms_norm_eps": "null"], "rms_norm_eps"),
            (["rms_norm_eps": "1e-60"], "rms_norm_eps"), (["hidden_size": "-1"], "hidden_size"),
            (["num_key_value_heads": "3"], "3 of keys"), (["head_dim": "5"], "5 rows"),
            (["rope_scaling": "3"], "rope_scaling"), (["architectures": "{}"], "architectures"),
        ]) func refusals(_ changes: [String: String], _ word: String) throws
    {
        let found = try error(changes: changes)
        #expect(found?.found.contains(word) == true, "\(String(describing: found))")
        #expect(found?.file?.hasSuffix("config.json") == true)
    }

    @Test("Windows of attention and dynamic frequencies are warnings") func warnings() throws {
        let mistral = try ContentSample.content(changes: ["model_type": #""mistral""#, "sliding_window": "32"])
        #expect(mistral.warnings.contains { $0.message.contains("a window of 32 tokens") })
        let dynamic = try ContentSample.content(changes: ["rope_scaling": #"{"type": "dynamic", "factor": 2.0}"#])
        #expect(dynamic.warnings.contains { $0.message.contains("dynamic") })
        let directory = try TemporaryDirectory()
        let none = try SampleSource.write([TinyModel.tensors()], to: directory.at("m"), companions: [:])
        let found = #expect(throws: IngotError.self) { _ = try GGUFContent(OpenedCheckpoint(none)) }
        #expect(found?.found.contains("neither a config.json") == true)
    }

    @Test("A GGUF source keeps its metadata byte for byte, but for layout and types") func verbatim() throws {
        let directory = try TemporaryDirectory()
        let kept: [(String, UInt32, [UInt8])] = [
            ("general.architecture", 8, GGUFSample.text("gemma2")), ("gemma2.block_count", 4, GGUFSample.word(1, 4)),
            ("tokenizer.ggml.tokens", 9, TokenizerSample.texts((0..<300).map { "t\($0)" })),
            ("odd.bytes", 8, GGUFSample.word(3, 8) + [0xFF, 0xFE, 0x41]),
            ("odd.flags", 9, GGUFSample.word(7, 4) + GGUFSample.word(2, 8) + [1, 0]),
        ]
        let dropped: [(String, UInt32, [UInt8])] = [
            ("general.alignment", 4, GGUFSample.word(32, 4)), ("general.file_type", 4, GGUFSample.word(7, 4)),
            ("general.quantization_version", 4, GGUFSample.word(2, 4)),
        ]
        try GGUFSample.write(
            [
                .q8("blk.0.attn_q.weight", [4, 64]),
                GGUFSample.Tensor(SampleTensor("token_embd.weight", .f16, [5, 64])),
            ],
            metadata: [dropped[0], kept[0], dropped[1], kept[1], kept[2], dropped[2], kept[3], kept[4]]
                + GGUFSample.split(0, of: 1, tensors: 2), to: directory.at("m.gguf"))
        let content = try GGUFContent(OpenedCheckpoint(directory.at("m.gguf")))
        var expected: [UInt8] = []
        for (key, type, value) in kept + [("general.file_type", 4, GGUFSample.word(15, 4))] {
            expected += GGUFSample.text(key) + GGUFSample.word(UInt64(type), 4) + value
        }
        let found = content.metadata(fileType: 15, quantizationVersion: nil)
        #expect(found.bytes == expected && found.count == 6 && content.warnings.isEmpty)
        #expect(content.tensors.map(\.name.text) == ["token_embd.weight", "blk.0.attn_q.weight"])
        #expect(content.tensors.map(\.sources.first?.encoding) == [nil, "Q8_0"])
    }
}
