import Checkpoints
import Container
import Conversion
import FileAccess
import Foundation
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Checkpoints that once were read wrongly: each stays refused, or stays fine.
@Suite struct RegressionTests {
    /// A converted checkpoint of two shards.
    private struct Sample {
        let directory: TemporaryDirectory
        let path: FilePath

        init() async throws {
            directory = try TemporaryDirectory()
            path = directory.at("sealed")
            try await Verbs.convert(
                SampleSource.write(SampleSource.small(), to: directory.at("source")), to: path)
        }

        func failure() async throws -> IngotError? {
            try await Verbs.failure { try await Verbs.verify(path) }
        }

        func link(_ name: String, to target: String) throws {
            try FileManager.default.createSymbolicLink(
                atPath: path.appending(name).string, withDestinationPath: target)
        }
    }

    // MARK: - Tables

    /// Under scheme `lossless`, F16: an entry of 64 bytes a chunk, and two streams of a byte each at least.
    @Test(
        arguments: [[600_000_000, 262_144], [1, 1 << 61], [1 << 61, 1], [2, 262_144]], [UInt64(64), 192])
    func shapeWithoutRoomForItsTable(shape: [Int], payload: UInt64) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("hollow")
        try HollowCheckpoint.write(shape: shape, frontBytes: 64, payloadBytes: payload, to: path)
        let error = try await Verbs.failure { try await Verbs.verify(path) }
        #expect(error?.code == .payloadInvalid && error?.code.kind == .badData)
        #expect(error?.tensor == TensorName(HollowCheckpoint.tensor))
    }

    /// 2^22 chunks are the most there can be, whatever room there is.
    @Test(arguments: [(2, false), (1 << 22, false), (1 << 22 + 1, true)])
    func tooManyChunks(count: Int, refused: Bool) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("hollow")
        let front = UInt64(64 + 64 * count)
        try HollowCheckpoint.write(
            shape: [count, 262_144], frontBytes: front, payloadBytes: front + UInt64(64 * count), to: path)
        let error = try await Verbs.failure { _ = try SealedCheckpoint(path) }
        #expect(error?.code == (refused ? .payloadInvalid : nil), "\(String(describing: error))")
        #expect(error == nil || error?.tensor == TensorName(HollowCheckpoint.tensor))
    }

    // MARK: - Manifest and seal

    @Test func manifestThatNamesAFileTwice() async throws {
        let sample = try await Sample()
        let manifest = try Manifest.read(sample.path)
        for file in manifest.files {
            let forged = Manifest(
                files: manifest.files + [file], options: manifest.options, sourceBytes: manifest.sourceBytes,
                codecs: manifest.codecs)
            try Files.write(forged.encoded(), to: sample.path.appending(Manifest.fileName))
            let error = try await sample.failure()
            #expect(error?.code == .manifestInvalid && error?.code.kind == .badData, "\(file.name)")
        }
    }

    @Test func manifestOfMoreThanEightMebibytes() async throws {
        let sample = try await Sample()
        let manifest = try Manifest.read(sample.path)
        let other = manifest.encoded().count - manifest.codecs.utf8.count
        for (size, refused) in [(8 << 20, false), (8 << 20 + 1, true)] {
            let forged = Manifest(
                files: manifest.files, options: manifest.options, sourceBytes: manifest.sourceBytes,
                codecs: String(repeating: "x", count: size - other))
            let bytes = forged.encoded()
            try #require(bytes.count == size)
            try Files.write(bytes, to: sample.path.appending(Manifest.fileName))
            let error = try await sample.failure()
            #expect(error?.code == (refused ? .manifestInvalid : nil), "\(String(describing: error))")
        }
    }

    /// A tensor in two shards, with an index for either.
    @Test(arguments: [0, 1])
    func tensorInTwoShards(named: Int) async throws {
        let directory = try TemporaryDirectory()
        let name = "a.weight"
        let path = directory.at("forged")
        try Directory.create(path)
        var files: [Manifest.File] = []
        for index in 0..<2 {
            let source = try SampleSource.write(
                [[SampleTensor(name, .f16, [4, 64], seed: UInt64(index))]], to: directory.at("source\(index)"))
            let sealed = directory.at("sealed\(index)")
            try await Verbs.convert(source, to: sealed)
            let shard = try #require(try Manifest.read(sealed).files.first { $0.isShard })
            let shardName = SampleSource.shardName(index, of: 2)
            try Files.write(Files.read(sealed.appending(shard.name)), to: path.appending(shardName))
            files.append(
                Manifest.File(name: shardName, byteCount: shard.byteCount, hash: shard.hash, isShard: true))
        }
        let index = #"{"metadata":{},"weight_map":{"\#(name)":"\#(files[named].name)"}}"#
        let indexName = "model.safetensors.index.json"
        try Files.write(index, to: path.appending(indexName))
        files.append(
            Manifest.File(
                name: indexName, byteCount: UInt64(index.utf8.count), hash: ContentHash(of: Array(index.utf8).span),
                isShard: false))
        let manifest = Manifest(files: files, options: [], sourceBytes: 1024, codecs: "none")
        try Files.write(manifest.encoded(), to: path.appending(Manifest.fileName))
        let error = try await Verbs.failure { try await Verbs.verify(path) }
        #expect(error?.code == .indexMismatch && error?.code.kind == .badData)
        #expect(error?.tensor == TensorName(name))
    }

    /// A file that is all seal, its own hash right: refused for the number of its records.
    @Test func sealOfTooManyRecords() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("sealed")
        let tensors = [SampleTensor("norm.weight", .f16, [5])]
        try await Verbs.convert(SampleSource.write([tensors], to: directory.at("source")), to: path)
        var shard = try ForgedShard(path.appending("model.safetensors"))
        let count = 1_000_002
        let trailer = Array(shard.bytes.suffix(64))
        shard.bytes = [UInt8](repeating: 0, count: count * 32) + trailer
        let end = count * 32
        shard.set(UInt64(count), at: end + 12, 4)
        shard.set(UInt64(end + 64), at: end + 16)
        shard.set(0, at: end + 24)
        try shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(path) }
        #expect(error?.code == .sealInvalid && error?.code.kind == .badData)
        #expect(error?.found.contains("\(count) records") == true)
    }

    // MARK: - Strangers

    @Test(arguments: ["sub/x.safetensors", "x.safetensors", "sub/deeper/x.safetensors"])
    func unlistedShard(name: String) async throws {
        let sample = try await Sample()
        let place = sample.path.pushing(FilePath(name))
        for folder in ["sub", "sub/deeper"] where name.hasPrefix(folder + "/") {
            try Directory.create(sample.path.pushing(FilePath(folder)))
        }
        try SampleSource.writeShard([SampleTensor("a", .f16, [2])], to: place)
        let error = try await sample.failure()
        #expect(error?.code == .manifestInvalid && error?.code.kind == .badData)
        #expect(error?.file == place.string)
    }

    @Test func unlistedPipeAndDanglingLink() async throws {
        let sample = try await Sample()
        let status = unsafe mkfifo(sample.path.appending("pipe").string, 0o600)
        try #require(status == 0)
        try sample.link("dangling", to: "nowhere")
        let report = try await Verbs.verify(sample.path)
        #expect(report.holds)
        let names = ["dangling", "pipe"].map { sample.path.appending($0).string }
        #expect(report.warnings.map(\.file).filter { names.contains($0) }.sorted() == names)
    }

    @Test func danglingLinkWithAShardsName() async throws {
        let sample = try await Sample()
        try sample.link("q.safetensors", to: "nowhere")
        let error = try await sample.failure()
        #expect(error?.code == .manifestInvalid && error?.code.kind == .badData)
        #expect(error?.file == sample.path.appending("q.safetensors").string)
    }

    // MARK: - Weights

    /// Scale, code and bias are finite, and the weight is not.
    @Test(arguments: [FloatFormat.f32, .bf16])
    func infiniteWeight(format: FloatFormat) async throws {
        let largest: Float = format == .f32 ? .greatestFiniteMagnitude : Float(bitPattern: 0x7F7F_0000)
        for (scale, bias) in [(largest, 0), (largest / 16, largest), (-largest / 16, -largest)] {
            var sample = try await ForgeryTests.Sample(
                .none, tensor: SampleTensor(ForgeryTests.Sample.matrix, format, [2, 64]))
            let bytes = FloatBytes.encode(scale, format) + FloatBytes.encode(bias, format)
            for (plane, byte) in bytes.enumerated() {
                let (offset, count, _) = sample.stream(1 + plane)
                try #require(count == 4)
                sample.shard.bytes[offset + 2] = byte
            }
            let error = try await sample.failure(streams: 1 + 2 * format.byteWidth)
            #expect(error?.code == .chunkInvalid && error?.code.kind == .badData, "\(scale), \(bias)")
            #expect(error?.tensor == TensorName(ForgeryTests.Sample.matrix))
        }
    }
}
