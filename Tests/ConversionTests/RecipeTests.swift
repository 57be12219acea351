import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What is quantized, kept, or gets other bits: defaults by name, and recipes.
@Suite struct RecipeTests {
    private static func rule(_ pattern: String, _ action: Recipe.Action) throws -> Recipe.Rule {
        Recipe.Rule(try #require(NamePattern(pattern)), action)
    }

    // MARK: - Defaults

    /// A name, and the reason why a matrix of this name is kept; nil if it is quantized.
    @Test(
        arguments: [
            ("model.layers.0.mlp.gate.weight", "router"), ("model.layers.0.block_sparse_moe.gate.weight", "router"),
            ("model.layers.0.mlp.router.weight", "router"), ("blk.0.ffn_gate_inp.weight", "router"),
            ("encoder.block.1.layer.1.mlp.router.classifier.weight", "router"),
            ("model.layers.0.mlp.shared_expert_gate.weight", "router"), ("model.layers.0.mlp.gate_proj.weight", nil),
            ("blk.0.ffn_gate.weight", nil),
            ("bert.embeddings.position_embeddings.weight", "position or token-type embedding"),
            ("bert.embeddings.token_type_embeddings.weight", "position or token-type embedding"),
            ("transformer.wpe.weight", "position or token-type embedding"),
            ("visual.positional_embedding", "position or token-type embedding"),
            ("vit.pos_embed", "position or token-type embedding"), ("transformer.wte.weight", nil),
            ("model.embed_tokens.weight", nil), ("model.layers.0.mlp.experts.gate_up_proj_bias", "bias"),
            ("model.layers.0.mlp.experts.down_proj.bias", "bias"),
            ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "bias"),
            ("model.layers.0.self_attn.q_proj.weight_scale_inv", "scale"), ("a.weight_scale", "scale"),
            ("base_model.model.layers.0.self_attn.q_proj.lora_A.weight", "LoRA adapter"),
            ("q_proj.lora_B.default.weight", "LoRA adapter"),
            ("lora_unet_down_blocks_0.lora_up.weight", "LoRA adapter"),
            ("flora_dense.weight", nil), ("a.weight", nil),
        ] as [(String, String?)])
    func defaults(name: String, reason: String?) throws {
        let shape = try #require(Shape([64, 64]))
        for scheme in [EncodingOptions.Scheme.trellis, .uniform] {
            var options = EncodingOptions()
            options.scheme = scheme
            let choice = DefaultRecipe.choice(TensorName(name), .f16, shape, options)
            #expect((choice.scheme == nil) == (reason != nil), "\(name)")
            if let reason { #expect(choice.rule == reason, "\(name)") }
            // Asked for by name, it is quantized.
            options.recipe = Recipe([try RecipeTests.rule("*", .encode(scheme: nil, bits: 5))])
            #expect(DefaultRecipe.choice(TensorName(name), .f16, shape, options).scheme != nil, "\(name)")
        }
        var options = EncodingOptions()
        options.scheme = .lossless
        #expect(DefaultRecipe.choice(TensorName(name), .f16, shape, options).scheme == .lossless, "\(name)")
    }

    // MARK: - Recipes

    private static let names = ["a.weight", "b.weight", "c.weight", "d.weight", "mlp.0.gate.weight"]

    private static func convert(_ goal: RateGoal, _ rules: [Recipe.Rule], in directory: TemporaryDirectory) async throws
        -> ConversionReport
    {
        let source = try SampleSource.write(
            [names.map { SampleTensor($0, .f16, [600, 512]) }], to: directory.at("source"))
        var options = Verbs.options(.trellis)
        options.encoding.goal = goal
        options.encoding.recipe = Recipe(rules)
        return try await Verbs.convert(source, to: directory.at("sealed"), options)
    }

    /// Bits stated for a name hold under every goal; the first rule wins.
    @Test(arguments: [RateGoal.bits(4), .averageBits(4), .relativeMSE(0.01), .totalBytes(2_000_000)])
    func rulesHold(goal: RateGoal) async throws {
        let directory = try TemporaryDirectory()
        let rules = [
            try RecipeTests.rule("a.*", .keep), try RecipeTests.rule("b.*", .encode(scheme: nil, bits: 6)),
            try RecipeTests.rule("?.weight", .encode(scheme: nil, bits: nil)),
            try RecipeTests.rule("b.*", .keep),
        ]
        let report = try await RecipeTests.convert(goal, rules, in: directory)
        #expect(report.tensors.map(\.name.text) == ["b.weight", "c.weight", "d.weight"])
        #expect(Set(report.kept.map(\.name.text)) == ["a.weight", "mlp.0.gate.weight"])
        #expect(Set(report.kept.map { report.rule($0) }) == ["keep a.*", "router"])
        #expect(report.rule(report.tensors[0]) == "6 bits for b.*")
        let bits = report.tensors.map(\.bitsPerWeight)
        #expect(bits[0] <= 6 && bits[0] > 5.9, "\(bits)")
        switch goal {
        case .bits: #expect(bits[1] <= 4 && bits[1] > 3.95, "\(bits)")
        case .averageBits: #expect(report.bitsPerWeight ?? 9 <= 4 && bits[1] < 3.1, "\(bits)")
        case .relativeMSE: #expect(report.tensors[1].descriptor.sums.relativeMSE <= 0.01)
        case .totalBytes: #expect(report.outputBytes + report.companionBytes <= 2_000_000)
        }
        try await Verbs.verify(directory.at("sealed"), against: directory.at("source"))
        // The options record the recipe, in the manifest and in config.json.
        let manifest = String(
            decoding: try Files.read(directory.at("sealed").appending("ingot-manifest.json")), as: UTF8.self)
        #expect(manifest.contains(#""pattern""#) && manifest.contains("?.weight"))
    }

    /// A rule may ask for another scheme than the conversion's.
    @Test func otherSchemes() async throws {
        let directory = try TemporaryDirectory()
        let report = try await RecipeTests.convert(
            .bits(4),
            [
                RecipeTests.rule("a.*", .encode(scheme: .lossless, bits: nil)),
                RecipeTests.rule("b.*", .encode(scheme: .uniform, bits: 5)),
                RecipeTests.rule("mlp.*", .encode(scheme: .uniform, bits: nil)),
            ], in: directory)
        #expect(
            report.tensors.map(\.descriptor.scheme.name) == ["lossless", "uniform", "trellis", "trellis", "uniform"])
        #expect(report.tensors[0].descriptor.sums.noise == 0)
        try await Verbs.verify(directory.at("sealed"), against: directory.at("source"))
    }

    // MARK: - Files

    @Test func readsFiles() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("recipe.json")
        try Files.write(
            #"""
            {"comment": "any text", "rules": [{"pattern": "*.down_proj.weight", "bits": 6, "comment": "worst"},
             {"pattern": "*.gate.weight", "keep": true}, {"pattern": "*", "scheme": "uniform", "bits": 4}]}
            """#, to: path)
        let recipe = try Recipe.read(path)
        #expect(
            recipe.rules.map(\.text) == ["6 bits for *.down_proj.weight", "keep *.gate.weight", "uniform 4 bits for *"])
    }

    /// What is wrong, and a word of the error.
    @Test(
        arguments: [
            ("[]", "object"), ("{}", "rules"), (#"{"rules": {}}"#, "rules"), (#"{"rules": [], "x": 1}"#, "`x`"),
            (#"{"rules": [1]}"#, "rule 1"), (#"{"rules": [{"bits": 4}]}"#, "pattern"),
            (#"{"rules": [{"pattern": "["}]}"#, "pattern"), (#"{"rules": [{"pattern": "*"}]}"#, "nothing to do"),
            (#"{"rules": [{"pattern": "*", "keep": false}]}"#, "keep"),
            (#"{"rules": [{"pattern": "*", "keep": true, "bits": 4}]}"#, "keep"),
            (#"{"rules": [{"pattern": "*", "bits": 0.5}]}"#, "bits"),
            (#"{"rules": [{"pattern": "*", "bits": "4"}]}"#, "bits"),
            (#"{"rules": [{"pattern": "*", "scheme": "q4"}]}"#, "scheme"),
            (#"{"rules": [{"pattern": "*", "scheme": "lossless", "bits": 4}]}"#, "lossless"),
            (#"{"rules": [{"pattern": "*", "scheme": "uniform", "bits": 4.5}]}"#, "uniform"),
            (#"{"rules": [{"pattern": "*", "keep": true}, {"pattern": "*", "Bits": 4}]}"#, "rule 2"),
        ])
    func refusesFiles(text: String, word: String) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("recipe.json")
        try Files.write(text, to: path)
        let error = try #require(throws: IngotError.self) { try Recipe.read(path) }
        #expect(error.code == .recipeInvalid && error.file == path.string, "\(error)")
        #expect("\(error.found) \(error.expected ?? "")".contains(word), "\(error)")
    }

    // MARK: - What is never quantized

    /// Tensors of other quantizers are recognised without `config.json`.
    @Test(
        arguments: [
            ([("a.qweight", ElementType.i32), ("a.qzeros", .i32)], "a.scales"),
            ([("a.weight_packed", .i32), ("a.weight_scale", .bf16)], "nothing that tells"),
            ([("e.gate_up_proj_blocks", .u8), ("e.gate_up_proj_scales", .u8)], "64x64"),
            ([("a.weight", .u8), ("a.weight_scale_2", .f32)], "a.weight_scale"),
            ([("a.weight", .u8), ("a.weight.absmax", .f32)], "quant_state"),
            ([("a.weight", .u32), ("a.scales", .f16)], "a.biases"),
        ])
    func quantizedSources(tensors: [(String, ElementType)], found: String) async throws {
        let directory = try TemporaryDirectory()
        let samples = tensors.map { name, type in
            SampleTensor(name, type, [64, 64], bytes: [UInt8](repeating: 1, count: 4096 * type.bitWidth / 8))
        }
        let file = directory.at("model.safetensors")
        try SampleSource.writeShard(samples + [SampleTensor("b.weight", .f16, [64, 64])], to: file)
        let error = try await Verbs.failure { try await Verbs.convert(file, to: directory.at("sealed")) }
        #expect(
            error?.code == .unsupportedSource && tensors.contains { $0.0 == error?.tensor?.text }
                && error?.found.contains(found) == true, "\(String(describing: error))")
        // Without the tensor beside it, `weight` says nothing.
        guard tensors[0].0 == "a.weight" else { return }
        try SampleSource.writeShard([samples[0], SampleTensor("b.weight", .f16, [64, 64])], to: file)
        try await Verbs.convert(file, to: directory.at("sealed"))
    }

    /// A matrix whose tables alone take more than its weights is kept.
    @Test(arguments: [EncodingOptions.Scheme.trellis, .uniform, .lossless])
    func matrixThatWouldNotGetSmaller(scheme: EncodingOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        let file = directory.at("model.safetensors")
        try SampleSource.writeShard(
            [SampleTensor("tiny.weight", .f16, [4, 8]), SampleTensor("b.weight", .f16, [128, 64])], to: file)
        let report = try await Verbs.convert(file, to: directory.at("sealed"), Verbs.options(scheme))
        #expect(report.tensors.map(\.name.text) == ["b.weight"] && report.kept.map(\.name.text) == ["tiny.weight"])
        #expect(report.rule(report.kept[0]) == "no scheme is smaller")
    }

    // MARK: - Names of files

    /// PEFT and diffusers find a model by its stem.
    @Test(arguments: ["adapter_model", "diffusion_pytorch_model", "model", "weights"], [1, 2])
    func stems(stem: String, count: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("source")
        try Directory.create(source)
        var map: [JSONValue.Member] = []
        for index in 0..<count {
            let name = count == 1 ? "\(stem).safetensors" : "\(stem)-0000\(index + 1)-of-0000\(count).safetensors"
            try SampleSource.writeShard([SampleTensor("a\(index).weight", .f16, [64, 64])], to: source.appending(name))
            map.append(.init("a\(index).weight", .string(name)))
        }
        if count > 1 {
            let index = JSONValue.object([.init("metadata", .object([])), .init("weight_map", .object(map))])
            try Files.write(index.text(), to: source.appending("\(stem).safetensors.index.json"))
        }
        let sealed = directory.at("sealed"), plain = directory.at("plain")
        try await Verbs.convert(source, to: sealed)
        try await Verbs.verify(sealed, against: source)
        try await Verbs.export(sealed, to: plain)
        let expected = ["weights": "model"][stem] ?? stem
        let names =
            count == 1
            ? ["\(expected).safetensors"]
            : (1...count).map { "\(expected)-0000\($0)-of-0000\(count).safetensors" } + [
                "\(expected).safetensors.index.json"
            ]
        #expect(Set(Files.names(plain)) == Set(names + ["ingot-export.json"]))
        #expect(Set(Files.names(sealed)) == Set(names + ["ingot-manifest.json"]))
        #expect(try Checkpoint.open(plain).tensorCount == count)
    }

    /// The parts of a pipeline are models of their own.
    @Test func pipeline() throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("pipeline")
        try Directory.create(source)
        for part in ["unet", "text_encoder", "scheduler"] { try Directory.create(source.appending(part)) }
        try Files.write("{}", to: source.appending("model_index.json"))
        try SampleSource.writeShard(
            [SampleTensor("a.weight", .f16, [64, 64])], to: source.appending("unet/diffusion_pytorch_model.safetensors")
        )
        try SampleSource.writeShard(
            [SampleTensor("a.weight", .f16, [64, 64])], to: source.appending("text_encoder/model.safetensors"))
        let error = try #require(throws: IngotError.self) { try Checkpoint.open(source) }
        #expect(
            error.code == .unsupportedSource
                && error.found == "a diffusers pipeline whose weights are in text_encoder, unet")
        #expect(error.remedy.text.contains("pipeline/text_encoder"))
    }

    // MARK: - Plans

    /// A plan that reads weights refuses what the conversion refuses.
    @Test(arguments: [RateGoal.bits(4), .relativeMSE(0.01), .averageBits(4)])
    func planRefusesNonFinite(goal: RateGoal) async throws {
        let directory = try TemporaryDirectory()
        let file = directory.at("model.safetensors")
        var tensor = SampleTensor("a.weight", .f16, [2000, 1024])
        // One NaN, in a place that no sample reads.
        tensor.bytes[2 * 777_777] = 0x01
        tensor.bytes[2 * 777_777 + 1] = 0x7E
        try SampleSource.writeShard([tensor], to: file)
        var options = Verbs.options(.trellis)
        options.encoding.goal = goal
        let plan = try ConversionPlan(Checkpoint.open(file), options)
        let error = try await Verbs.failure { _ = try await ConversionForecast(plan, sampling: true) }
        #expect(error?.code == .nonFinite && error?.tensor?.text == "a.weight", "\(String(describing: error))")
    }
}
