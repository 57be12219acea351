import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `source-metadata.gguf`: the metadata of a GGUF source in the output.
@Suite struct SourceMetadataFileTests {
    static let name = "source-metadata.gguf"
    static let matrices = [
        SampleTensor("blk.0.ffn_up.weight", .f16, [40, 64]), SampleTensor("blk.0.attn_norm.weight", .f32, [64]),
    ].map(GGUFSample.Tensor.init)

    /// Entries of all kinds: numbers, a text that is not UTF-8, short and long arrays, of numbers and of texts.
    static let entries: [(String, UInt32, [UInt8])] = [
        ("general.architecture", 8, GGUFSample.text("llama")),
        ("llama.rope.freq_base", 6, GGUFSample.word(UInt64(Float(500_000).bitPattern), 4)),
        ("odd", 8, GGUFSample.word(2, 8) + [0xFF, 0xFE]),
        (
            "tokens", 9,
            GGUFSample.word(8, 4) + GGUFSample.word(1000, 8) + (0..<1000).flatMap { GGUFSample.text("t\($0)") }
        ),
        (
            "scores", 9,
            GGUFSample.word(6, 4) + GGUFSample.word(1000, 8) + (0..<4000).map { UInt8(truncatingIfNeeded: $0) }
        ),
        ("flag", 7, [1]), ("general.alignment", 4, GGUFSample.word(32, 4)),
    ]

    /// The bytes of a file with entries and no tensors, by the specification of the format.
    static func file(_ entries: [(String, UInt32, [UInt8])]) -> [UInt8] {
        Array("GGUF".utf8) + GGUFSample.word(3, 4) + GGUFSample.word(0, 8) + GGUFSample.word(UInt64(entries.count), 8)
            + entries.flatMap { GGUFSample.text($0.0) + GGUFSample.word(UInt64($0.1), 4) + $0.2 }
    }

    @Test("The entries have the bytes and the order of the source, and the manifest lists the file") func bytes()
        async throws
    {
        let directory = try TemporaryDirectory()
        let source = directory.at("m.gguf")
        try GGUFSample.write(SourceMetadataFileTests.matrices, metadata: SourceMetadataFileTests.entries, to: source)
        let report = try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(!report.warnings.contains { $0.message.contains("not carried over") })
        let path = directory.at("sealed").appending(SourceMetadataFileTests.name)
        let expected = SourceMetadataFileTests.file(SourceMetadataFileTests.entries)
        #expect(try Files.read(path) == expected)
        let checkpoint = try SealedCheckpoint(directory.at("sealed"))
        let entry = try #require(checkpoint.manifest.files.first { $0.name == SourceMetadataFileTests.name })
        #expect(!entry.isShard && entry.byteCount == UInt64(expected.count))
        #expect(entry.hash == ContentHash(of: expected.span) && checkpoint.warnings.isEmpty)
        // It is a GGUF file, for Ingot too.
        let header = try GGUFFile.readHeader(MappedFile.open(path))
        #expect(header.tensors.isEmpty && header.metadata.map(\.key) == SourceMetadataFileTests.entries.map(\.0))
        #expect(
            header.metadata.map(\.value) == (try GGUFFile.readHeader(MappedFile.open(source))).metadata.map(\.value))
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).failures.isEmpty)
    }

    @Test("A split file gives the metadata of its first part, without what says how it was split") func split()
        async throws
    {
        let directory = try TemporaryDirectory()
        let source = directory.at("source")
        try Directory.create(source)
        let entries = SourceMetadataFileTests.entries
        try GGUFSample.write(
            [SourceMetadataFileTests.matrices[0]],
            metadata: Array(entries[..<2]) + GGUFSample.split(0, of: 2, tensors: 2) + entries[2...],
            to: source.appending("m-00001-of-00002.gguf"))
        try GGUFSample.write(
            [SourceMetadataFileTests.matrices[1]],
            metadata: GGUFSample.split(1, of: 2, tensors: 2) + [("more", 7, [0])],
            to: source.appending("m-00002-of-00002.gguf"))
        let report = try await Verbs.convert(source, to: directory.at("sealed"))
        let found = try Files.read(directory.at("sealed").appending(SourceMetadataFileTests.name))
        #expect(found == SourceMetadataFileTests.file(entries))
        let warnings = report.warnings.filter { $0.message.contains("not carried over") }
        #expect(warnings.count == 1 && warnings[0].message.hasPrefix("1 metadata"))
    }

    @Test("No metadata, or only that of a part, makes no file") func none() async throws {
        let directory = try TemporaryDirectory()
        try GGUFSample.write(SourceMetadataFileTests.matrices, to: directory.at("m.gguf"))
        try GGUFSample.write(
            SourceMetadataFileTests.matrices, metadata: GGUFSample.split(0, of: 1, tensors: 2),
            to: directory.at("n.gguf"))
        for name in ["m", "n"] {
            try await Verbs.convert(directory.at(name + ".gguf"), to: directory.at(name))
            #expect(Files.names(directory.at(name)) == ["ingot-manifest.json", "model.safetensors"])
        }
    }

    @Test("A file of the name in the source is not copied, and is no second GGUF file") func reserved() async throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("source")
        try Directory.create(source)
        try GGUFSample.write(
            SourceMetadataFileTests.matrices, metadata: SourceMetadataFileTests.entries,
            to: source.appending("m.gguf"))
        try Files.write("other", to: source.appending(SourceMetadataFileTests.name))
        let report = try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(report.skipped.contains { $0.name == SourceMetadataFileTests.name })
        let found = try Files.read(directory.at("sealed").appending(SourceMetadataFileTests.name))
        #expect(found == SourceMetadataFileTests.file(SourceMetadataFileTests.entries))
        // Files below a folder of the name would have no place.
        try Directory.removeFile(source.appending(SourceMetadataFileTests.name))
        try Directory.create(source.appending(SourceMetadataFileTests.name))
        try Files.write("x", to: source.appending(SourceMetadataFileTests.name).appending("x"))
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("again")) }
        #expect(error?.code == .cannotCreate && error?.file?.hasSuffix("gguf/x") == true)
    }

    @Test("A file that was damaged or lost later is found") func damaged() async throws {
        let directory = try TemporaryDirectory()
        try GGUFSample.write(
            SourceMetadataFileTests.matrices, metadata: SourceMetadataFileTests.entries, to: directory.at("m.gguf"))
        try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"))
        let path = directory.at("sealed").appending(SourceMetadataFileTests.name)
        var bytes = try Files.read(path)
        bytes[200] ^= 1
        try Files.write(bytes, to: path)
        let checkpoint = try SealedCheckpoint(directory.at("sealed"))
        #expect(try await Verbs.failure { try checkpoint.checkFiles() }?.code == .fileHash)
        try Directory.removeFile(path)
        #expect(try await Verbs.failure { try checkpoint.checkFiles() }?.code == .missingShard)
    }

    @Test("A run that is resumed writes it from the source, which must be the same") func resumed() async throws {
        let directory = try TemporaryDirectory()
        let (source, target) = (directory.at("m.gguf"), directory.at("sealed"))
        try GGUFSample.write(
            SourceMetadataFileTests.matrices, metadata: SourceMetadataFileTests.entries, to: source)
        let watch = CallWatch { _, call in
            call.name == "pwrite" && call.path.hasSuffix(SourceMetadataFileTests.name + ".ingot-tmp") ? .ioError : nil
        }
        let error = try await watch.run { try await Verbs.failure { try await Verbs.convert(source, to: target) } }
        #expect(error?.code == .inputOutput)
        let report = try await Verbs.convert(source, to: target)
        #expect(report.resumedShards == 1)
        let found = try Files.read(target.appending(SourceMetadataFileTests.name))
        #expect(found == SourceMetadataFileTests.file(SourceMetadataFileTests.entries))
    }

    @Test("A plan counts it") func plan() async throws {
        let directory = try TemporaryDirectory()
        try GGUFSample.write(
            SourceMetadataFileTests.matrices, metadata: SourceMetadataFileTests.entries, to: directory.at("m.gguf"))
        try GGUFSample.write(SourceMetadataFileTests.matrices, to: directory.at("n.gguf"))
        func plan(_ name: String) throws -> ConversionPlan {
            try ConversionPlan(ConversionPlan.openSource(directory.at(name)), Verbs.options(.trellis))
        }
        let count = UInt64(SourceMetadataFileTests.file(SourceMetadataFileTests.entries).count)
        let (with, without) = (try plan("m.gguf"), try plan("n.gguf"))
        #expect(try await ConversionForecast(with, sampling: false).companionBytes == count)
        #expect(try await ConversionForecast(without, sampling: false).companionBytes == 0)
        // A target size holds for all files together.
        var options = Verbs.options(.trellis)
        let size: UInt64 = 20_000
        options.encoding.goal = .totalBytes(size)
        try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"), options)
        let files = Files.names(directory.at("sealed"))
        let total = try files.reduce(0) { try $0 + Files.read(directory.at("sealed").appending($1)).count }
        #expect(total <= size && files.contains(SourceMetadataFileTests.name))
    }
}
