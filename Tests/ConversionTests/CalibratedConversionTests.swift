import Architectures
import Container
import Conversion
import ConversionSupport
import FileAccess
import Moments
import Quantization
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Conversions with a file of moments: the same bytes in all circumstances, what they promise, what they refuse.
@Suite struct CalibratedConversionTests {
    // MARK: - Same bytes

    @Test(arguments: [(Codec.rans, 1), (.zstd, 2)])
    func jobsAndMemoryDoNotMatter(codec: Codec, shards: Int) async throws {
        let model = try CalibratedModel(shards: shards)
        var expected: [String: [UInt8]]?
        let least = Verbs.minimumMemory
        for (jobs, memory) in [(1, UInt64(256) << 20), (2, least), (3, 128 << 20), (1, least)] {
            let files = try await model.expected {
                $0.encoding.codec = codec
                ($0.run.jobs, $0.run.memory) = (jobs, memory)
            }
            if let expected {
                #expect(files.keys.sorted() == expected.keys.sorted())
                for (name, bytes) in files {
                    #expect(bytes == expected[name], "\(name), \(jobs) jobs, \(memory) bytes")
                }
            } else {
                expected = files
            }
        }
    }

    /// A run that fails behind each tensor in the middle of the only shard: the next one goes on to the same bytes.
    @Test func continuesBehindEachTensor() async throws {
        var model = try CalibratedModel()
        model.options.run.recordedBytes = 1
        let expected = try await model.expected()
        for finished in Share.of(Array(1...14), minimum: 4) {
            let recorded = Mutex(0)
            let watch = CallWatch { _, call in
                guard call.name == "fsync", call.path.hasSuffix(".model.safetensors.ingot-tmp") else { return nil }
                return recorded.withLock { count in
                    count += 1
                    return count > finished ? .ioError : nil
                }
            }
            let error = try await watch.run { try await Verbs.failure { try await model.convert() } }
            #expect(error?.code == .inputOutput, "\(finished): \(String(describing: error))")
            let report = try await model.convert()
            #expect(report.resumedTensors == finished)
            #expect(try Files.snapshot(model.target) == expected, "behind \(finished)")
            #expect(model.leftovers == [])
            try Directory.removeTree(model.target)
        }
    }

    /// Every call from some call on fails, as if the run were killed there.
    @Test func killedAtAnyCall() async throws {
        var model = try CalibratedModel(shards: 2)
        model.options.run.recordedBytes = 1
        let expected = try await model.expected()
        let count = Mutex(0)
        let counting = CallWatch { _, _ in
            count.withLock { $0 += 1 }
            return nil
        }
        try await counting.run { _ = try await model.convert() }
        try Directory.removeTree(model.target)
        let all = count.withLock { $0 }
        for call in Share.of(Array(0..<all).filter { $0 % 8 == 0 }, minimum: 6) {
            let calls = Mutex(0)
            let watch = CallWatch { _, _ in
                calls.withLock { number in
                    number += 1
                    return number > call ? .ioError : nil
                }
            }
            _ = try await watch.run { try await Verbs.failure { try await model.convert() } }
            if try Directory.kind(model.target) == nil || Directory.kind(model.journal) != nil {
                _ = try await Verbs.failure { try await model.convert() }
            }
            #expect(try Files.snapshot(model.target) == expected, "call \(call)")
            for name in Files.names(model.directory.path) where name.hasPrefix(".") || name == "sealed" {
                try Directory.removeTree(model.directory.at(name))
            }
        }
    }

    /// Other moments are another conversion: what an earlier run left is not taken.
    @Test func otherMomentsAreRefused() async throws {
        var model = try CalibratedModel()
        model.options.run.recordedBytes = 1
        let watch = CallWatch { _, call in
            call.name == "fsync" && call.path.hasSuffix(".model.safetensors.ingot-tmp") ? .ioError : nil
        }
        _ = try await watch.run { try await Verbs.failure { try await model.convert() } }
        let other = model.directory.at("other.safetensors")
        try CalibratedModel.writeMoments(to: other, blocks: .diagonal)
        let expected = try await model.convert(to: model.directory.at("reference"), with: other)
        let error = try await Verbs.failure { try await model.convert(with: other) }
        if let error {
            #expect(error.code.kind != .badData && error.code != .inputOutput, "\(error)")
        } else {
            #expect(try Files.snapshot(model.target) == Files.snapshot(model.directory.at("reference")))
        }
        #expect(expected.tensors.count == 16)
    }

    // MARK: - What is promised

    private func linearBits(_ report: ConversionReport) -> Double {
        let linear = report.tensors.filter { $0.name.text.contains(".layers.") }
        return linear.reduce(0.0) { $0 + Double($1.byteCount) * 8 }
            / linear.reduce(0.0) { $0 + Double($1.descriptor.shape.elementCount) }
    }

    @Test(arguments: [Codec.rans, .zstd], [3.5, 4, 5.5])
    func averageOfTheLinearLayers(codec: Codec, bits: Double) async throws {
        let model = try CalibratedModel(.bits(bits), shards: 2)
        let report = try await model.convert { $0.encoding.codec = codec }
        let found = linearBits(report)
        #expect(found <= bits && found > bits - 0.15, "\(found)")
        let calibrated = report.tensors.filter { $0.descriptor.calibrated != nil }
        #expect(calibrated.count == 15)
        for tensor in calibrated {
            let sums = try #require(tensor.descriptor.calibrated?.sums)
            #expect(sums.signal > 0 && sums.noise > 0 && sums.relativeError < 0.1, "\(tensor.name)")
        }
        try await Verbs.verify(model.target, against: model.source)
    }

    @Test(arguments: [3.5, 4.5, 6]) func averageOfAllIsNeverExceeded(bits: Double) async throws {
        let model = try CalibratedModel(.averageBits(bits))
        let report = try await model.convert()
        let taken = report.tensors.reduce(0.0) { $0 + Double($1.byteCount) * 8 }
        let all = taken / report.tensors.reduce(0.0) { $0 + Double($1.descriptor.shape.elementCount) }
        #expect(all <= bits && all > bits - 0.3, "\(all)")
    }

    @Test(arguments: [110_000, 140_000, 180_000]) func sizeIsNeverExceeded(bytes: Int) async throws {
        let model = try CalibratedModel(.totalBytes(UInt64(bytes)))
        try await model.convert()
        let size = try Files.snapshot(model.target).values.reduce(0) { $0 + $1.count }
        #expect(size <= bytes && Double(size) > 0.9 * Double(bytes), "\(size)")
    }

    /// Blocks of one column, of some, of more than a tile; the certificate is of H as the file has it.
    @Test(arguments: [MomentBlocks.diagonal, .width(20), .usual]) func rulesOfBlocks(blocks: MomentBlocks) async throws
    {
        let model = try CalibratedModel()
        let moments = model.directory.at("blocks.safetensors")
        try CalibratedModel.writeMoments(to: moments, blocks: blocks)
        let report = try await model.convert(with: moments)
        #expect(report.tensors.count { $0.descriptor.calibrated != nil } == 15)
        try await Verbs.verify(model.target, against: model.source)
    }

    /// Matrices whose input no token reached, or that the file does not know, are encoded as without moments.
    @Test func inputsWithoutMoments() async throws {
        let model = try CalibratedModel()
        let moments = model.directory.at("some.safetensors")
        try CalibratedModel.writeMoments(
            to: moments, CalibratedModel.inputs().filter { $0.input != .head },
            unseen: LinearInput(layer: 1, .downIn))
        let report = try await model.convert(with: moments)
        let others = report.tensors.filter { $0.descriptor.calibrated == nil }.map(\.name.text)
        #expect(
            others.sorted() == [
                "lm_head.weight", "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight",
            ])
        #expect(
            reasons(report) == [
                "lm_head.weight": .noMoments, "model.embed_tokens.weight": .embedding,
                "model.layers.1.mlp.down_proj.weight": .noTokens,
            ])
        try await Verbs.verify(model.target, against: model.source)
    }

    private func reasons(_ report: ConversionReport) -> [String: ReasonForPlain] {
        let plain = report.calibration?.plain ?? []
        return Dictionary(plain.map { ($0.name.text, $0.reason) }, uniquingKeysWith: { first, _ in first })
    }

    /// Every matrix that is quantized plain is listed with its reason, and nothing else is.
    @Test func plainMatricesAreListed() async throws {
        let model = try CalibratedModel()
        func matrix(_ name: String, _ shape: [Int]) -> SampleTensor {
            var generator = SeededGenerator(UInt64(name.utf8.count))
            return SampleTensor(name, .f16, shape, values: (0..<shape.reduce(1, *)).map { _ in generator.weight() })
        }
        let hidden = CalibratedModel.hidden
        let others = [
            matrix("model.layers.2.self_attn.q_proj.weight", [64, hidden]),
            matrix("model.layers.0.mlp.experts.up_proj", [2, 64, hidden]), matrix("adaptor.weight", [64, hidden]),
            matrix("model.layers.0.self_attn.qkv_proj.weight", [64, 2 * hidden]),
        ]
        try Directory.removeTree(model.source)
        try SampleSource.write(
            [CalibratedModel.tensors() + others], to: model.source, companions: ["config.json": "{}\n"])
        let report = try await model.convert {
            $0.encoding.recipe = Recipe([
                Recipe.Rule(NamePattern("*.1.*.o_proj.weight")!, .encode(scheme: .uniform, bits: 4)),
                Recipe.Rule(NamePattern("*.1.*.v_proj.weight")!, .encode(scheme: .lossless, bits: nil)),
            ])
        }
        #expect(
            reasons(report) == [
                "model.embed_tokens.weight": .embedding, "model.layers.2.self_attn.q_proj.weight": .noMoments,
                "model.layers.0.mlp.experts.up_proj": .allExperts, "adaptor.weight": .unknownName,
                "model.layers.0.self_attn.qkv_proj.weight": .otherColumns,
                "model.layers.1.self_attn.o_proj.weight": .otherScheme,
            ])
        #expect(report.calibration?.matrices == 13)
    }

    /// The mean gives each matrix the same weight; the worst tensor is a calibrated one, whatever the relative MSE of others is.
    @Test func errorsOfAReport() async throws {
        let model = try CalibratedModel()
        // The embedding, which has no moments, is far worse than all others.
        let report = try await model.convert {
            $0.encoding.recipe = Recipe([
                Recipe.Rule(NamePattern("*embed_tokens*")!, .encode(scheme: nil, bits: 1))
            ])
        }
        let errors = report.tensors.compactMap { tensor in
            tensor.descriptor.calibrated.map { (tensor.name, $0.sums.noise / $0.sums.signal) }
        }
        let worst = try #require(errors.max { $0.1 < $1.1 })
        let plain = try #require(report.tensors.first { $0.descriptor.calibrated == nil })
        #expect(plain.descriptor.sums.relativeMSE > worst.1)
        #expect(report.worst?.name == worst.0)
        let summary = try #require(report.calibration)
        #expect(summary.worst?.name == worst.0 && summary.matrices == 15)
        let mean = errors.reduce(0) { $0 + $1.1 } / 15
        #expect(abs(try #require(summary.meanError) - mean) <= 1e-12 * mean)
        let json = try #require(report.json["calibration"])
        #expect(json["matrices"]?.unsigned == 15 && json["worst"]?["name"]?.string == worst.0.text)
        #expect(json["plain"]?.array?.count == 1)
        for tensor in try #require(report.json["tensors"]?.array) {
            let isPlain = tensor["name"]?.string == plain.name.text
            #expect((tensor["relative_activation_error"] == nil) == isPlain)
        }
        // A conversion without moments has no summary.
        let uncalibrated = try await Converter(model.source, to: model.directory.at("plain"), model.options).run()
        #expect(uncalibrated.calibration == nil && uncalibrated.json["calibration"] == .null)
        #expect(
            uncalibrated.worst?.descriptor.sums.relativeMSE
                == uncalibrated.tensors.map(\.descriptor.sums.relativeMSE).max())
    }

    /// Weights near the ends of the range of their type.
    @Test(arguments: [
        (FloatFormat.f16, Float(0x1p19)), (.f16, 0x1p-12), (.bf16, 0x1p-120), (.f32, 0x1p110), (.f32, 0x1p120),
        (.bf16, 0x1p125),
    ])
    func endsOfTheRange(format: FloatFormat, scale: Float) async throws {
        let model = try CalibratedModel(scale: scale, format: format)
        let error = try await Verbs.failure { try await model.convert() }
        #expect(error == nil, "\(String(describing: error))")
        if error == nil { try await Verbs.verify(model.target, against: model.source) }
    }

    /// A matrix that no step suits is planned without moments; the others are calibrated, and keep the average.
    @Test(arguments: [[Float(0)], [0.01], [0.01, -0.02]]) func matricesOfFewValues(values: [Float]) async throws {
        let model = try CalibratedModel()
        var tensors = CalibratedModel.tensors()
        let odd = try #require(tensors.firstIndex { $0.name == "model.layers.1.mlp.up_proj.weight" })
        let count = tensors[odd].shape.reduce(1, *)
        tensors[odd] = SampleTensor(
            tensors[odd].name, .f16, tensors[odd].shape, values: (0..<count).map { values[$0 % values.count] })
        try Directory.removeTree(model.source)
        try SampleSource.write([tensors], to: model.source, companions: ["config.json": "{}\n"])
        let report = try await model.convert()
        #expect(report.tensors.count { $0.descriptor.calibrated != nil } == 14)
        let stored = try #require(report.tensors.first { $0.name.text == tensors[odd].name })
        #expect(
            reasons(report)[tensors[odd].name] == (stored.descriptor.scheme == .lossless ? nil : .unsuited),
            "\(stored.descriptor.scheme)")
        #expect(linearBits(report) <= 4)
        try await Verbs.verify(model.target, against: model.source)
    }

    /// Numbers in a file of moments that are no moments: whatever comes of them is a checkpoint that holds.
    @Test(arguments: [Float(2), 1000]) func momentsThatAreNone(factor: Float) async throws {
        let model = try CalibratedModel()
        let moments = model.directory.at("none.safetensors")
        try CalibratedModel.writeMoments(to: moments, offDiagonal: factor)
        try await model.convert(with: moments)
        try await Verbs.verify(model.target, against: model.source)
    }

    /// A matrix of more rows than values are counted ends the count.
    @Test func manyRows() async throws {
        let model = try CalibratedModel()
        var tensors = CalibratedModel.tensors()
        let odd = try #require(tensors.firstIndex { $0.name == "model.layers.1.mlp.up_proj.weight" })
        tensors[odd] = SampleTensor(tensors[odd].name, .f32, [3000, CalibratedModel.hidden])
        try Directory.removeTree(model.source)
        try SampleSource.write([tensors], to: model.source, companions: ["config.json": "{}\n"])
        let report = try await model.convert()
        #expect(report.tensors.count { $0.descriptor.calibrated != nil } == 15)
    }

    /// A weight that is not finite is named; with `keep` its matrix is stored lossless.
    @Test func notFinite() async throws {
        let model = try CalibratedModel()
        var tensors = CalibratedModel.tensors()
        let odd = try #require(tensors.firstIndex { $0.name == "model.layers.1.mlp.up_proj.weight" })
        tensors[odd].bytes.replaceSubrange(100..<102, with: [0, 0x7e])
        try Directory.removeTree(model.source)
        try SampleSource.write([tensors], to: model.source, companions: ["config.json": "{}\n"])
        let error = try await Verbs.failure { try await model.convert() }
        #expect(
            error?.code == .nonFinite && error?.tensor == TensorName(tensors[odd].name), "\(String(describing: error))")
        let report = try await model.convert {
            $0.encoding.nonFinite = .keep
            $0.run.restarts = true
        }
        #expect(report.tensors.count { $0.descriptor.calibrated != nil } == 14)
        #expect(report.tensors.first { $0.name.text == tensors[odd].name }?.descriptor.scheme == .lossless)
    }

    // MARK: - What is refused

    @Test func relativeErrorIsRefused() async throws {
        let model = try CalibratedModel(.relativeMSE(0.01))
        let error = try await Verbs.failure { try await model.convert() }
        #expect(error?.code == .usage, "\(String(describing: error))")
        #expect(Files.names(model.directory.path) == ["moments.safetensors", "source"])
    }

    @Test(arguments: [EncodingOptions.Scheme.uniform, .lossless])
    func otherSchemesAreRefused(scheme: EncodingOptions.Scheme) async throws {
        let model = try CalibratedModel()
        let error = try await Verbs.failure {
            try await model.convert {
                $0.encoding.scheme = scheme
                $0.encoding.codec = .zstd
            }
        }
        #expect(error?.code == .usage, "\(String(describing: error))")
        #expect(Files.names(model.directory.path) == ["moments.safetensors", "source"])
    }

    /// Moments of another model: no matrix has as many columns.
    @Test func otherShapesAreRefused() async throws {
        let model = try CalibratedModel()
        let moments = model.directory.at("other.safetensors")
        try CalibratedModel.writeMoments(to: moments, [(LinearInput(layer: 0, .attentionIn), 64)])
        let error = try await Verbs.failure { try await model.convert(with: moments) }
        #expect(error?.code == .momentsInvalid && error?.code.kind == .badData, "\(String(describing: error))")
        #expect(error?.file?.hasSuffix("other.safetensors") == true)
        #expect(model.leftovers == [])
    }
}
