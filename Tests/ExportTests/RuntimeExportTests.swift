import Checkpoints
import Container
import Conversion
import ConversionSupport
import Export
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// Exports for runtimes, of small models with rows that fit all blocks.
@Suite struct RuntimeExportTests {
    static let minimum: UInt64 = 64 << 20

    /// A Llama of two layers with 256 columns, grouped heads and a tied head or an own one.
    static func write(to path: FilePath, tied: Bool = false, change: ((inout [SampleTensor]) -> Void)? = nil) throws {
        func tensor(_ name: String, _ shape: [Int]) -> SampleTensor { SampleTensor(name + ".weight", .f16, shape) }
        var tensors = [tensor("model.embed_tokens", [96, 256]), tensor("model.norm", [256])]
        if !tied { tensors.append(tensor("lm_head", [96, 256])) }
        for layer in 0..<2 {
            let start = "model.layers.\(layer)."
            tensors += [
                tensor(start + "input_layernorm", [256]), tensor(start + "post_attention_layernorm", [256]),
                tensor(start + "self_attn.q_proj", [256, 256]), tensor(start + "self_attn.k_proj", [128, 256]),
                tensor(start + "self_attn.v_proj", [128, 256]), tensor(start + "self_attn.o_proj", [256, 256]),
                tensor(start + "mlp.gate_proj", [512, 256]), tensor(start + "mlp.up_proj", [512, 256]),
                tensor(start + "mlp.down_proj", [256, 512]),
            ]
        }
        change?(&tensors)
        let configuration = """
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
             "num_hidden_layers": 2, "vocab_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
             "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "tie_word_embeddings": \(tied)}
            """
        try SampleSource.write([tensors], to: path, companions: ["config.json": configuration])
    }

    static func gguf(
        _ source: FilePath, to target: FilePath, _ recipes: [GGUFRecipe], rounding: ExportRounding = .searched,
        memory: UInt64 = minimum, jobs: Int = 1, fallback: Bool = false, requantize: Bool = false, force: Bool = false,
        shard: UInt64? = nil
    ) async throws -> ExportSummary {
        try await GGUFExporter(
            OpenedCheckpoint(source),
            GGUFSettings(
                recipes, isPure: false, overrides: [], rounding, allowsFallback: fallback,
                allowsRequantizing: requantize, shardBytes: shard), nil, memory: memory, jobs: jobs, force: force
        ).run(to: target)
    }

    static func groups(
        _ source: FilePath, to target: FilePath, _ runtime: GroupSettings.Runtime, mode: GroupSettings.Mode = .affine,
        bits: Int = 4, size: Int? = 64, rounding: ExportRounding = .searched, format: FloatFormat? = nil,
        overrides: [GroupSettings.Override] = [], memory: UInt64 = minimum, jobs: Int = 1, fallback: Bool = false,
        requantize: Bool = false, force: Bool = false,
        shard: UInt64 = 5 << 30
    ) async throws -> ExportSummary {
        try await GroupExporter(
            OpenedCheckpoint(source),
            GroupSettings(
                runtime, mode: mode, bits: bits, groupSize: mode == .mxfp4 ? 32 : size, rounding,
                format: format, overrides: overrides, allowsFallback: fallback, allowsRequantizing: requantize,
                shardBytes: shard), nil, memory: memory, jobs: jobs, force: force
        ).run(to: target)
    }

    /// The hash of every file below a directory.
    static func hashes(_ path: FilePath) throws -> [String] {
        try Directory.tree(path).map { name, _ in
            let file = try MappedFile.open(path.pushing(FilePath(name)))
            return "\(name) \(try file.hash(of: file.wholeRange))"
        }
    }

    /// The weights of all tensors as binary32, by name.
    static func weights(_ path: FilePath) throws -> [TensorName: [Float]] {
        var found: [TensorName: [Float]] = [:]
        for tensor in try OpenedCheckpoint(path).tensors {
            guard let readable = try ReadableWeights(tensor) else { continue }
            var (reader, read) = (RowReader(), ReadWeights())
            try reader.read(
                .init(row: 0, column: 0, rows: readable.rows, columns: readable.columns), of: readable, into: &read)
            found[tensor.name] = Array(read.weights.prefix(read.count))
        }
        return found
    }

    static func error(_ a: [Float], _ b: [Float]) -> Double {
        zip(a, b).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
    }

    // MARK: - The same bytes

    @Test("The bytes do not depend on jobs and memory, and a ladder has the files of single exports") func sameBytes()
        async throws
    {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        let source = directory.at("m")
        _ = try await RuntimeExportTests.gguf(source, to: directory.at("one"), [.q8_0, .q4_K_M, .q2_K])
        for (name, recipe) in [("one-Q8_0", GGUFRecipe.q8_0), ("one-Q4_K_M", .q4_K_M), ("one-Q2_K", .q2_K)] {
            let single = directory.at("\(name).gguf")
            _ = try await RuntimeExportTests.gguf(
                source, to: single, [recipe], memory: 512 << 20, jobs: 4)
            #expect(try Files.read(single) == Files.read(directory.at("one/\(name).gguf")), "\(name)")
        }
        for runtime in [GroupSettings.Runtime.mlx, .compressedTensors] {
            let names = ["\(runtime.rawValue)-1", "\(runtime.rawValue)-4"].map { directory.at($0) }
            _ = try await RuntimeExportTests.groups(source, to: names[0], runtime)
            _ = try await RuntimeExportTests.groups(source, to: names[1], runtime, memory: 512 << 20, jobs: 4)
            #expect(try RuntimeExportTests.hashes(names[0]) == RuntimeExportTests.hashes(names[1]))
        }
    }

    @Test(
        "A sealed checkpoint is exported like the weights that it decodes to",
        arguments: [
            EncodingOptions.Scheme.trellis, .uniform, .lossless,
        ]) func sealed(_ scheme: EncodingOptions.Scheme) async throws
    {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        try await Verbs.convert(directory.at("m"), to: directory.at("sealed"), Verbs.options(scheme))
        try await Verbs.export(directory.at("sealed"), to: directory.at("plain"), as: .f32)
        for name in ["sealed", "plain"] {
            _ = try await RuntimeExportTests.gguf(
                directory.at(name), to: directory.at("\(name).gguf"), [.q4_K_M], rounding: .reference)
        }
        let (a, b) = (
            try RuntimeExportTests.weights(directory.at("sealed.gguf")),
            try RuntimeExportTests.weights(directory.at("plain.gguf"))
        )
        #expect(a == b && a.count == 21)
    }

    @Test("Split files have the tensors of one file, and open together") func splits() async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        _ = try await RuntimeExportTests.gguf(directory.at("m"), to: directory.at("whole.gguf"), [.q8_0])
        let summary = try await RuntimeExportTests.gguf(
            directory.at("m"), to: directory.at("parts"), [.q8_0], shard: 300_000)
        #expect(summary.files > 2)
        #expect(
            try RuntimeExportTests.weights(directory.at("parts"))
                == RuntimeExportTests.weights(directory.at("whole.gguf")))
        let sharded = try await RuntimeExportTests.groups(
            directory.at("m"), to: directory.at("shards"), .mlx, shard: 200_000)
        _ = try await RuntimeExportTests.groups(directory.at("m"), to: directory.at("one"), .mlx)
        #expect(sharded.files > 2)
        #expect(
            try RuntimeExportTests.weights(directory.at("shards")) == RuntimeExportTests.weights(directory.at("one")))
    }

    // MARK: - Errors

    @Test("A searched scale never has a larger error than the reference's") func neverLarger() async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        for recipe in GGUFRecipe.allCases where recipe.isQuantized {
            var found: [[TensorName: [Float]]] = []
            for rounding in [ExportRounding.searched, .reference] {
                let path = directory.at("\(recipe.rawValue)-\(rounding.rawValue).gguf")
                _ = try await RuntimeExportTests.gguf(directory.at("m"), to: path, [recipe], rounding: rounding)
                found.append(try RuntimeExportTests.weights(path))
            }
            let plain = directory.at("\(recipe.rawValue)-plain.gguf")
            _ = try await RuntimeExportTests.gguf(directory.at("m"), to: plain, [.f32])
            var (better, all) = (0, 0)
            for (name, weights) in try RuntimeExportTests.weights(plain) {
                let (searched, reference) = (
                    RuntimeExportTests.error(weights, found[0][name] ?? []),
                    RuntimeExportTests.error(weights, found[1][name] ?? [])
                )
                #expect(searched <= reference, "\(recipe.rawValue) \(name)")
                better += searched < reference ? 1 : 0
                all += reference > 0 ? 1 : 0
            }
            #expect(better == all && all == 16, "\(recipe.rawValue)")
        }
        for runtime in [GroupSettings.Runtime.mlx, .compressedTensors] {
            var errors: [Double] = []
            for rounding in [ExportRounding.searched, .reference] {
                let path = directory.at("\(runtime.rawValue)-\(rounding.rawValue)")
                _ = try await RuntimeExportTests.groups(directory.at("m"), to: path, runtime, rounding: rounding)
                let (own, original) = (
                    try RuntimeExportTests.weights(path), try RuntimeExportTests.weights(directory.at("m"))
                )
                errors.append(original.reduce(0) { $0 + RuntimeExportTests.error($1.value, own[$1.key] ?? []) })
            }
            #expect(errors[0] < errors[1])
        }
    }

    // MARK: - Exact copies

    @Test("Codes that the source has are copied: uniform, MLX, compressed-tensors, GGUF blocks") func copies()
        async throws
    {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        for (runtime, symmetric) in [(GroupSettings.Runtime.mlx, false), (.compressedTensors, true)] {
            let sealed = directory.at("sealed-\(symmetric)")
            let kept = ["model.embed_tokens.weight", "lm_head.weight"].compactMap { NamePattern($0) }
            var options = Verbs.options(.uniform, group: 64, symmetric: symmetric)
            options.encoding.recipe = Recipe(kept.map { Recipe.Rule($0, .keep) })
            try await Verbs.convert(directory.at("m"), to: sealed, options)
            let first = directory.at("first-\(symmetric)"), second = directory.at("second-\(symmetric)")
            let overrides = kept.map { GroupSettings.Override($0, bits: nil) }
            _ = try await RuntimeExportTests.groups(sealed, to: first, runtime, overrides: overrides)
            // A runtime rounds in the type of the scales: compressed-tensors the product, MLX the product and the sum.
            let (own, exact) = (try RuntimeExportTests.weights(first), try RuntimeExportTests.weights(sealed))
            for (name, weights) in exact {
                let found = own[name] ?? []
                let rounded = weights.map { FloatBytes.decode(FloatBytes.encode($0, .f16), 0, .f16) }
                if symmetric {
                    #expect(found == rounded, "\(name)")
                } else {
                    let largest = weights.reduce(0) { max($0, $1.magnitude) }
                    #expect(zip(found, rounded).allSatisfy { ($0 - $1).magnitude <= largest * 0x1p-9 }, "\(name)")
                }
            }
            // An export is a quantized source itself, and needs no consent where its codes stay.
            _ = try await RuntimeExportTests.groups(first, to: second, runtime, overrides: overrides)
            #expect(try RuntimeExportTests.weights(second) == RuntimeExportTests.weights(first))
        }
        _ = try await RuntimeExportTests.gguf(directory.at("m"), to: directory.at("a.gguf"), [.q4_K_M])
        _ = try await RuntimeExportTests.gguf(directory.at("a.gguf"), to: directory.at("b.gguf"), [.q4_K_M])
        #expect(try Files.read(directory.at("a.gguf")) == Files.read(directory.at("b.gguf")))
    }

    // MARK: - Refusals

    @Test("What cannot be written is refused by name, and leaves nothing") func refusals() async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        func failure(_ body: () async throws -> ExportSummary) async throws -> IngotError {
            try #require(try await Verbs.failure { _ = try await body() })
        }
        // Rows that fit no block.
        try RuntimeExportTests.write(to: directory.at("narrow"), tied: true) { tensors in
            for index in tensors.indices where tensors[index].name.contains("down_proj") {
                tensors[index] = SampleTensor(tensors[index].name, .f16, [256, 480])
            }
            for index in tensors.indices
            where tensors[index].name.contains("gate_proj") || tensors[index].name.contains("up_proj") {
                tensors[index] = SampleTensor(tensors[index].name, .f16, [480, 256])
            }
        }
        let configuration = String(decoding: try Files.read(directory.at("narrow/config.json")), as: UTF8.self)
        try Files.write(
            configuration.split(separator: "512").joined(separator: "480"), to: directory.at("narrow/config.json"))
        let narrow = try await failure {
            try await RuntimeExportTests.gguf(directory.at("narrow"), to: directory.at("n.gguf"), [.q4_K_M])
        }
        #expect(narrow.code == .unsupportedSource && narrow.tensor == TensorName("model.layers.0.mlp.down_proj.weight"))
        #expect(narrow.found == "rows of 480 weights")
        let allowed = try await RuntimeExportTests.gguf(
            directory.at("narrow"), to: directory.at("n.gguf"), [.q4_K_M], fallback: true)
        #expect(
            allowed.warnings.contains {
                $0.message.contains("is Q5_0 instead of Q4_K") || $0.message.contains("is Q8_0")
            })
        // 480 is no multiple of 64.
        let groups = try await failure {
            try await RuntimeExportTests.groups(directory.at("narrow"), to: directory.at("g"), .mlx)
        }
        #expect(groups.code == .unsupportedSource && groups.found == "rows of 480 weights")

        // NaN.
        try RuntimeExportTests.write(to: directory.at("nan")) { tensors in
            let place = tensors.firstIndex { $0.name.contains("layers.1.self_attn.v_proj") } ?? 0
            tensors[place].bytes.replaceSubrange(600..<602, with: [0x00, 0x7e])
        }
        for target in ["x.gguf", "x"] {
            let found = try await failure {
                target.hasSuffix("gguf")
                    ? try await RuntimeExportTests.gguf(directory.at("nan"), to: directory.at(target), [.q4_0])
                    : try await RuntimeExportTests.groups(directory.at("nan"), to: directory.at(target), .mlx)
            }
            #expect(found.code == .nonFinite)
            #expect(found.tensor == TensorName("model.layers.1.self_attn.v_proj.weight"))
        }

        // Codes of another quantizer.
        _ = try await RuntimeExportTests.groups(directory.at("m"), to: directory.at("mlx"), .mlx)
        let twice = try await failure {
            try await RuntimeExportTests.gguf(directory.at("mlx"), to: directory.at("t.gguf"), [.q8_0])
        }
        #expect(twice.code == .unsupportedSource && twice.remedy == .option(.requantize))
        _ = try await RuntimeExportTests.gguf(
            directory.at("mlx"), to: directory.at("t.gguf"), [.q8_0], requantize: true)

        // Bits that a runtime does not have.
        let bits = try await failure {
            try await RuntimeExportTests.groups(directory.at("m"), to: directory.at("b"), .compressedTensors, bits: 3)
        }
        #expect(bits.code == .usage)
        let left = Files.names(directory.path).filter {
            $0.contains("partial") || $0.contains("lock") || $0.hasPrefix("x") || $0 == "b" || $0 == "g"
        }
        #expect(left.isEmpty, "\(left)")
    }

    @Test("Only an unchanged export is replaced") func replaced() async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        let (file, folder) = (directory.at("m.gguf"), directory.at("mlx"))
        func run(_ force: Bool) async throws -> [IngotError?] {
            [
                try await Verbs.failure {
                    _ = try await RuntimeExportTests.gguf(directory.at("m"), to: file, [.q4_0], force: force)
                },
                try await Verbs.failure {
                    _ = try await RuntimeExportTests.groups(directory.at("m"), to: folder, .mlx, force: force)
                },
            ]
        }
        #expect(try await run(false) == [nil, nil])
        #expect(try await run(false).map { $0?.code } == [.cannotCreate, .cannotCreate])
        #expect(try await run(true) == [nil, nil])
        for path in [file, folder.appending("model.safetensors")] {
            var bytes = try Files.read(path)
            bytes[bytes.count / 2] ^= 1
            try Files.write(bytes, to: path)
        }
        #expect(try await run(true).map { $0?.code } == [.fileHash, .cannotCreate])
    }
}
