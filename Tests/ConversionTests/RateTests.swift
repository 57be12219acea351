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

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// What scheme `trellis` was asked to hold, it holds: never above, and hardly below.
@Suite struct RateTests {
    private func options(_ goal: RateGoal, codec: Codec = .zstd, jobs: Int = 2) -> ConversionOptions {
        var options = Verbs.options(.trellis, codec: codec, jobs: jobs)
        options.encoding.goal = goal
        return options
    }

    private func convert(_ shards: [[SampleTensor]], _ goal: RateGoal, _ codec: Codec = .zstd) async throws
        -> (report: ConversionReport, bytes: Int)
    {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(shards, to: directory.at("source"))
        let report = try await Verbs.convert(source, to: directory.at("sealed"), options(goal, codec: codec))
        let bytes = try Files.snapshot(directory.at("sealed")).values.reduce(0) { $0 + $1.count }
        return (report, bytes)
    }

    private func bits(_ tensor: ConversionReport.Tensor) -> Double { tensor.bitsPerWeight }

    // MARK: - Bits

    static let rates = [1.5, 2, 3, 4, 4.7, 5.5, 6.5, 8]

    /// Never above; within a share below where the kind is one whose size follows its step smoothly.
    private func checkBits(
        _ kind: WeightKind, _ bits: Double, _ shape: [Int], _ format: FloatFormat, within share: Double
    )
        async throws
    {
        let seed = UInt64(shape[0])
        let (report, _) = try await convert([[SampleTensor("a.weight", format, shape, kind, seed: seed)]], .bits(bits))
        let found = report.tensors[0].bitsPerWeight
        let what: Comment = "\(kind), seed \(seed), \(shape), \(format), \(bits): \(found)"
        #expect(found <= bits, what)
        if kind.isSmooth { #expect(found >= bits * (1 - share), what) }
    }

    /// From 500 thousand weights on within half a percent.
    @Test(arguments: WeightKind.allCases, rates)
    func bitsOfLargeMatrices(kind: WeightKind, bits: Double) async throws {
        try await checkBits(kind, bits, [900, 600], .bf16, within: 0.005)
        try await checkBits(kind, bits, [3, 400, 500], .f16, within: 0.005)
        try await checkBits(kind, bits, [200, 2600], .f32, within: 0.005)
    }

    /// Below, within one percent.
    @Test(arguments: WeightKind.allCases, rates)
    func bitsOfSmallMatrices(kind: WeightKind, bits: Double) async throws {
        try await checkBits(kind, bits, [400, 250], .f16, within: 0.01)
        try await checkBits(kind, bits, [64, 1600], .bf16, within: 0.01)
        try await checkBits(kind, bits, [1700, 61], .f32, within: 0.01)
    }

    /// The same with the other entropy coder, and every goal.
    @Test(arguments: WeightKind.allCases, [1.5, 3, 8])
    func goalsWithRans(kind: WeightKind, bits: Double) async throws {
        let tensor = SampleTensor("a.weight", .bf16, [900, 600], kind)
        let (report, _) = try await convert([[tensor]], .bits(bits), .rans)
        let found = report.tensors[0].bitsPerWeight
        #expect(found <= bits && (!kind.isSmooth || found >= bits * 0.995), "\(kind): \(found)")
        for codec in [Codec.zstd, .rans] {
            let (average, _) = try await convert([[tensor]], .averageBits(bits), codec)
            let mean = average.tensors[0].bitsPerWeight
            #expect(mean <= bits && (!kind.isSmooth || mean >= bits * 0.995), "\(kind), \(codec): \(mean)")
        }
        let error = 0.9 * exp2(-2 * bits)
        let (accurate, _) = try await convert([[tensor]], .relativeMSE(error), .rans)
        let reached = accurate.tensors[0].descriptor.sums.relativeMSE
        #expect(reached <= error && (!kind.isSmooth || reached >= error * 0.99), "\(kind): \(reached)")
        // No larger error than with zstd; tails its models do not know.
        guard kind.isSmooth, kind != .heavy else { return }
        let (other, _) = try await convert([[tensor]], .bits(bits))
        #expect(
            report.tensors[0].descriptor.sums.relativeMSE < 1.01 * other.tensors[0].descriptor.sums.relativeMSE,
            "\(kind)")
    }

    /// Both ends of the range, and more states.
    @Test(arguments: [1, 8.5], TrellisParameters.stateCounts)
    func bitsAtTheEnds(bits: Double, states: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [[SampleTensor("a.weight", .f32, [1000, 520], .gaussian)]], to: directory.at("source"))
        var options = options(.bits(bits))
        options.encoding.states = states
        let report = try await Verbs.convert(source, to: directory.at("sealed"), options)
        let found = report.tensors[0].bitsPerWeight
        #expect(found <= bits && found >= bits * 0.995, "\(found)")
        guard case .trellis(let parameters) = report.tensors[0].descriptor.scheme else {
            Issue.record("no trellis")
            return
        }
        #expect(parameters.states == states)
    }

    /// Embeddings and heads have two bits more, eight at most.
    @Test(arguments: [3.0, 6.7])
    func bitsOfEmbeddings(bits: Double) async throws {
        let (report, _) = try await convert(
            [
                [
                    SampleTensor("model.embed_tokens.weight", .f16, [1000, 520], .gaussian),
                    SampleTensor("model.layers.0.q_proj.weight", .f16, [1000, 520], .gaussian),
                ]
            ], .bits(bits))
        let asked = [min(bits + 2, 8), bits]
        for (tensor, asked) in zip(report.tensors, asked) {
            #expect(tensor.bitsPerWeight <= asked && tensor.bitsPerWeight >= asked * 0.995, "\(tensor.name)")
        }
    }

    /// The error falls by a factor of about four a bit, and is near the bound on normally distributed weights.
    @Test func errorsAreNearTheBound() async throws {
        for (bits, bound) in [(2.0, 0.0755), (3, 0.0188), (4, 0.0047)] {
            let (report, _) = try await convert(
                [[SampleTensor("a.weight", .f32, [2048, 512], .gaussian)]], .bits(bits))
            let error = report.tensors[0].descriptor.sums.relativeMSE
            #expect(error < bound, "\(bits) bits: \(error)")
        }
    }

    // MARK: - Goals of a whole checkpoint

    /// Three million weights of several kinds, with what stands beside them in a model.
    private static let model: [[SampleTensor]] = [
        [
            SampleTensor("model.embed_tokens.weight", .bf16, [2000, 320], .gaussian, seed: 1),
            SampleTensor("model.layers.0.q_proj.weight", .bf16, [640, 320], .scaled, seed: 2),
            SampleTensor("model.layers.0.norm.weight", .bf16, [320]),
            SampleTensor("model.layers.0.up_proj.weight", .bf16, [1280, 320], .heavy, seed: 3),
        ],
        [
            SampleTensor("model.layers.1.q_proj.weight", .bf16, [640, 320], .gaussian, seed: 4),
            SampleTensor("model.layers.1.down_proj.weight", .bf16, [1280, 640], .scaled, seed: 5),
            SampleTensor("model.layers.1.norm.weight", .bf16, [320]),
            SampleTensor("lm_head.weight", .bf16, [2000, 320], .gaussian, seed: 6),
        ],
    ]

    private static let small: [[SampleTensor]] = [
        [
            SampleTensor("model.embed_tokens.weight", .f16, [60, 40], .gaussian, seed: 1),
            SampleTensor("model.layers.0.q_proj.weight", .f16, [100, 80], .scaled, seed: 2),
            SampleTensor("model.layers.0.up_proj.weight", .f32, [3, 7], .gaussian, seed: 3),
        ]
    ]

    @Test(arguments: rates)
    func averageBits(bits: Double) async throws {
        let (report, _) = try await convert(RateTests.model, .averageBits(bits))
        let found = try #require(report.bitsPerWeight)
        #expect(found <= bits && found >= bits * 0.995, "\(found)")
        let errors = report.tensors.map { $0.descriptor.sums.relativeMSE }
        let embeddings = [0, report.tensors.count - 1]
        for index in errors.indices {
            // One error for all, 1/16 of it for embeddings and heads.
            let expected = errors[1] / (embeddings.contains(index) ? 16 : 1)
            #expect(abs(errors[index] / expected - 1) < 0.1, "\(report.tensors[index].name): \(errors)")
        }
        let (few, _) = try await convert(RateTests.small, .averageBits(bits))
        #expect(try #require(few.bitsPerWeight) <= max(bits, 2.5), "\(few.bitsPerWeight ?? 0)")
    }

    @Test(arguments: rates)
    func totalBytes(bits: Double) async throws {
        let weights = RateTests.model.flatMap(\.self).filter { $0.shape.count == 2 }.reduce(0) {
            $0 + $1.shape.reduce(1, *)
        }
        let asked = UInt64(Double(weights) * bits / 8)
        let (report, bytes) = try await convert(RateTests.model, .totalBytes(asked))
        #expect(bytes <= asked && Double(bytes) >= Double(asked) * 0.995, "\(asked): \(bytes)")
        #expect(UInt64(bytes) == report.outputBytes + report.companionBytes)
    }

    @Test(arguments: [9_000, 11_000, 13_000])
    func totalBytesOfSmallCheckpoints(asked: Int) async throws {
        let (_, bytes) = try await convert(RateTests.small, .totalBytes(UInt64(asked)))
        #expect(bytes <= asked, "\(bytes)")
    }

    @Test(arguments: WeightKind.allCases, [0.2, 0.05, 5e-3, 1e-3, 2e-5, 1e-6])
    func relativeErrors(kind: WeightKind, error: Double) async throws {
        for (shape, format) in [([900, 600], FloatFormat.f32), ([64, 1600], .f16)] {
            let (report, _) = try await convert(
                [
                    [
                        SampleTensor("a.weight", format, shape, kind),
                        SampleTensor("lm_head.weight", format, [shape[0], 100], kind),
                    ]
                ], .relativeMSE(error))
            for (tensor, asked) in zip(report.tensors, [error, error / 16]) {
                let found = tensor.descriptor.sums.relativeMSE
                #expect(found <= asked, "\(kind), \(format), \(tensor.name): \(found)")
                guard kind.isSmooth, asked >= 1e-6 else { continue }
                #expect(found >= asked * 0.99, "\(kind), \(format), \(tensor.name): \(found)")
            }
        }
    }

    // MARK: - Fixed widths

    /// Without an entropy coder a symbol has a fixed width; a byte holds what is asked for, escapes come on top.
    @Test(arguments: [Codec.none, .lz4], 2...8)
    func fixedWidths(codec: Codec, bits: Int) async throws {
        guard bits != 7 else { return }
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [[SampleTensor("a.weight", .bf16, [600, 500], .gaussian)]], to: directory.at("source"))
        let report = try await Verbs.convert(
            source, to: directory.at("sealed"), options(.bits(Double(bits)), codec: codec))
        let tensor = report.tensors[0]
        guard case .trellis(let parameters) = tensor.descriptor.scheme else {
            Issue.record("no trellis")
            return
        }
        #expect(parameters.alphabet == 1 << bits && parameters.lowBits == 0)
        #expect(
            tensor.bitsPerWeight >= Double(bits) && tensor.bitsPerWeight < Double(bits) * (bits == 2 ? 1.25 : 1.15),
            "\(tensor.bitsPerWeight)")
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        // A bit is worth a factor of four. With two, the escape is one of four codes: the uniform scheme is better.
        guard bits > 2 else { return }
        let uniform = try await Verbs.convert(
            source, to: directory.at("uniform"), Verbs.options(bits: bits, group: 64, codec: codec))
        let (ours, other) = (tensor.descriptor.sums.relativeMSE, uniform.tensors[0].descriptor.sums.relativeMSE)
        #expect(
            ours < 1.1 * other * exp2(2 * (uniform.tensors[0].bitsPerWeight - tensor.bitsPerWeight)),
            "\(ours), \(other)")
    }

    /// Rates that no fixed width gives: refused, with the nearest that one does.
    @Test(arguments: [
        (RateGoal.bits(2.5), 3), (.bits(3.4), 3), (.bits(1), 2), (.bits(8.5), 8), (.averageBits(4), 4),
        (.averageBits(7.6), 8),
    ])
    func unreachableWidths(goal: RateGoal, nearest: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([[SampleTensor("a.weight", .f16, [8, 64])]], to: directory.at("source"))
        for codec in [Codec.none, .lz4] {
            let error = try await Verbs.failure {
                try await Verbs.convert(source, to: directory.at("sealed"), options(goal, codec: codec))
            }
            #expect(error?.code == .usage && error?.code.kind == .request)
            #expect(
                error?.expected?.contains("the nearest is \(nearest)") == true, "\(String(describing: error))")
        }
        #expect(Files.names(directory.path) == ["source"])
    }

    /// Sizes that no rate gives are refused with those that some do, and nothing is written.
    @Test(arguments: [UInt64(0), 1, 5000, 100_000, 1 << 40, .max])
    func unreachableSizes(bytes: UInt64) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([[SampleTensor("a.weight", .f16, [80, 640])]], to: directory.at("source"))
        let error = try await Verbs.failure {
            try await Verbs.convert(source, to: directory.at("sealed"), options(.totalBytes(bytes)))
        }
        #expect(error?.code == .usage && error?.code.kind == .request)
        #expect(error?.expected?.contains("bytes") == true, "\(String(describing: error))")
        #expect(Files.names(directory.path) == ["source"])
        let codec = try await Verbs.failure {
            try await Verbs.convert(source, to: directory.at("sealed"), options(.totalBytes(20_000), codec: .none))
        }
        #expect(codec?.code == .usage)
    }

    /// A checkpoint without matrices holds any rate.
    @Test(arguments: [RateGoal.bits(4), .averageBits(4), .relativeMSE(0.01)])
    func nothingToHold(goal: RateGoal) async throws {
        let (report, _) = try await convert([[SampleTensor("norm.weight", .f16, [40])]], goal)
        #expect(report.tensors.isEmpty && report.keptCount == 1)
    }
}

extension WeightKind {
    /// Whether size and error follow the step smoothly, at every rate.
    fileprivate var isSmooth: Bool {
        switch self {
        case .gaussian, .scaled, .heavy: true
        case .rising, .sparse, .discrete, .offset: false
        }
    }
}
