import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Quantization
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Scheme `lossless` of sources that another program quantized: codes and scales stay exact, and are entropy coded.
@Suite struct CodeTensorTests {
    private static let metadata = [SafetensorsHeader.MetadataEntry("made", "by a test"), .init("format", "pt")]

    /// A source in one shard, with `__metadata__` and `config.json`.
    private func write(_ tensors: [SampleTensor], _ configuration: String, to path: FilePath) throws {
        try Directory.create(path)
        try SampleSource.writeShard(
            tensors, to: path.appending("model.safetensors"), metadata: CodeTensorTests.metadata)
        try Files.write(configuration, to: path.appending("config.json"))
    }

    private func payloads(_ path: FilePath) throws -> [TensorName: TensorDescriptor] {
        let payloads = try SealedCheckpoint(path).shards.flatMap(\.payloads)
        return Dictionary(uniqueKeysWithValues: payloads.map { ($0.name, $0.descriptor) })
    }

    private func features(_ path: FilePath) throws -> JSONValue? {
        let header = try SealedShard(path.appending("model.safetensors")).header
        let about = try #require(header.metadata.value(of: "ingot"))
        return try JSONValue.parse(Array(about.utf8))["required_features"]
    }

    // MARK: - Whole checkpoints

    @Test(arguments: QuantizedSample.allCases, [Codec.zstd, .lz4, .none])
    func roundTrip(sample: QuantizedSample, codec: Codec) async throws {
        let directory = try TemporaryDirectory()
        let (source, sealed) = (directory.at("source"), directory.at("sealed"))
        try write(sample.tensors, sample.configuration, to: source)
        let report = try await Verbs.convert(source, to: sealed, Verbs.options(.lossless, codec: codec))
        let found = try payloads(sealed)
        let names = sample.tensors.filter { $0.type.isCodeType }.map { TensorName($0.name) }
        if codec == .zstd {
            #expect(names.allSatisfy { found[$0]?.scheme == .lossless })
            #expect(try features(sealed) == .array([.string("code_types")]))
            let codes = try #require(report.codes)
            #expect(codes.tensors == names.count && codes.byteCount < codes.sourceBytes && codes.reduction > 0.1)
            #expect(report.json["codes"]?["tensors"]?.unsigned == UInt64(names.count))
            // Rates are of the weights that the codes stand for.
            let decoded = try Checkpoint.open(source).shards[0].header.tensors
            #expect(report.weights == decoded.reduce(0) { $0 + $1.shape.elementCount })
            #expect(report.bitsPerWeight == Double(report.outputBytes) * 8 / Double(report.weights))
            #expect(
                report.tensors.allSatisfy {
                    (report.rule($0) == "codes of a quantized source") == $0.descriptor.holdsCodes
                })
        }
        // A payload without entropy coding would be larger than the tensor.
        if codec == .none { #expect(names.allSatisfy { found[$0] == nil } && report.codes == nil) }
        #expect(try await Verbs.verify(sealed).holds)
        #expect(try await Verbs.verify(sealed, against: source).holds)
        let configuration = try JSONValue.parse(Files.read(sealed.appending("config.json")))
        #expect(configuration["quantization_config"]?["quant_method"]?.string == sample.rawValue)
        #expect(configuration.object?.last?.key == "ingot_quantization_config")

        try await Verbs.export(sealed, to: directory.at("out"))
        #expect(try Verbs.tensors(directory.at("out")).mapValues(\.bytes) == Verbs.tensors(source).mapValues(\.bytes))
        let (before, after) = (try Verbs.tensors(source), try Verbs.tensors(directory.at("out")))
        #expect(before.allSatisfy { after[$0]?.type == $1.type && after[$0]?.shape == $1.shape })
        let header = try Checkpoint.open(directory.at("out")).shards[0].header
        for entry in CodeTensorTests.metadata { #expect(header.metadata.value(of: entry.key) == entry.value) }
        #expect(
            try Files.read(directory.at("out").appending("config.json")) == Files.read(source.appending("config.json")))
    }

    /// An export to another type changes weights and scales that are floats, and no codes.
    @Test func exportAsFloat32() async throws {
        let directory = try TemporaryDirectory()
        try write(QuantizedSample.gptq.tensors, QuantizedSample.gptq.configuration, to: directory.at("source"))
        try await Verbs.convert(directory.at("source"), to: directory.at("sealed"), Verbs.options(.lossless))
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"), as: .f32)
        let (before, after) = (try Verbs.tensors(directory.at("source")), try Verbs.tensors(directory.at("out")))
        for (name, tensor) in before {
            #expect(after[name]?.type == (tensor.type.quantizable == nil ? tensor.type : .f32))
            if tensor.type.isCodeType { #expect(after[name]?.bytes == tensor.bytes) }
        }
    }

    @Test(arguments: [EncodingOptions.Scheme.trellis, .uniform], QuantizedSample.allCases)
    func otherSchemes(scheme: EncodingOptions.Scheme, sample: QuantizedSample) async throws {
        let directory = try TemporaryDirectory()
        for (name, configuration) in [("with", sample.configuration), ("without", "{}")] {
            let (source, sealed) = (directory.at(name), directory.at(name + ".sealed"))
            try write(sample.tensors, configuration, to: source)
            var options = Verbs.options(scheme)
            if sample == .gptq {
                // Whole numbers need consent to be quantized again.
                let error = try await Verbs.failure { try await Verbs.convert(source, to: sealed, options) }
                #expect(error?.code == .unsupportedSource && error?.found.contains("quantized already") == true)
                #expect(try Directory.kind(sealed) == nil)
                options.encoding.requantizes = true
            }
            let report = try await Verbs.convert(source, to: sealed, options)
            #expect(report.quantization.count == 1 && report.tensors.contains { $0.descriptor.scheme != .lossless })
            #expect(try await Verbs.verify(sealed, against: source).holds)
            try await Verbs.export(sealed, to: directory.at(name + ".out"))
            let found = try Verbs.tensors(directory.at(name + ".out"))
            let decoded = try Checkpoint.open(source)
            #expect(Set(found.keys) == Set(decoded.shards[0].header.tensors.map(\.name)))
            let text = String(decoding: try Files.read(directory.at(name + ".out/config.json")), as: UTF8.self)
            #expect(!text.contains("quantization_config"))
        }
    }

    // MARK: - Single tensors

    /// Every code type in shapes at the edges of chunks; an empty tensor, a scalar and random bytes, which are kept.
    @Test(arguments: ElementType.allCases.filter(\.isCodeType)) func everyType(type: ElementType) async throws {
        let directory = try TemporaryDirectory()
        let chunk = ContainerFormat.chunkWeights
        let shapes = [
            [1001], [7, 143], [3, 5, 67], [chunk], [chunk + 1], [2, chunk + 75], [chunk + 3, 1], [513, 1023],
            [1, 1, 900],
        ]
        let codes = shapes.enumerated().map { QuantizedSample.codes("codes.\($0)", type, $1) }
        let kept = [
            SampleTensor("empty", type, [0, 5], bytes: []), QuantizedSample.codes("scalar", type, []),
            QuantizedSample.codes("small", type, [3]), SampleTensor("random", raw: type, [40, 50]),
            SampleTensor("other", raw: .i64, [300]), SampleTensor("flags", raw: .bool, [7]),
        ]
        let marks = [QuantizedSample.codes("a.qweight", .i32, [64, 8]), SampleTensor("a.scales", .f16, [1, 8])]
        try write(codes + kept + marks, "{}", to: directory.at("source"))
        let options = Verbs.options(.lossless, jobs: 3)
        try await Verbs.convert(directory.at("source"), to: directory.at("sealed"), options)
        let found = try payloads(directory.at("sealed"))
        for tensor in codes {
            #expect(found[TensorName(tensor.name)]?.elementType == type, "\(tensor.name)")
            #expect(found[TensorName(tensor.name)]?.shape.dimensions == tensor.shape)
        }
        for tensor in kept { #expect(found[TensorName(tensor.name)] == nil, "\(tensor.name)") }
        #expect(try await Verbs.verify(directory.at("sealed"), against: directory.at("source")).holds)
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        let (before, after) = (try Verbs.tensors(directory.at("source")), try Verbs.tensors(directory.at("out")))
        #expect(before.keys.sorted() == after.keys.sorted())
        for (name, tensor) in before { #expect(after[name]?.bytes == tensor.bytes, "\(name.text)") }
    }

    /// Whole numbers of a source that nobody quantized are kept, and the shard needs no feature.
    @Test func otherSourcesStay() async throws {
        let directory = try TemporaryDirectory()
        let tensors = [
            QuantizedSample.codes("buffer", .u8, [64, 64]), QuantizedSample.codes("ids", .i32, [500]),
            SampleTensor("a.weight", .bf16, [32, 64]),
        ]
        try write(tensors, "{}", to: directory.at("source"))
        try await Verbs.convert(directory.at("source"), to: directory.at("sealed"), Verbs.options(.lossless))
        #expect(try Array(payloads(directory.at("sealed")).keys) == [TensorName("a.weight")])
        #expect(try features(directory.at("sealed")) == .array([]))
    }

    @Test func recipeKeeps() async throws {
        let directory = try TemporaryDirectory()
        try write(QuantizedSample.gptq.tensors, "{}", to: directory.at("source"))
        var options = Verbs.options(.lossless)
        options.encoding.recipe = Recipe([.init(try #require(NamePattern("*.qweight")), .keep)])
        try await Verbs.convert(directory.at("source"), to: directory.at("sealed"), options)
        let found = try payloads(directory.at("sealed"))
        #expect(found[TensorName("model.layers.0.q_proj.qweight")] == nil)
        #expect(found[TensorName("model.layers.0.q_proj.g_idx")] != nil)
    }

    @Test func forecast() async throws {
        let directory = try TemporaryDirectory()
        try write(QuantizedSample.fp8.tensors, QuantizedSample.fp8.configuration, to: directory.at("source"))
        let options = Verbs.options(.lossless)
        let plan = try ConversionPlan(
            ConversionPlan.openSource(directory.at("source"), quantized: .asStored), options)
        let forecast = try await ConversionForecast(plan, sampling: false)
        let report = try await Verbs.convert(directory.at("source"), to: directory.at("sealed"), options)
        #expect(forecast.weights == report.weights)
        #expect(abs(Double(forecast.outputBytes) - Double(report.outputBytes)) < 400)
        #expect(forecast.tensors.map(\.name) == report.tensors.map(\.name))
    }

    // MARK: - Interrupted, consumed, followed

    private func place(_ change: (inout ConversionOptions) -> Void = { _ in }) throws -> ShardedPlace {
        var options = Verbs.options(.lossless)
        change(&options)
        let shards = QuantizedSample.allCases.map(\.tensors).enumerated().map { shard, tensors in
            tensors.map { tensor in
                var tensor = tensor
                tensor.name = "s\(shard)." + tensor.name
                return tensor
            }
        }
        return try ShardedPlace(shards, options)
    }

    @Test(arguments: 0..<3) func resumedBehindShards(finished: Int) async throws {
        let place = try place()
        let expected = try await place.expected()
        try await place.interrupt(after: finished)
        try await place.convert()
        try place.expectFinished(expected)
    }

    @Test func resumedInsideShard() async throws {
        let place = try place { $0.run.recordedBytes = 1 }
        let expected = try await place.expected()
        let count = Mutex(0)
        let watch = CallWatch { _, call in
            guard call.name == "fsync", call.path.hasSuffix(ShardedPlace.temporaryName(2)) else { return nil }
            return count.withLock { count in
                count += 1
                return count > 2 ? .ioError : nil
            }
        }
        let error = try await watch.run { try await place.failure() }
        #expect(error?.code == .inputOutput)
        let report = try await place.convert()
        #expect(report.resumedTensors == 2 && report.resumedShards == 2)
        try place.expectFinished(expected)
    }

    @Test(arguments: [false, true]) func consumed(follows: Bool) async throws {
        let place = try place()
        let expected = try await place.expected()
        try await place.convert {
            $0.run.consumesSource = true
            $0.run.follows = follows
            $0.run.lookInterval = .milliseconds(1)
            $0.run.settledAfter = .milliseconds(1)
        }
        #expect(!Files.names(place.source).contains { $0.hasSuffix(".safetensors") })
        try place.expectFinished(expected)
    }
}
