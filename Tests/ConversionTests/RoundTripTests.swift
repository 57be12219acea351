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

/// From a source to a sealed checkpoint and back: what must be exact is, the rest is what its certificate says.
@Suite struct RoundTripTests {
    /// Tensors of every kind the recipe knows, and the shapes that are hard.
    static let tensors: [SampleTensor] = [
        SampleTensor("a.weight", .f16, [64, 256]),
        SampleTensor("odd.weight", .bf16, [7, 33]),
        SampleTensor("column.weight", .f32, [50, 1]),
        SampleTensor("row.weight", .f16, [1, 100]),
        SampleTensor("one.weight", .f32, [1, 1]),
        SampleTensor("deep.weight", .bf16, [3, 2, 2, 40]),
        SampleTensor("short.weight", .f16, [9, 31]),
        SampleTensor("zeros.weight", .f16, [4, 64], values: [Float](repeating: 0, count: 256)),
        SampleTensor("constant.weight", .f32, [4, 64], values: [Float](repeating: 0.1, count: 256)),
        SampleTensor("norm.weight", .bf16, [77]),
        SampleTensor("scalar", .f32, []),
        SampleTensor("nothing", .f16, [0]),
        SampleTensor("no.rows", .f16, [0, 64]),
        SampleTensor("no.columns", .bf16, [64, 0]),
        SampleTensor("flags", raw: .bool, [5]),
        SampleTensor("bytes", raw: .u8, [3, 3]),
        SampleTensor("positions", raw: .i64, [2, 3]),
        SampleTensor("doubles", raw: .f64, [2, 5]),
        SampleTensor("eighths", raw: .f8e4m3, [4, 7]),
        SampleTensor("complex", raw: .c64, [3]),
    ]

    /// Which tensors must come back bit for bit under scheme `uniform`: matrices of one column are vectors.
    static let kept: Set<String> = [
        "column.weight", "one.weight", "norm.weight", "scalar", "nothing", "no.rows", "no.columns", "flags", "bytes",
        "positions", "doubles",
        "eighths", "complex",
    ]

    private func roundTrip(_ tensors: [SampleTensor], _ options: ConversionOptions, _ format: FloatFormat? = nil)
        async throws -> (before: [TensorName: SampleTensor], after: [TensorName: SampleTensor], TemporaryDirectory)
    {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        let sealed = directory.at("sealed")
        try await Verbs.convert(source, to: sealed, options)
        let report = try await Verbs.verify(sealed, against: source)
        #expect(report.holds && report.compared)
        #expect(report.tensors.count == tensors.count)
        try await Verbs.export(sealed, to: directory.at("out"), as: format)
        try checkAccounts(sealed)
        return (try Verbs.tensors(source), try Verbs.tensors(directory.at("out")), directory)
    }

    /// Every byte of every shard is accounted for.
    private func checkAccounts(_ path: FilePath) throws {
        let report = try CheckpointReport(path)
        for file in report.files {
            let size = try MappedFile.open(path.appending(file.name)).byteCount
            #expect(file.account.total == size, "\(file.name)")
        }
        #expect(report.account.total == report.files.reduce(0) { $0 + $1.account.total })
    }

    /// V04, V05: integers, booleans, scalars, empty and odd shapes pass through bit for bit.
    @Test(arguments: Codec.allCases)
    func losslessIsExact(codec: Codec) async throws {
        let (before, after, _) = try await roundTrip(
            RoundTripTests.tensors, Verbs.options(.lossless, codec: codec))
        #expect(before.count == after.count)
        for (name, tensor) in before {
            #expect(after[name]?.bytes == tensor.bytes, "\(name)")
            #expect(after[name]?.shape == tensor.shape && after[name]?.type == tensor.type, "\(name)")
        }
    }

    /// V03: NaN payloads, infinities, subnormals and both zeros, through the lossless scheme.
    @Test(arguments: FloatFormat.allCases)
    func losslessKeepsEveryBitPattern(format: FloatFormat) async throws {
        let count = 65536
        let bytes = (0..<count).flatMap { value -> [UInt8] in
            let pair = [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
            return format == .f32 ? pair.reversed() + pair : pair
        }
        let tensor = SampleTensor("all.weight", format.elementType, [256, 256], bytes: bytes)
        let (_, after, _) = try await roundTrip([tensor], Verbs.options(.lossless))
        #expect(after[TensorName("all.weight")]?.bytes == bytes)
    }

    @Test(arguments: UniformParameters.supportedBits, [false, true])
    func uniformIsWhatItsCertificateSays(bits: Int, symmetric: Bool) async throws {
        let group = UniformParameters.supportedGroupSizes[bits % 3]
        let codec = Codec.allCases[(bits + (symmetric ? 1 : 0)) % 3]
        for scales in UniformScales.allCases {
            try await checkCertificates(
                Verbs.options(bits: bits, group: group, symmetric: symmetric, scales: scales, codec: codec))
        }
    }

    /// Every goal, codec and number of states, on matrices most of which are too small for any rate.
    @Test(
        arguments: [
            RateGoal.bits(1), .bits(2), .bits(4), .bits(5), .bits(8), .averageBits(8.5), .relativeMSE(0.2),
            .relativeMSE(1e-4), .relativeMSE(1e-6),
        ], TrellisParameters.stateCounts)
    func trellisIsWhatItsCertificateSays(goal: RateGoal, states: Int) async throws {
        var options = Verbs.options(.trellis)
        options.encoding.goal = goal
        options.encoding.states = states
        try await checkCertificates(options)
        guard case .bits(let bits) = goal, bits > 1 else { return }
        for codec in [Codec.none, .lz4, .rans] {
            options.encoding.codec = codec
            try await checkCertificates(options)
        }
    }

    private func checkCertificates(_ options: ConversionOptions) async throws {
        let (before, after, directory) = try await roundTrip(RoundTripTests.tensors, options, .f32)
        #expect(before.count == after.count)
        let report = try CheckpointReport(directory.at("sealed"))
        for tensor in report.tensors {
            let source = try #require(before[tensor.name])
            let restored = try #require(after[tensor.name])
            #expect(restored.shape == source.shape, "\(tensor.name)")
            guard let descriptor = tensor.descriptor else {
                // A small matrix stays as it is where its tables alone take more than its weights.
                let isSmall = source.name != "a.weight"
                #expect(RoundTripTests.kept.contains(source.name) || isSmall, "\(tensor.name)")
                continue
            }
            #expect(!RoundTripTests.kept.contains(source.name), "\(tensor.name)")
            if source.name == "a.weight" { #expect(descriptor.scheme.name == options.encoding.scheme.rawValue) }
            guard descriptor.scheme != .lossless else {
                let exact = (0..<tensor.shape.elementCount).allSatisfy { index in
                    FloatBytes.decode(source.bytes, index, descriptor.format)
                        == FloatBytes.decode(restored.bytes, index, .f32)
                }
                #expect(exact && descriptor.sums == .zero, "\(tensor.name)")
                continue
            }
            var noise = 0.0
            var signal = 0.0
            var maximum = 0.0
            for index in 0..<tensor.shape.elementCount {
                let original = Double(FloatBytes.decode(source.bytes, index, descriptor.format))
                let error = original - Double(FloatBytes.decode(restored.bytes, index, .f32))
                signal += original * original
                noise += error * error
                maximum = max(maximum, abs(error))
            }
            let sums = descriptor.sums
            #expect(abs(sums.noise - noise) <= 1e-9 * noise, "\(tensor.name)")
            #expect(abs(sums.signal - signal) <= 1e-9 * signal, "\(tensor.name)")
            #expect(sums.maxError == maximum, "\(tensor.name)")
            #expect(sums.noise.isFinite, "\(tensor.name)")
        }
        for name in RoundTripTests.kept where before[TensorName(name)]?.type.quantizable == nil {
            #expect(after[TensorName(name)]?.bytes == before[TensorName(name)]?.bytes, "\(name)")
        }
    }

    /// Without `--dtype` kept tensors are exact, and each tensor has its own type again.
    @Test(arguments: [EncodingOptions.Scheme.uniform, .trellis])
    func exportInOwnTypes(scheme: EncodingOptions.Scheme) async throws {
        let (before, after, _) = try await roundTrip(RoundTripTests.tensors, Verbs.options(scheme))
        for (name, tensor) in before {
            #expect(after[name]?.type == tensor.type && after[name]?.shape == tensor.shape, "\(name)")
            if RoundTripTests.kept.contains(name.text) || name.text == "zeros.weight" {
                #expect(after[name]?.bytes == tensor.bytes, "\(name)")
            }
        }
    }

    /// What is exported in its own type is the value exported as f32, rounded once.
    @Test(arguments: FloatFormat.allCases, [EncodingOptions.Scheme.uniform, .trellis])
    func exportRoundsOnce(format: FloatFormat, scheme: EncodingOptions.Scheme) async throws {
        let tensor = SampleTensor("a.weight", .f32, [16, 96])
        let (_, wide, directory) = try await roundTrip([tensor], Verbs.options(scheme), .f32)
        try await Verbs.export(directory.at("sealed"), to: directory.at("narrow"), as: format)
        let exact = try #require(wide[TensorName("a.weight")])
        let narrow = try #require(try Verbs.tensors(directory.at("narrow"))[TensorName("a.weight")])
        let expected = (0..<16 * 96).flatMap { FloatBytes.encode(FloatBytes.decode(exact.bytes, $0, .f32), format) }
        #expect(narrow.bytes == expected)
    }

    @Test func exportRefusesOverflow() async throws {
        let directory = try TemporaryDirectory()
        let tensors = [SampleTensor("a.weight", .bf16, [2, 64], values: [Float](repeating: 1e30, count: 128))]
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("sealed"))
        let error = try await Verbs.failure {
            try await Verbs.export(directory.at("sealed"), to: directory.at("out"), as: .f16)
        }
        #expect(error?.code == .valueOutOfRange)
        #expect(error?.tensor == TensorName("a.weight"))
        #expect(Files.names(directory.path) == ["sealed", "source"])
    }

    /// V05: Rows wider than a chunk, and matrices of several chunks with a smaller last one.
    @Test(
        arguments: [[2, 262_145], [1, 600_000], [700, 500], [3, 262_144], [262_145, 1]], [Codec.zstd, .none, .rans])
    func severalChunks(shape: [Int], codec: Codec) async throws {
        let tensor = SampleTensor("wide.weight", .bf16, shape)
        let (before, after, directory) = try await roundTrip([tensor], Verbs.options(.lossless, codec: codec))
        #expect(before[TensorName("wide.weight")]?.bytes == after[TensorName("wide.weight")]?.bytes)
        try await Verbs.convert(directory.at("source"), to: directory.at("uniform"), Verbs.options(codec: codec))
        #expect(try await Verbs.verify(directory.at("uniform"), against: directory.at("source")).holds)
        try checkAccounts(directory.at("uniform"))
        try await Verbs.convert(
            directory.at("source"), to: directory.at("trellis"), Verbs.options(.trellis, codec: codec))
        #expect(try await Verbs.verify(directory.at("trellis"), against: directory.at("source")).holds)
        try checkAccounts(directory.at("trellis"))
    }

    /// Tiles in every arrangement, with smaller ones at the edges: each weight goes where it came from.
    @Test(arguments: [
        [1, 1], [1, 63], [1, 64], [1, 65], [64, 1], [4097, 1], [4096, 64], [4097, 65], [513, 512], [512, 511],
        [1025, 1030],
        [129, 9000], [3, 100_000], [2, 5, 7, 300], [70_000, 5],
    ])
    func tiles(shape: [Int]) async throws {
        // Each weight is a whole number of steps of a quarter octave apart from its neighbours, so that a wrong place would show.
        let count = shape.reduce(1, *)
        let values = (0..<count).map { Float(($0 &* 2_654_435_761) >> 7 % 2001) - 1000 }
        var options = Verbs.options(.trellis, jobs: 2)
        options.encoding.goal = .relativeMSE(1e-6)
        for codec in [Codec.zstd, .rans] {
            options.encoding.codec = codec
            let (before, after, _) = try await roundTrip(
                [SampleTensor("a.weight", .f32, shape, values: values)], options)
            let source = try #require(before[TensorName("a.weight")])
            let restored = try #require(after[TensorName("a.weight")])
            let worst = (0..<count).map { index in
                abs(FloatBytes.decode(source.bytes, index, .f32) - FloatBytes.decode(restored.bytes, index, .f32))
            }.max()
            #expect(try #require(worst) < 5, "\(shape), \(codec)")
        }
    }

    /// A source whose payloads would all be empty: only kept tensors, or no tensor at all.
    @Test func nothingToQuantize() async throws {
        let (before, after, _) = try await roundTrip(
            [SampleTensor("norm", .f16, [3]), SampleTensor("empty", .f32, [0, 0])], Verbs.options())
        #expect(before.mapValues(\.bytes) == after.mapValues(\.bytes))
        let (_, none, _) = try await roundTrip([], Verbs.options())
        #expect(none.isEmpty)
    }

    /// Embeddings and heads get two bits more, at most eight; projections inside layers do not.
    @Test func defaultRecipe() async throws {
        let directory = try TemporaryDirectory()
        let names = [
            "model.embed_tokens.weight": 8, "lm_head.weight": 8, "transformer.wte.weight": 8,
            "model.layers.0.attention.output.weight": 6, "output.weight": 8, "model.layers.0.q_proj.weight": 6,
        ]
        let tensors = names.keys.sorted().map { SampleTensor($0, .f16, [16, 64]) }
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("sealed"), Verbs.options(bits: 6))
        for tensor in try CheckpointReport(directory.at("sealed")).tensors {
            guard case .uniform(let parameters) = tensor.descriptor?.scheme else {
                Issue.record("\(tensor.name) is not quantized")
                continue
            }
            #expect(parameters.bits == names[tensor.name.text], "\(tensor.name)")
        }
    }
}
