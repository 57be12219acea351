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

/// Conversions of quantized checkpoints whose codes and scales lie in different shards, or are broken.
@Suite struct QuantizedConversionTests {
    /// Three shards: codes with their scales, codes without, and the scales that these need.
    private func shards() -> [[SampleTensor]] {
        func codes(_ layer: Int) -> SampleTensor {
            QuantizedSample.codes("model.layers.\(layer).up_proj.weight", .f8e4m3, [130, 257])
        }
        func scales(_ layer: Int) -> SampleTensor {
            SampleTensor("model.layers.\(layer).up_proj.weight_scale_inv", .f32, [2, 3], seed: UInt64(layer))
        }
        return [
            [SampleTensor("model.embed_tokens.weight", .bf16, [40, 64]), codes(0), scales(0)], [codes(1)],
            [scales(1), SampleTensor("model.norm.weight", .bf16, [64])],
        ]
    }

    private func names(_ path: FilePath) throws -> Set<String> {
        Set(try OpenedCheckpoint(path).tensors.map(\.name.text))
    }

    @Test("Resumed behind any shard, the output is that of one run", arguments: 0..<3)
    func resumed(finished: Int) async throws {
        let place = try ShardedPlace(shards())
        let expected = try await place.expected()
        try await place.interrupt(after: finished)
        let report = try await place.convert()
        try place.expectFinished(expected)
        #expect(report.quantization.map(\.tensors) == [2])
        #expect(
            try names(place.target) == [
                "model.embed_tokens.weight", "model.layers.0.up_proj.weight", "model.layers.1.up_proj.weight",
                "model.norm.weight",
            ])
        #expect(try await Verbs.verify(place.target, against: place.source).holds)
    }

    @Test("Shards that are read or deleted one by one must hold what belongs to their codes", arguments: [false, true])
    func alone(follows: Bool) async throws {
        let place = try ShardedPlace(shards())
        let before = Files.names(place.source)
        let error = try await Verbs.failure {
            try await place.convert {
                $0.run.consumesSource = !follows
                $0.run.follows = follows
                $0.run.lookInterval = .milliseconds(1)
                $0.run.settledAfter = .milliseconds(1)
            }
        }
        #expect(
            error?.code == .unsupportedSource && error?.tensor?.text.hasPrefix("model.layers.1.up_proj.weight") == true)
        #expect(try Files.names(place.source) == before && Directory.kind(place.target) == nil)
    }

    @Test("A scale that is NaN ends a conversion and an export before anything is written") func brokenScale()
        async throws
    {
        let directory = try TemporaryDirectory()
        var tensors = QuantizedSample.mxfp4.tensors
        let place = try #require(tensors.firstIndex { $0.name.hasSuffix("_scales") })
        tensors[place].bytes[500] = 255
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        let converting = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed")) }
        let exporting = try await Verbs.failure { try await Verbs.export(source, to: directory.at("out")) }
        for error in [converting, exporting] {
            #expect(error?.code == .nonFinite && error?.found.contains("NaN as the scale of row 83, column 64") == true)
        }
        #expect(try Directory.kind(directory.at("sealed")) == nil && Directory.kind(directory.at("out")) == nil)
    }

    @Test("A method that is not known is refused by convert and by export") func unknownMethod() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [[SampleTensor("m.weight", raw: .i8, [8, 8]), SampleTensor("m.weight_scales", .f16, [8])]],
            to: directory.at("source"),
            companions: ["config.json": #"{"quantization_config": {"quant_method": "eetq"}}"#])
        let converting = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed")) }
        let exporting = try await Verbs.failure { try await Verbs.export(source, to: directory.at("out")) }
        for error in [converting, exporting] {
            #expect(error?.code == .unsupportedSource && error?.found.contains("eetq") == true)
        }
        #expect(try Directory.kind(directory.at("out")) == nil)
    }

    @Test("Kept codes of F8 compare by value with a plain cast of the same numbers") func keptCodesAndCast()
        async throws
    {
        let directory = try TemporaryDirectory()
        let codes = QuantizedSample.codes("a.weight", .f8e4m3, [33, 65])
        let source = try SampleSource.write(
            [[codes, SampleTensor("a.weight_scale_inv", .f32, [1, 1], values: [1])]], to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("sealed"), Verbs.options(.lossless))
        // Codes 100 to 115 are normal numbers: 2^(e - 7) * (1 + f / 8).
        let values = codes.bytes.map { code in
            Float(sign: .plus, exponent: Int(code >> 3) - 7, significand: 1 + Float(code & 7) / 8)
        }
        let cast = try SampleSource.write(
            [
                [
                    SampleTensor("a.weight", .bf16, [33, 65], values: values),
                    SampleTensor("a.weight_scale_inv", .f32, [1, 1], values: [1]),
                ]
            ], to: directory.at("cast"))
        let both = try OpenedCheckpoint.open(together: [directory.at("sealed"), cast])
        let report = try await CheckpointVerification(both[0], against: both[1], memory: 64 << 20, jobs: 2).run()
        #expect(report.values?.isExact == true)
    }
}
