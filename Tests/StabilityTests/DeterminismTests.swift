import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Kernels
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

/// The bytes written depend on source and options alone; a verification notices every other source.
@Suite struct DeterminismTests {
    private static let tensors: [[SampleTensor]] = [
        [
            SampleTensor("a.weight", .bf16, [1100, 500]), SampleTensor("b.weight", .f16, [3, 70]),
            SampleTensor("norm", .f16, [31]),
        ],
        [SampleTensor("c.weight", .f32, [600, 700]), SampleTensor("d.weight", .f16, [2, 262_200])],
    ]

    @Test(arguments: [
        (EncodingOptions.Scheme.uniform, UniformScales.searched), (.uniform, .minmax), (.lossless, .searched),
    ])
    func jobsAndMemoryDoNotMatter(scheme: EncodingOptions.Scheme, scales: UniformScales) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(DeterminismTests.tensors, to: directory.at("source"))
        var expected: [String: [UInt8]]?
        for (jobs, memory) in [(1, UInt64(256) << 20), (2, 256 << 20), (1, Verbs.minimumMemory), (5, 72 << 20)] {
            var options = Verbs.options(scheme, scales: scales, jobs: jobs)
            options.run.memory = memory
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

    /// Rows and columns of unlike scale, in 48 tiles, so that the step of the later ones follows from the sizes of the first.
    private static let large = SampleTensor("large.weight", .bf16, [4096, 3072], .scaled, seed: 5)

    /// Scheme `trellis`: whatever the jobs and the memory, and with every goal.
    @Test(arguments: [RateGoal.bits(3.3), .averageBits(2.6), .relativeMSE(4e-3), .totalBytes(6_000_000)])
    func jobsAndMemoryDoNotMatter(goal: RateGoal) async throws {
        let directory = try TemporaryDirectory()
        var shards = DeterminismTests.tensors
        shards[0].insert(DeterminismTests.large, at: 0)
        let source = try SampleSource.write(shards, to: directory.at("source"))
        var expected: [String: [UInt8]]?
        for (jobs, memory) in [(2, UInt64(256) << 20), (1, Verbs.minimumMemory), (5, 1 << 30), (3, 100 << 20)] {
            var options = Verbs.options(.trellis, jobs: jobs)
            options.encoding.goal = goal
            options.run.memory = memory
            let target = directory.at("jobs\(jobs)-\(memory)")
            let report = try await Verbs.convert(source, to: target, options)
            let files = try Files.snapshot(target)
            try Directory.removeTree(target)
            #expect(report.tensors.first?.name == TensorName("large.weight"))
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

    #if os(Linux)
        /// Each instruction set in a process of its own, as the choice is global.
        @Test func instructionSetsDoNotMatter() async throws {
            let directory = try TemporaryDirectory()
            var shards = DeterminismTests.tensors
            shards[0].insert(DeterminismTests.large, at: 0)
            let source = try SampleSource.write(shards, to: directory.at("source"))
            var expected: [String: [UInt8]]?
            for set in Kernels.availableInstructionSets {
                let (from, to, name) = (source.string, directory.at(set.rawValue).string, set.rawValue)
                await #expect(processExitsWith: .success) {
                    [from = from as String, to = to as String, name = name as String] in
                    guard let set = Kernels.InstructionSet(rawValue: name), Kernels.use(set) else { exit(2) }
                    for (part, goal, codec) in [
                        ("bits", RateGoal.bits(3.3), Codec.zstd), ("error", .relativeMSE(2e-4), .zstd),
                        ("rans", .bits(3.3), .rans),
                    ] {
                        var options = Verbs.options(.trellis, codec: codec, jobs: 2)
                        options.encoding.goal = goal
                        options.run.force = true
                        try await Verbs.convert(FilePath(from), to: FilePath(to + part), options)
                    }
                }
                var files: [String: [UInt8]] = [:]
                for part in ["bits", "error", "rans"] {
                    for (file, bytes) in try Files.snapshot(FilePath(to + part)) { files[part + file] = bytes }
                }
                expected = expected ?? files
                #expect(files == expected, "\(set)")
            }
        }
    #endif

    /// Of a large tensor the steps of the later chunks follow from the sizes of those before.
    @Test func stepsFollowTheSizes() async throws {
        let directory = try TemporaryDirectory()
        // The first band needs fewer bits than the sample, which is of other bands, lets expect.
        var tensor = SampleTensor("a.weight", .bf16, [4096, 3072], .gaussian)
        for index in 0..<512 * 3072 * 2 where index % 8 < 6 { tensor.bytes[index] = 0 }
        let source = try SampleSource.write([[tensor]], to: directory.at("source"))
        var options = Verbs.options(.trellis, jobs: 2)
        options.encoding.goal = .bits(3)
        let report = try await Verbs.convert(source, to: directory.at("sealed"), options)
        let bits = report.tensors[0].bitsPerWeight
        #expect(bits <= 3 && bits >= 2.985, "\(bits)")
        let shard = try SealedShard(directory.at("sealed").appending("model.safetensors"))
        let table = try shard.chunkTable(of: shard.payloads[0])
        let steps = try (0..<table.count).map { try table.entry($0).step }
        #expect(steps.count == 48)
        #expect(Set(steps.prefix(32)).count == 1, "\(steps)")
        #expect(zip(steps.dropFirst(32), steps).allSatisfy { ($0 ?? 0) < ($1 ?? 0) }, "\(steps)")
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
        options.run.memory = Verbs.minimumMemory - 1
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("x"), options) }
        #expect(error?.code == .usage)
        #expect(Files.names(directory.path) == ["source"])
    }

    // MARK: - Other sources

    /// C06: Sources that differ from the converted one in one respect each.
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
        #expect(report.failures.allSatisfy { $0.code == .sourceMismatch && $0.code.kind == .disagreement })
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
