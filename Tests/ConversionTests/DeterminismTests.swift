import Checkpoints
import Container
import Conversion
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// The bytes written depend on source and options alone; a verification notices every other source.
@Suite struct DeterminismTests {
    private static let tensors: [[SampleTensor]] = [
        [
            SampleTensor("a.weight", .bf16, [1100, 500]), SampleTensor("b.weight", .f16, [3, 70]),
            SampleTensor("norm", .f16, [31]),
        ],
        [SampleTensor("c.weight", .f32, [600, 700]), SampleTensor("d.weight", .f16, [2, 262_200])],
    ]

    @Test(arguments: [ConversionOptions.Scheme.uniform, .lossless])
    func jobsAndMemoryDoNotMatter(scheme: ConversionOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(DeterminismTests.tensors, to: directory.at("source"))
        var expected: [String: [UInt8]]?
        for (jobs, memory) in [(1, UInt64(256) << 20), (2, 256 << 20), (1, Verbs.leastMemory), (5, 30 << 20)] {
            var options = Verbs.options(scheme, jobs: jobs)
            options.memory = memory
            let target = directory.at("jobs\(jobs)-\(memory)")
            try await Verbs.convert(source, to: target, options)
            let files = try Files.snapshot(target)
            if let expected {
                #expect(files == expected, "\(jobs) jobs, \(memory) bytes")
            } else {
                expected = files
            }
        }
    }

    /// The place of a source, and what its files are called, leave no trace in the shards.
    @Test func placesDoNotMatter() async throws {
        let directory = try TemporaryDirectory()
        let tensors = [SampleTensor("a.weight", .f16, [20, 64])]
        try SampleSource.write([tensors], to: directory.at("source"))
        try SampleSource.writeShard(tensors, to: directory.at("other-name.safetensors"))
        try await Verbs.convert(directory.at("source"), to: directory.at("one"))
        try await Verbs.convert(directory.at("other-name.safetensors"), to: directory.at("two"))
        #expect(
            try Files.read(directory.at("one").appending("model.safetensors"))
                == Files.read(directory.at("two").appending("model.safetensors")))
    }

    @Test func tooLittleMemory() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(DeterminismTests.tensors, to: directory.at("source"))
        var options = Verbs.options()
        options.memory = Verbs.leastMemory - 1
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("x"), options) }
        #expect(error?.code == .usage)
        #expect(Files.names(directory.path) == ["source"])
    }

    // MARK: - Other sources

    /// Sources that differ from the converted one in one respect each.
    @Test(arguments: ["weight", "kept", "shape", "type", "missing", "additional", "renamed"])
    func anotherSource(change: String) async throws {
        let directory = try TemporaryDirectory()
        var tensors = [
            SampleTensor("a.weight", .f16, [8, 64]), SampleTensor("b.weight", .f16, [8, 64]),
            SampleTensor("norm", .f16, [8]),
        ]
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("sealed"))
        var culprits = ["b.weight"]
        switch change {
        case "weight": tensors[1].bytes[77] ^= 1
        case "kept":
            tensors[2].bytes[3] ^= 1
            culprits = ["norm"]
        case "shape": tensors[1].shape = [16, 32]
        case "type": tensors[1].type = .bf16
        case "missing": tensors.remove(at: 1)
        case "additional":
            tensors.append(SampleTensor("c.weight", .f16, [8, 64]))
            culprits = ["c.weight"]
        default:
            tensors[1].name = "B.weight"
            culprits = ["b.weight", "B.weight"]
        }
        let other = try SampleSource.write([tensors], to: directory.at("other"))
        let report = try await Verbs.verify(directory.at("sealed"), against: other)
        #expect(!report.holds)
        #expect(report.failures.allSatisfy { $0.code == .sourceMismatch && $0.code.exitStatus == 1 })
        #expect(report.failures.map { $0.tensor?.text } == culprits)
    }

    /// The same tensors in another order and in other shards are the same source.
    @Test func sameTensorsInOtherShards() async throws {
        let directory = try TemporaryDirectory()
        let tensors = [SampleTensor("a.weight", .f16, [8, 64]), SampleTensor("b.weight", .f16, [8, 64])]
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        let other = try SampleSource.write([[tensors[1]], [tensors[0]]], to: directory.at("other"))
        try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(try await Verbs.verify(directory.at("sealed"), against: other).holds)
    }
}
