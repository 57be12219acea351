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

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Values that are hard to quantize: not finite, too large, too small, all the same.
@Suite struct ValueTests {
    private func source(_ tensors: [SampleTensor], in directory: TemporaryDirectory) throws -> FilePath {
        try SampleSource.write([tensors], to: directory.at("source"))
    }

    // MARK: - NaN and infinity

    /// V01: a weight that is not finite fails the conversion, which counts them and says where the first is.
    @Test(arguments: FloatFormat.allCases, [Float.nan, .infinity, -.infinity])
    func nonFiniteFails(format: FloatFormat, value: Float) async throws {
        let directory = try TemporaryDirectory()
        var tensor = SampleTensor("layers.3.weight", format, [6, 50])
        let bytes = FloatBytes.encode(value, format)
        for index in [4 * 50 + 17, 5 * 50 + 3] {
            tensor.bytes.replaceSubrange(index * format.byteWidth..<(index + 1) * format.byteWidth, with: bytes)
        }
        let source = try source([SampleTensor("layers.2.weight", format, [6, 50]), tensor], in: directory)
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed")) }
        #expect(error?.code == .nonFinite)
        #expect(error?.code.kind == .badData)
        #expect(error?.tensor == TensorName("layers.3.weight"))
        #expect(error?.file?.hasSuffix("model.safetensors") == true)
        let counts = value.isNaN ? "2 NaN and 0 infinite" : "0 NaN and 2 infinite"
        #expect(error?.found == "\(counts) values, the first at row 4, column 17")
        #expect(Files.names(directory.path) == ["source"])
    }

    /// Rows and columns are right in the last of several chunks, too, and the count is the whole tensor's.
    @Test func nonFiniteInALaterChunk() async throws {
        let directory = try TemporaryDirectory()
        var values = [Float](repeating: 0.5, count: 900 * 600)
        values[600 * 700 + 5] = .nan
        values[600 * 899 + 599] = .infinity
        let source = try source([SampleTensor("a.weight", .bf16, [900, 600], values: values)], in: directory)
        let error = try await Verbs.failure {
            try await Verbs.convert(source, to: directory.at("sealed"), Verbs.options(jobs: 2))
        }
        #expect(error?.found == "1 NaN and 1 infinite values, the first at row 700, column 5")
    }

    /// V01: where they are to be kept, their tensor is stored bit for bit.
    @Test func nonFiniteKept() async throws {
        let directory = try TemporaryDirectory()
        var strange = SampleTensor("strange.weight", .f32, [4, 40])
        // A NaN with a payload: lossless means all of it.
        strange.bytes.replaceSubrange(40..<44, with: [0x12, 0x34, 0xA5, 0xFF])
        let tensors = [strange, SampleTensor("usual.weight", .f32, [4, 40])]
        let source = try source(tensors, in: directory)
        var options = Verbs.options()
        options.encoding.nonFinite = .keep
        let report = try await Verbs.convert(source, to: directory.at("sealed"), options)
        #expect(report.warnings.map(\.tensor) == [TensorName("strange.weight")])
        #expect(report.warnings.first?.message.contains("1 NaN and 0 infinite values") == true)
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        let schemes = try CheckpointReport(directory.at("sealed")).tensors.map { $0.descriptor?.scheme.name }
        #expect(schemes == ["lossless", "uniform"])
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        let restored = try Verbs.tensors(directory.at("out"))
        #expect(restored[TensorName("strange.weight")]?.bytes == strange.bytes)
    }

    /// The same under scheme `trellis`, whose chunks are tiles, whatever the goal: rows and columns are those of the tensor.
    @Test(arguments: [RateGoal.bits(4), .averageBits(3), .relativeMSE(0.01), .totalBytes(400_000)])
    func nonFiniteInTiles(goal: RateGoal) async throws {
        let directory = try TemporaryDirectory()
        var values = (0..<900 * 700).map { Float($0 % 17) - 8 }
        values[700 * 700 + 5] = .nan
        values[700 * 650 + 690] = -.infinity
        values[700 * 899 + 699] = .nan
        let tensors = [
            SampleTensor("layers.2.weight", .bf16, [64, 500]),
            SampleTensor("layers.3.weight", .bf16, [3, 300, 700], values: values),
        ]
        let source = try source(tensors, in: directory)
        var options = Verbs.options(.trellis, jobs: 2)
        options.encoding.goal = goal
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed"), options) }
        #expect(error?.code == .nonFinite && error?.code.kind == .badData)
        #expect(error?.tensor == TensorName("layers.3.weight"))
        #expect(error?.found == "2 NaN and 1 infinite values, the first at row 650, column 690")
        #expect(Files.names(directory.path) == ["source"])
        options.encoding.nonFinite = .keep
        options.encoding.goal = .bits(4)
        try await Verbs.convert(source, to: directory.at("sealed"), options)
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        let schemes = try CheckpointReport(directory.at("sealed")).tensors.map { $0.descriptor?.scheme.name }
        #expect(schemes == ["trellis", "lossless"])
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        let restored = try Verbs.tensors(directory.at("out"))
        #expect(restored[TensorName("layers.3.weight")]?.bytes == tensors[1].bytes)
    }

    /// What is not quantized may hold anything.
    @Test func nonFiniteInKeptTensors() async throws {
        let directory = try TemporaryDirectory()
        let tensors = [
            SampleTensor("norm", .f16, [3], values: [.nan, .infinity, 1]),
            SampleTensor("scalar", .f32, [], values: [-.infinity]),
            SampleTensor("doubles", .f64, [1, 1], bytes: [0, 0, 0, 0, 0, 0, 0xF8, 0x7F]),
        ]
        let source = try source(tensors, in: directory)
        let report = try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(report.warnings.isEmpty)
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        #expect(try Verbs.tensors(directory.at("out")).mapValues(\.bytes) == Verbs.tensors(source).mapValues(\.bytes))
    }

    // MARK: - Extremes

    private static let extremes: [(name: String, values: @Sendable (FloatFormat, Int) -> Float)] = [
        ("zeros", { _, _ in 0 }),
        ("minus zeros", { _, index in index % 2 == 0 ? -0.0 : 0 }),
        ("constant", { _, _ in 0.3125 }),
        ("largest", { format, _ in largest(format) }),
        ("largest of both signs", { format, index in index % 2 == 0 ? largest(format) : -largest(format) }),
        ("one outlier", { format, index in index == 5 ? largest(format) : 0.001 }),
        ("subnormal", { format, index in smallest(format) * Float(index % 7) }),
        ("subnormal of both signs", { format, index in smallest(format) * Float(index % 7 - 3) }),
        ("smallest and largest", { format, index in index % 2 == 0 ? smallest(format) : largest(format) }),
    ]

    private static func largest(_ format: FloatFormat) -> Float {
        switch format {
        case .f16: 65504
        case .bf16: Float(bitPattern: 0x7F7F_0000)
        case .f32: .greatestFiniteMagnitude
        }
    }

    private static func smallest(_ format: FloatFormat) -> Float {
        switch format {
        case .f16: Float(Float16.leastNonzeroMagnitude)
        case .bf16: Float(bitPattern: 0x0001_0000)
        case .f32: .leastNonzeroMagnitude
        }
    }

    /// V02, V03: scheme `trellis`, at low and high rates: verified, finite in the tensor's own type, and no error above what was
    /// asked for.
    @Test(arguments: FloatFormat.allCases, extremes.indices)
    func extremeValuesInATrellis(format: FloatFormat, index: Int) async throws {
        let (name, values) = ValueTests.extremes[index]
        let goals: [RateGoal] = [
            .bits(1), .bits(2), .bits(4), .bits(8), .averageBits(4), .relativeMSE(0.3), .relativeMSE(1e-5),
        ]
        for shape in [[3, 70], [300, 40]] {
            let directory = try TemporaryDirectory()
            let count = shape.reduce(1, *)
            let tensor = SampleTensor("a.weight", format, shape, values: (0..<count).map { values(format, $0) })
            let source = try source([tensor], in: directory)
            for goal in goals {
                for codec in [Codec.zstd, .rans, .none] {
                    var options = Verbs.options(.trellis, codec: codec)
                    options.encoding.goal = goal
                    options.run.force = true
                    if codec == .none, ![RateGoal.bits(2), .bits(4), .bits(8)].contains(goal) { continue }
                    let what: Comment = "\(name), \(shape), \(goal), \(codec)"
                    try await Verbs.convert(source, to: directory.at("sealed"), options)
                    let report = try await Verbs.verify(directory.at("sealed"), against: source)
                    #expect(report.holds, what)
                    let sums = try #require(report.tensors[0].certificate)
                    #expect(sums.maxError.isFinite && sums.noise.isFinite, what)
                    if name.contains("zeros") { #expect(sums.noise == 0, what) }
                    if case .relativeMSE(let error) = goal { #expect(sums.relativeMSE <= error, what) }
                    // Hardly worse than zeros, whatever the rate.
                    #expect(sums.relativeMSE < 1.1, "\(what): \(sums.relativeMSE)")
                    try await Verbs.export(directory.at("sealed"), to: directory.at("out"), force: true)
                    let restored = try #require(try Verbs.tensors(directory.at("out"))[TensorName("a.weight")])
                    let finite = (0..<count).allSatisfy { FloatBytes.decode(restored.bytes, $0, format).isFinite }
                    #expect(finite, what)
                }
            }
        }
    }

    /// Weights thousands of times the others are stored as they are, not clipped, and do not cost the others their bits.
    @Test(arguments: FloatFormat.allCases, [2.0, 4, 8])
    func outliersInATrellis(format: FloatFormat, bits: Double) async throws {
        let directory = try TemporaryDirectory()
        var tensor = SampleTensor("a.weight", format, [600, 500], .gaussian)
        let places = [0, 77_777, 299_999]
        for index in places {
            let bytes = FloatBytes.encode(index == 77_777 ? -200 : 200, format)
            tensor.bytes.replaceSubrange(index * format.byteWidth..<(index + 1) * format.byteWidth, with: bytes)
        }
        let source = try source([tensor], in: directory)
        var options = Verbs.options(.trellis)
        options.encoding.goal = .bits(bits)
        let report = try await Verbs.convert(source, to: directory.at("sealed"), options)
        #expect(report.tensors[0].bitsPerWeight <= bits && report.tensors[0].bitsPerWeight >= bits * 0.99)
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        let restored = try #require(try Verbs.tensors(directory.at("out"))[TensorName("a.weight")])
        for index in places {
            #expect(abs(FloatBytes.decode(restored.bytes, index, format)) == 200, "\(index)")
        }
        // Without the outliers, the relative MSE is that of a Gaussian matrix at the rate.
        let noise = report.tensors[0].descriptor.sums.noise / 300_000 / 0.0004
        #expect(noise < 1.3 * exp2(-2 * (bits - 0.1)), "\(noise)")
    }

    /// V02, V03: constant and zero blocks, tails, subnormals, both zeros, the largest numbers: finite, and what the certificate says.
    @Test(arguments: FloatFormat.allCases, extremes.indices)
    func extremeValues(format: FloatFormat, index: Int) async throws {
        let (name, values) = ValueTests.extremes[index]
        for symmetric in [false, true] {
            for bits in [2, 4, 8] {
                let directory = try TemporaryDirectory()
                let tensor = SampleTensor(
                    "a.weight", format, [3, 70], values: (0..<210).map { values(format, $0) })
                let source = try source([tensor], in: directory)
                let options = Verbs.options(bits: bits, symmetric: symmetric)
                try await Verbs.convert(source, to: directory.at("sealed"), options)
                let report = try await Verbs.verify(directory.at("sealed"), against: source)
                #expect(report.holds, "\(name), \(bits) bits")
                let sums = try #require(report.tensors[0].certificate)
                #expect(sums.maxError.isFinite && sums.noise.isFinite, "\(name), \(bits) bits")
                if name.contains("zeros") || name == "constant" && !symmetric {
                    #expect(sums.noise == 0, "\(name), \(bits) bits, symmetric \(symmetric)")
                }
                try await Verbs.export(directory.at("sealed"), to: directory.at("out"), as: .f32)
                let restored = try #require(try Verbs.tensors(directory.at("out"))[TensorName("a.weight")])
                let finite = (0..<210).allSatisfy { FloatBytes.decode(restored.bytes, $0, .f32).isFinite }
                #expect(finite, "\(name), \(bits) bits")
            }
        }
    }

    @Test(arguments: [Float(-3.4e38), 65520])
    func keptValueTooLargeForF16(value: Float) async throws {
        let directory = try TemporaryDirectory()
        let tensors = [
            SampleTensor("a.weight", .f16, [2, 40]), SampleTensor("norm.weight", .f32, [2], values: [1, value]),
        ]
        let target = directory.at("sealed")
        try await Verbs.convert(SampleSource.write([tensors], to: directory.at("source")), to: target)
        let error = try await Verbs.failure { try await Verbs.export(target, to: directory.at("out"), as: .f16) }
        #expect(error?.code == .valueOutOfRange)
        #expect(error?.tensor == TensorName("norm.weight"))
        #expect(error?.file == target.appending("model.safetensors").string)
        #expect(Files.names(directory.path) == ["sealed", "source"])
        try await Verbs.export(target, to: directory.at("out"), as: .f32)
    }
}
