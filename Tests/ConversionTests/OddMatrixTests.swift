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

/// Masks, outliers, constants and weights at the ends of their type: they take few bits, lose little, and leave the rest alone.
@Suite struct OddMatrixTests {
    private func options(_ goal: RateGoal, _ codec: Codec = .zstd) -> ConversionOptions {
        var options = Verbs.options(.trellis, codec: codec, jobs: 2)
        options.encoding.goal = goal
        return options
    }

    /// A mask beside three ordinary matrices.
    private func masked(_ format: FloatFormat) -> [SampleTensor] {
        [SampleTensor("mask", format, [256, 512], odd: .causalMask)]
            + (0..<3).map { SampleTensor("layers.\($0).weight", format, [256, 256], .gaussian, seed: UInt64($0)) }
    }

    private func convert(
        _ tensors: [SampleTensor], _ options: ConversionOptions
    ) async throws -> (tensors: [String: ConversionReport.Tensor], bytes: UInt64) {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        let report = try await Verbs.convert(source, to: directory.at("sealed"), options)
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        try await Verbs.export(directory.at("sealed"), to: directory.at("plain"))
        let bytes = try Files.snapshot(directory.at("sealed")).values.reduce(UInt64(0)) { $0 + UInt64($1.count) }
        return (Dictionary(uniqueKeysWithValues: report.tensors.map { ($0.name.text, $0) }), bytes)
    }

    // MARK: - Masks

    /// V03: 0.1.0 gave such a mask 26 to 34 bits a weight, or the relative MSE 1.
    @Test(arguments: FloatFormat.allCases, Codec.allCases)
    func masksAreSmallAndExact(format: FloatFormat, codec: Codec) async throws {
        let (tensors, _) = try await convert(masked(format), options(.bits(4), codec))
        let mask = try #require(tensors["mask"])
        #expect(mask.bitsPerWeight < (codec == .none ? 5.5 : codec == .lz4 ? 1 : 0.5), "\(mask.bitsPerWeight)")
        #expect(mask.descriptor.sums.relativeMSE < 1e-4)
        for index in 0..<3 {
            let other = try #require(tensors["layers.\(index).weight"])
            #expect(other.descriptor.sums.relativeMSE < 0.006)
        }
    }

    /// 0.1.0 gave the other matrices 0.004 bits and the relative MSE 1, for the mask's sake.
    @Test(arguments: FloatFormat.allCases)
    func masksLeaveTheRateToTheOthers(format: FloatFormat) async throws {
        let average = try await convert(masked(format), options(.averageBits(3)))
        let sized = try await convert(masked(format), options(.totalBytes(120_000)))
        #expect(sized.bytes <= 120_000)
        let bits = average.tensors.values.reduce(0.0) { $0 + Double($1.byteCount) * 8 }
        #expect(bits / Double(256 * 512 + 3 * 256 * 256) <= 3)
        for tensors in [average.tensors, sized.tensors] {
            for tensor in tensors.values { #expect(tensor.descriptor.sums.relativeMSE < 0.01, "\(tensor.name)") }
        }
    }

    /// Weights clipped at the type's largest value: 0.1.0 lost .024 of F16 at 4 bits, and took 6 bits of BF16 and F32.
    @Test(arguments: FloatFormat.allCases, [0.1, 0.3, 0.45] as [Float])
    func clippedWeights(format: FloatFormat, width: Float) async throws {
        var generator = SeededGenerator(7)
        let largest = OddMatrix.largest(format)
        let values = (0..<300 * 400).map { _ in min(max(generator.gaussian() * width, -1), 1) * largest }
        let (tensors, _) = try await convert(
            [SampleTensor("clipped.weight", format, [300, 400], values: values)], options(.bits(4)))
        let tensor = try #require(tensors["clipped.weight"])
        #expect(tensor.bitsPerWeight <= 4)
        #expect(tensor.descriptor.sums.relativeMSE < 0.0065, "\(tensor.descriptor.sums.relativeMSE)")
    }

    // MARK: - Samples that mislead

    /// The chunks that are looked at are all zero, and the others are not: 0.1.0 took the matrix for one of zeros.
    @Test(arguments: [RateGoal.bits(2), .averageBits(2)])
    func zerosInTheSample(goal: RateGoal) async throws {
        let (rows, columns) = (4096, 2112)
        var generator = SeededGenerator(3)
        var values = [Float](repeating: 0, count: rows * columns)
        for index in 0..<400 * columns { values[index] = generator.weight() }
        let (tensors, _) = try await convert(
            [SampleTensor("a.weight", .bf16, [rows, columns], values: values)], options(goal))
        let tensor = try #require(tensors["a.weight"])
        #expect(tensor.bitsPerWeight <= 2)
        #expect(tensor.descriptor.sums.relativeMSE < 1e-3, "\(tensor.descriptor.sums.relativeMSE)")
    }

    // MARK: - Refusals

    /// A matrix that can only be stored exactly leaves its neighbour nothing: 0.1.0 wrote 8.4 times the size, the neighbour all zero.
    @Test func sizeThatCannotBeHeld() async throws {
        let directory = try TemporaryDirectory()
        let usual = SampleTensor("a", .f32, [512, 512], .gaussian)
        let values = (0..<512 * 512).map { FloatBytes.decode(usual.bytes, $0, .f32) * 50 * 1e-38 }
        let tensors = [usual, SampleTensor("b", .f32, [512, 512], values: values)]
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        let error = try await Verbs.failure {
            try await Verbs.convert(source, to: directory.at("sealed"), options(.totalBytes(100_000)))
        }
        #expect(error?.code.kind == .request)
        #expect(error?.found.contains("100000 bytes") == true)
        #expect(Files.names(directory.path) == ["source"])
    }

    /// Sizes are named as they were asked for, to the last digit.
    @Test func largestSize() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([masked(.bf16)], to: directory.at("source"))
        let error = try await Verbs.failure {
            try await Verbs.convert(source, to: directory.at("sealed"), options(.totalBytes(.max)))
        }
        #expect(error?.found.contains("18446744073709551615 bytes") == true)
    }

    // MARK: - The same bytes

    /// Stored forms, held steps and shares survive an interruption: the journal has them.
    @Test(arguments: [RateGoal.averageBits(3), .totalBytes(160_000), .bits(3)])
    func resumedToTheSameBytes(goal: RateGoal) async throws {
        let directory = try TemporaryDirectory()
        let odd: [OddMatrix] = [.gaussian, .outlier, .causalMask, .ternary, .zero, .clipped, .gaussian, .constant]
        let shards = (0..<4).map { shard in
            (0..<2).map { place in
                SampleTensor(
                    "s\(shard).\(place)", .bf16, [128, 320], odd: odd[2 * shard + place], seed: UInt64(shard + 1))
            }
        }
        let source = try SampleSource.write(shards, to: directory.at("source"))
        var options = options(goal)
        options.run.jobs = 1
        try await Verbs.convert(source, to: directory.at("whole"), options)
        let expected = try Files.snapshot(directory.at("whole"))
        options.run.jobs = 4
        try await Verbs.convert(source, to: directory.at("other"), options)
        #expect(try Files.snapshot(directory.at("other")) == expected)
        let hook = SystemCallHook { call throws(Errno) in
            if call.name == "rename", call.path.hasSuffix("model-00003-of-00004.safetensors") { throw .ioError }
        }
        let error = try await Verbs.failure {
            try await SystemCallHook.$current.withValue(hook) {
                _ = try await Converter(source, to: directory.at("resumed"), options).run()
            }
        }
        #expect(error?.code == .cannotCreate)
        let report = try await Verbs.convert(source, to: directory.at("resumed"), options)
        #expect(report.resumedShards == 2)
        #expect(try Files.snapshot(directory.at("resumed")) == expected)
    }

    // MARK: - Columns

    /// A matrix of one column is a vector: it stays as it is, and costs what a vector costs.
    @Test(arguments: [EncodingOptions.Scheme.trellis, .uniform])
    func oneColumn(scheme: EncodingOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        let column = SampleTensor("gate.weight", .f16, [4000, 1])
        let source = try SampleSource.write(
            [[column, SampleTensor("a.weight", .f16, [40, 40])]], to: directory.at("source"))
        let report = try await Verbs.convert(source, to: directory.at("sealed"), Verbs.options(scheme))
        #expect(report.keptCount == 1 && report.tensors.map(\.name.text) == ["a.weight"])
        try await Verbs.export(directory.at("sealed"), to: directory.at("plain"))
        #expect(try Verbs.tensors(directory.at("plain"))[TensorName("gate.weight")]?.bytes == column.bytes)
    }
}
