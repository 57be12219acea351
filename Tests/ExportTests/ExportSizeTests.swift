import Architectures
import Export
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// Exports whose types are chosen for a size.
@Suite struct ExportSizeTests {
    /// A model of `RuntimeExportTests`, and moments of it: the unit matrix for every input, and sensitivity 1 for every matrix but those that
    /// `sensitivity` names.
    private struct Sample {
        let directory: TemporaryDirectory
        let source: FilePath
        let activations: ExportActivations

        init(tied: Bool = false, hasHead: Bool = true, sensitivity: [String: Double] = [:]) throws {
            directory = try TemporaryDirectory()
            source = directory.at("model")
            try RuntimeExportTests.write(to: source, tied: tied)
            let path = directory.at("moments.safetensors")
            var inputs: [MomentsLayout.Input] = hasHead ? [.init(.head, columns: 256)] : []
            var matrices: [GradientsLayout.Matrix] = hasHead ? [.init(.head, rows: 96)] : []
            for layer in 0..<2 {
                for (kind, columns) in [
                    (LinearInput.Kind.attentionIn, 256), (.outputIn, 256), (.feedForwardIn, 256), (.downIn, 512),
                ] { inputs += LinearInput(layer: layer, kind).map { [.init($0, columns: columns)] } ?? [] }
                for (kind, rows) in [
                    (TensorRole.Kind.attentionQuery, 256), (.attentionKey, 128), (.attentionValue, 128),
                    (.attentionOutput, 256), (.gate, 512), (.up, 512), (.down, 256),
                ] { matrices += LinearMatrix(layer: layer, kind).map { [.init($0, rows: rows)] } ?? [] }
            }
            var description = MomentsDescription()
            description.gradients = GradientsDescription(tokens: 8, rowOrder: .halves)
            let gradients = try GradientsLayout(matrices, vocabulary: 96)
            var writer = try MomentsWriter.open(path, MomentsLayout(inputs, gradients: gradients), description)
            while let next = writer.next {
                var sums = [Float](repeating: 0, count: next.blocks.squareCount)
                for block in 0..<next.blocks.count {
                    let width = next.blocks.columns(of: block).count
                    for column in 0..<width { sums[next.blocks.squareStart(of: block) + column * (width + 1)] = 8 }
                }
                try writer.append((0..<description.halves).map { _ in HalfMoments(tokens: 8, weight: 8, sums: sums) })
            }
            var squares: [LinearMatrix: [Float]] = [:], values: [LinearMatrix: Double] = [:]
            for entry in gradients.matrices {
                squares[entry.matrix] = [Float](repeating: 1, count: entry.rows)
                values[entry.matrix] = sensitivity[entry.matrix.text] ?? 1
            }
            try writer.append(
                OutputGradients(
                    squares: squares, sensitivities: values, tokenWeights: [Double](repeating: 1, count: 96)))
            try writer.publish()
            let opened = try MomentsFile.open(path, scratch: directory.path)
            activations = ExportActivations(opened.file, hash: opened.hash)
        }

        func gguf(
            _ name: String, _ goal: SizeGoal, overrides: [GGUFSettings.Override] = [], jobs: Int = 1
        ) async throws -> (path: FilePath, summary: ExportSummary) {
            let path = directory.at(name + ".gguf")
            let settings = GGUFSettings(
                [], goal: goal, isPure: false, overrides: overrides, .searched, allowsFallback: false,
                allowsRequantizing: false, shardBytes: nil)
            let summary = try await GGUFExporter(
                OpenedCheckpoint(source), settings, activations, memory: 256 << 20, jobs: jobs, force: false
            ).run(to: path)
            return (path, summary)
        }

        func mlx(_ name: String, _ goal: SizeGoal) async throws -> (path: FilePath, summary: ExportSummary) {
            let path = directory.at(name)
            let settings = try GroupSettings(
                .mlx, bits: 4, groupSize: 64, goal: goal, .searched, format: nil, overrides: [], allowsFallback: false,
                allowsRequantizing: false, shardBytes: 5 << 30)
            let summary = try await GroupExporter(
                OpenedCheckpoint(source), settings, activations, memory: 256 << 20, jobs: 1, force: false
            ).run(to: path)
            return (path, summary)
        }
    }

    /// The type of each tensor of a GGUF file.
    private static func types(_ path: FilePath) throws -> [String: String] {
        Dictionary(
            uniqueKeysWithValues: try OpenedCheckpoint(path).tensors.map {
                ($0.name.text, $0.encoding ?? $0.elementType.rawValue)
            })
    }

    private static func bits(_ path: FilePath) throws -> Double {
        let tensors = try OpenedCheckpoint(path).tensors
        let bytes = tensors.reduce(UInt64(0)) { sum, tensor in
            let encoded = tensor.encoding.flatMap { BlockType(name: $0) }
            let bits = encoded?.bitsPerWeight ?? Double(tensor.elementType.byteWidth * 8)
            return sum + UInt64(Double(tensor.shape.elementCount) * bits / 8)
        }
        return 8 * Double(bytes) / Double(tensors.reduce(0) { $0 + $1.shape.elementCount })
    }

    /// Never above the size that was asked for, and less than one matrix below it.
    @Test(arguments: [2.8, 3.2, 4.0, 5.1, 7.0]) func meetsBitsPerWeight(asked: Double) async throws {
        let sample = try Sample()
        let (path, summary) = try await sample.gguf("out", .bitsPerWeight(asked))
        let bits = try ExportSizeTests.bits(path)
        // The largest matrix, 512 x 256 of 1.6 M weights, takes up to 2 bits more in the next type.
        #expect(bits <= asked && bits > asked - 0.25, "\(bits)")
        #expect(summary.chosen.reduce(0) { $0 + $1.matrices } == 16)
    }

    @Test(arguments: [UInt64(600_000), 700_001, 1_000_000, 5_000_000]) func meetsBytes(asked: UInt64) async throws {
        let sample = try Sample()
        let (path, summary) = try await sample.gguf("out", .bytes(asked))
        let size = try MappedFile.open(path).byteCount
        #expect(size == summary.byteCount && size <= asked && (size > asked - 40_000 || asked > 1_700_000))
        let (directory, groups) = try await sample.mlx("mlx", .bytes(asked))
        #expect(groups.byteCount <= asked && (groups.byteCount > asked - 40_000 || asked > 1_700_000))
        #expect(try MappedFile.open(directory.appending("model.safetensors")).byteCount == groups.byteCount)
    }

    /// A matrix whose errors cost more gets more bits; one whose errors cost nothing gets the fewest.
    @Test func bitsFollowSensitivity() async throws {
        let sample = try Sample(sensitivity: ["layers.0.ffn_up": 1e6, "layers.1.ffn_down": 0])
        let types = try ExportSizeTests.types(await sample.gguf("out", .bitsPerWeight(4)).path)
        #expect(types["blk.0.ffn_up.weight"] == "Q8_0")
        #expect(types["blk.1.ffn_down.weight"] == "Q2_K")
        let mlx = try await sample.mlx("mlx", .bitsPerWeight(4)).path
        let configuration = try JSONValue.parse(try WholeFile.read(mlx.appending("config.json"), limit: 1 << 20))
        let quantization = configuration["quantization"]
        func bits(_ module: String) -> JSONValue? { (quantization?[module] ?? quantization)?["bits"] }
        #expect(bits("model.layers.0.mlp.up_proj") == .unsigned(8))
        #expect(bits("model.layers.1.mlp.down_proj") == .unsigned(2))
    }

    /// An embedding that is the head counts as the head; one without gradients follows the average.
    @Test func embeddings() async throws {
        let tied = try Sample(tied: true, sensitivity: ["head": 1e6])
        #expect(
            try ExportSizeTests.types(await tied.gguf("out", .bitsPerWeight(4)).path)["token_embd.weight"] == "Q8_0")
        let unknown = try Sample(hasHead: false)
        let types = try ExportSizeTests.types(await unknown.gguf("out", .bitsPerWeight(4.25)).path)
        #expect(types["token_embd.weight"] == "IQ4_XS" && types["output.weight"] == "IQ4_XS")
    }

    /// Stated types stay, and the bytes depend neither on jobs nor on whether the types were chosen or read from a file.
    @Test func overridesJobsAndRecipes() async throws {
        let sample = try Sample()
        let pattern = try #require(NamePattern("*.ffn_gate.weight"))
        let fixed = [GGUFSettings.Override(pattern, .blocks(.q6_K))]
        let (one, _) = try await sample.gguf("one", .bitsPerWeight(4.5), overrides: fixed)
        let types = try ExportSizeTests.types(one)
        #expect(types["blk.0.ffn_gate.weight"] == "Q6_K" && types["blk.1.ffn_gate.weight"] == "Q6_K")
        let (four, _) = try await sample.gguf("four", .bitsPerWeight(4.5), overrides: fixed, jobs: 4)
        let bytes = try WholeFile.read(one, limit: 1 << 24)
        #expect(try WholeFile.read(four, limit: 1 << 24) == bytes)
        let recipe = try ExportRecipe(one)
        let base = try #require(recipe.base)
        let settings = GGUFSettings(
            [base], isPure: false, overrides: try recipe.types(after: []), .searched, allowsFallback: false,
            allowsRequantizing: false, shardBytes: nil)
        let again = sample.directory.at("again.gguf")
        _ = try await GGUFExporter(
            OpenedCheckpoint(sample.source), settings, sample.activations, memory: 256 << 20, jobs: 1, force: false
        ).run(to: again)
        #expect(try WholeFile.read(again, limit: 1 << 24) == bytes)
    }

    @Test func refusesWhatIsTooSmall() async throws {
        let sample = try Sample()
        await #expect { _ = try await sample.gguf("out", .bitsPerWeight(2.5)) } throws: { error in
            (error as? IngotError)?.code == .usage && (error as? IngotError)?.expected?.contains("2.6") == true
        }
        await #expect(throws: IngotError.self) { _ = try await sample.mlx("out", .bytes(1000)) }
        #expect(Files.names(sample.directory.path).sorted() == ["model", "moments.safetensors"])
    }

    // MARK: - Recipe files

    /// A recipe with something wrong, and what the error must name.
    @Test(arguments: [
        ("[]", "object"), ("{\"rule\": []}", "rule"), ("{\"rules\": {}}", "rules"), ("{\"rules\": [7]}", "rule 1"),
        ("{\"rules\": [{\"type\": \"Q4_K\"}]}", "pattern"),
        ("{\"rules\": [{\"pattern\": \"[\", \"type\": \"F16\"}]}", "pattern"),
        ("{\"rules\": [{\"pattern\": \"*\"}]}", "0 statements"),
        ("{\"rules\": [{\"pattern\": \"*\", \"bits\": 4, \"keep\": true}]}", "2 statements"),
        ("{\"rules\": [{\"pattern\": \"*\", \"type\": \"IQ1_S\"}]}", "type"),
        ("{\"rules\": [{\"pattern\": \"*\", \"bits\": 0}]}", "bits"),
        ("{\"rules\": [{\"pattern\": \"*\", \"bits\": 2.5}]}", "bits"),
        ("{\"rules\": [{\"pattern\": \"*\", \"keep\": false}]}", "keep"),
        ("{\"rules\": [{\"pattern\": \"*\", \"keep\": true, \"scheme\": 1}]}", "scheme"), ("{\"rules\": [", ""),
    ]) func wrongRecipes(text: String, named: String) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("recipe.json")
        try Files.write(Array(text.utf8), to: path)
        #expect { _ = try ExportRecipe(path) } throws: { error in
            guard let error = error as? IngotError else { return false }
            return error.file == path.string
                && (named.isEmpty || (error.found + (error.expected ?? "")).contains(named))
        }
    }

    /// Rules of another format are refused, not passed over.
    @Test func rulesOfOtherFormats() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("recipe.json")
        try Files.write(
            Array("{\"comment\": \"x\", \"rules\": [{\"pattern\": \"*.a\", \"type\": \"q6_k\"}]}".utf8), to: path)
        let types = try ExportRecipe(path)
        #expect(try types.types(after: []).map(\.type) == [.blocks(.q6_K)])
        #expect(throws: IngotError.self) { try types.bits() }
        try Files.write(
            Array("{\"rules\": [{\"pattern\": \"*.a\", \"bits\": 6}, {\"pattern\": \"b\", \"keep\": true}]}".utf8),
            to: path)
        let bits = try ExportRecipe(path)
        #expect(try bits.bits().map(\.bits) == [6, nil])
        #expect(throws: IngotError.self) { try bits.types(after: []) }
    }
}
