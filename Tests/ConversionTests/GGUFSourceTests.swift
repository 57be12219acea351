import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// GGUF files as sources of a conversion.
@Suite struct GGUFSourceTests {
    static let tensors = [
        SampleTensor("token_embd.weight", .f16, [6, 96]), SampleTensor("blk.0.attn_q.weight", .f16, [40, 64]),
        SampleTensor("blk.0.ffn_up.weight", .bf16, [33, 70]), SampleTensor("blk.0.attn_norm.weight", .f32, [64]),
        SampleTensor("blk.1.ffn_up.weight", .f32, [20, 33]), SampleTensor("counts", raw: .i32, [5]),
    ]

    /// The bytes of every entry of a converted checkpoint, by its name.
    private func payloads(_ path: FilePath) throws -> [TensorName: [UInt8]] {
        var found: [TensorName: [UInt8]] = [:]
        for shard in try SealedCheckpoint(path).shards {
            for payload in shard.payloads { found[payload.name] = try shard.file.bytes(payload.range) }
            for tensor in shard.kept { found[tensor.name] = try shard.file.bytes(tensor.range) }
        }
        return found
    }

    @Test(
        "The same tensors give the same payloads from GGUF and from safetensors",
        arguments: [
            EncodingOptions.Scheme.uniform, .trellis, .lossless,
        ]) func samePayloads(_ scheme: EncodingOptions.Scheme) async throws
    {
        let directory = try TemporaryDirectory()
        try SampleSource.writeShard(GGUFSourceTests.tensors, to: directory.at("a.safetensors"))
        try GGUFSample.write(GGUFSourceTests.tensors.map(GGUFSample.Tensor.init), to: directory.at("a.gguf"))
        for name in ["a.safetensors", "a.gguf"] {
            try await Verbs.convert(directory.at(name), to: directory.at(name + "-sealed"), Verbs.options(scheme))
        }
        let (expected, found) = (
            try payloads(directory.at("a.safetensors-sealed")), try payloads(directory.at("a.gguf-sealed"))
        )
        #expect(found.count == GGUFSourceTests.tensors.count && found == expected)
        #expect(Files.names(directory.at("a.gguf-sealed")).contains("model.safetensors"))
        let report = try await Verbs.verify(directory.at("a.gguf-sealed"), against: directory.at("a.gguf"))
        #expect(report.failures.isEmpty)
        // Each is the other's original.
        let crossed = try await Verbs.verify(directory.at("a.gguf-sealed"), against: directory.at("a.safetensors"))
        #expect(crossed.failures.isEmpty)
    }

    /// A file with tensors that are quantized, in two parts of which the first has none, as gguf-split can leave it.
    private func quantized(_ directory: TemporaryDirectory) throws -> FilePath {
        let path = directory.at("source")
        try Directory.create(path)
        try GGUFSample.write(
            [], metadata: GGUFSample.split(0, of: 2, tensors: 2), to: path.appending("m-00001-of-00002.gguf"))
        try GGUFSample.write(
            [.q8("blk.0.ffn_up.weight", [24, 96]), GGUFSample.Tensor(SampleTensor("norm.weight", .f32, [32]))],
            metadata: GGUFSample.split(1, of: 2, tensors: 2), to: path.appending("m-00002-of-00002.gguf"))
        return path
    }

    @Test("G11: what is quantized already is refused, by convert and by plan") func refused() async throws {
        let directory = try TemporaryDirectory()
        let source = try quantized(directory)
        for scheme in EncodingOptions.Scheme.allCases {
            let error = try #require(
                try await Verbs.failure {
                    try await Verbs.convert(source, to: directory.at("out"), Verbs.options(scheme))
                })
            #expect(error.code == .unsupportedSource && error.tensor == TensorName("blk.0.ffn_up.weight"))
            #expect(error.found.contains("Q8_0") && error.remedy.includes(.requantize))
            #expect(throws: error) {
                try ConversionPlan(ConversionPlan.openSource(source), Verbs.options(scheme))
            }
        }
        #expect(Files.names(directory.path) == ["source"])
    }

    @Test("G11: with leave it is decoded, and verified against what it decodes to") func requantized() async throws {
        let directory = try TemporaryDirectory()
        let source = try quantized(directory)
        var options = Verbs.options(.lossless)
        options.encoding.requantizes = true
        try await Verbs.convert(source, to: directory.at("sealed"), options)
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).failures.isEmpty)
        #expect(
            Files.names(directory.at("sealed")).filter { $0.hasSuffix(".safetensors") }
                == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
        try await Verbs.export(directory.at("sealed"), to: directory.at("plain"))
        let (plain, original) = (try Verbs.tensors(directory.at("plain")), try Verbs.tensors(source))
        #expect(plain.mapValues(\.bytes) == original.mapValues(\.bytes))
        #expect(plain[TensorName("blk.0.ffn_up.weight")]?.type == .f32)
    }

    @Test("A run that may requantize is not resumed by one that may not") func resuming() throws {
        var options = Verbs.options()
        let without = options.encoding.record
        options.encoding.requantizes = true
        #expect(options.encoding.record != without)
    }

    @Test("Inspection counts the stored bytes, and every byte of the file") func inspection() async throws {
        let directory = try TemporaryDirectory()
        let source = try quantized(directory)
        let report = try CheckpointReport(source)
        #expect(report.formatName == "gguf")
        for file in report.files { #expect(file.account.total == file.byteCount) }
        let tensor = try #require(report.tensors.first { $0.name == TensorName("blk.0.ffn_up.weight") })
        #expect(tensor.stored.scheme == "Q8_0" && tensor.bitsPerElement == 8.5)
        #expect(tensor.elementType == .f32 && tensor.byteCount == UInt64(24 * 3 * 34))
    }
}
