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
import Weights

/// Ranges of the elements of lossless payloads, and comparisons of codes that are stored in different forms.
@Suite struct SealedElementsTests {
    private static let chunk = ContainerFormat.chunkWeights
    /// Weights of every type, and codes; with several chunks, and with rows that are cut.
    private static let tensors = [
        QuantizedSample.codes("a.qweight", .i32, [1024, 700]), SampleTensor("a.scales", .f16, [8, 700]),
        QuantizedSample.codes("wide", .u8, [2, chunk + 75]), QuantizedSample.codes("vector", .i16, [2 * chunk + 1]),
        QuantizedSample.codes("column", .f8e4m3, [chunk + 5, 1]), SampleTensor("b.weight", .bf16, [300, 1000]),
        SampleTensor("c.weight", .f32, [3, 129]),
    ]

    /// Writes a source and converts it into `name`.sealed beside it.
    private func convert(_ directory: TemporaryDirectory, _ name: String, _ tensors: [SampleTensor] = tensors)
        async throws
    {
        try SampleSource.write([tensors], to: directory.at(name))
        try await Verbs.convert(directory.at(name), to: directory.at(name + ".sealed"), Verbs.options(.lossless))
    }

    @Test func anyRange() async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        let opened = try OpenedCheckpoint(directory.at("source.sealed"))
        var generator = SeededGenerator(3)
        for tensor in SealedElementsTests.tensors {
            let stored = try #require(opened.tensors.first { $0.name == TensorName(tensor.name) })
            let elements = try #require(try stored.sealedElements())
            #expect(elements.byteCount == UInt64(tensor.bytes.count))
            var whole = [UInt8](repeating: 0, count: tensor.bytes.count)
            try elements.read(0, count: whole.count, into: &whole)
            #expect(whole == tensor.bytes, "\(tensor.name)")
            try elements.read(elements.byteCount, count: 0, into: &whole)
            for _ in 0..<20 {
                let start = Int(generator.next() % UInt64(tensor.bytes.count))
                let count = Int(generator.next() % UInt64(min(100_000, tensor.bytes.count - start) + 1))
                var part = [UInt8](repeating: 0xEE, count: count + 5)
                try elements.read(UInt64(start), count: count, into: &part, at: 3)
                let expected: [UInt8] = [0xEE, 0xEE, 0xEE] + Array(tensor.bytes[start..<start + count]) + [0xEE, 0xEE]
                #expect(part == expected, "\(tensor.name) from \(start)")
            }
        }
    }

    /// Other tensors have no such elements.
    @Test func otherSchemes() async throws {
        let directory = try TemporaryDirectory()
        try SampleSource.write([[SampleTensor("b.weight", .bf16, [8, 64])]], to: directory.at("source"))
        try await Verbs.convert(directory.at("source"), to: directory.at("sealed"))
        for name in ["source", "sealed"] {
            #expect(try OpenedCheckpoint(directory.at(name)).tensors[0].sealedElements() == nil)
        }
    }

    /// Threads that share one decoder, or a few, read what each asked for.
    @Test(arguments: [1, 3]) func manyThreads(decoders: Int) async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        let shard = try SealedShard(directory.at("source.sealed").appending("model.safetensors"))
        let pool = ElementDecoders(count: decoders)
        let bytes = Dictionary(
            uniqueKeysWithValues: SealedElementsTests.tensors.map { (TensorName($0.name), $0.bytes) })
        let all = try shard.payloads.map { try #require(try SealedElements($0, of: shard, pool)) }
        let names = shard.payloads.map(\.name)
        let wrong = try await withThrowingTaskGroup(of: Int.self) { group in
            for worker in 0..<8 {
                group.addTask {
                    var generator = SeededGenerator(UInt64(worker))
                    var wrong = 0
                    var buffer = [UInt8](repeating: 0, count: 5000)
                    for _ in 0..<60 {
                        let index = Int(generator.next() % UInt64(all.count))
                        let expected = bytes[names[index]] ?? []
                        let count = min(5000, expected.count)
                        let start = Int(generator.next() % UInt64(expected.count - count + 1))
                        try all[index].read(UInt64(start), count: count, into: &buffer)
                        if !buffer[..<count].elementsEqual(expected[start..<start + count]) { wrong += 1 }
                    }
                    return wrong
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(wrong == 0)
    }

    /// A chunk whose bytes changed is refused, every time; the chunks beside it are read.
    @Test func damagedChunk() async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        let path = directory.at("source.sealed").appending("model.safetensors")
        let payload = try #require(try SealedShard(path).payloads.first { $0.name == TensorName("vector") })
        var bytes = try Files.read(path)
        bytes[Int(payload.range.start) + 64 + 3 * 64 + 10] ^= 1
        try Files.write(bytes, to: path)
        let shard = try SealedShard(path)
        let elements = try #require(try SealedElements(payload, of: shard, ElementDecoders(count: 2)))
        var buffer = [UInt8](repeating: 0, count: 100)
        for _ in 0..<2 {
            let error = #expect(throws: IngotError.self) { try elements.read(0, count: 100, into: &buffer) }
            #expect(error?.code == .checksum && error?.tensor == payload.name)
        }
        try elements.read(elements.byteCount - 100, count: 100, into: &buffer)
        #expect(buffer.elementsEqual(SealedElementsTests.tensors[3].bytes.suffix(100)))
    }

    // MARK: - Comparisons

    private func diff(_ old: FilePath, _ new: FilePath) async throws -> CheckpointDiff {
        var options = CheckpointDiff.Options()
        options.memory = 64 << 20
        let both = try OpenedCheckpoint.open(together: [old, new])
        return try await CheckpointDiff(both[0], both[1], options)
    }

    @Test func sameCodesInOtherForm() async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        let (source, sealed) = (directory.at("source"), directory.at("source.sealed"))
        for (old, new) in [(source, sealed), (sealed, source)] {
            let found = try await diff(old, new)
            #expect(found.isSame && !found.isIdentical)
            #expect(found.tensors.allSatisfy { $0.status == ($0.old.scheme == $0.new.scheme ? .same : .recoded) })
        }
        let itself = try await diff(sealed, sealed)
        #expect(itself.isIdentical)
        try await Verbs.convert(source, to: directory.at("other"), Verbs.options(.lossless, codec: .lz4))
        #expect(try await diff(sealed, directory.at("other")).isSame)
    }

    @Test func changedCodes() async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        var tensors = SealedElementsTests.tensors
        tensors[0].bytes[4 * 1000] ^= 1
        tensors[0].bytes[4 * 1000 + 3] ^= 1
        tensors[0].bytes[tensors[0].bytes.count - 1] ^= 1
        tensors[2].bytes[SealedElementsTests.chunk] ^= 1
        try await convert(directory, "changed", tensors)
        for new in ["changed", "changed.sealed"] {
            let found = try await diff(directory.at("source.sealed"), directory.at(new))
            #expect(!found.isSame)
            let changed = Dictionary(uniqueKeysWithValues: found.tensors.map { ($0.new.name.text, $0.changed) })
            #expect(changed["a.qweight"] == 2 && changed["wide"] == 1 && changed["vector"] == 0)
        }
        #expect(
            try await !Verbs.verify(directory.at("source.sealed"), against: directory.at("changed")).holds)
    }

    /// An export against the sealed checkpoint, and two sealed ones: codes are compared by their elements.
    @Test func comparedByWeights() async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        try await Verbs.export(directory.at("source.sealed"), to: directory.at("out"))
        func verify(_ path: FilePath, _ source: FilePath) async throws -> VerificationReport {
            let both = try OpenedCheckpoint.open(together: [path, source])
            return try await CheckpointVerification(both[0], against: both[1], memory: 64 << 20, jobs: 2).run()
        }
        #expect(try await verify(directory.at("out"), directory.at("source.sealed")).holds)
        #expect(try await verify(directory.at("source.sealed"), directory.at("source.sealed")).holds)
        var tensors = SealedElementsTests.tensors
        tensors[3].bytes[7] ^= 1
        try await convert(directory, "changed", tensors)
        let failures = try await verify(directory.at("out"), directory.at("changed.sealed")).failures
        #expect(failures.map(\.code) == [.sourceMismatch] && failures[0].tensor == TensorName("vector"))
    }

    /// `inspect` counts codes in payloads as it counts them in the source, and names bytes, scheme and type.
    @Test func statistics() async throws {
        let directory = try TemporaryDirectory()
        try await convert(directory, "source")
        func read(_ name: String) async throws -> [CheckpointReport.Tensor] {
            var report = try CheckpointReport(OpenedCheckpoint(directory.at(name), quantized: .asStored))
            try await report.readWeights(by: StatisticsReader(memory: 64 << 20, jobs: 2))
            return report.tensors.sorted { $0.stored.name < $1.stored.name }
        }
        for (plain, sealed) in zip(try await read("source"), try await read("source.sealed")) {
            #expect(plain.stored.name == sealed.stored.name && plain.stored.elementType == sealed.stored.elementType)
            #expect(plain.statistics?.minimum == sealed.statistics?.minimum)
            #expect(plain.statistics?.maximum == sealed.statistics?.maximum)
            #expect(plain.statistics?.count == sealed.statistics?.count)
            #expect(sealed.stored.scheme == "lossless" && sealed.stored.byteCount < plain.stored.byteCount)
        }
    }
}
