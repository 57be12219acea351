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

/// S17: `__metadata__` of a safetensors source goes through a conversion and an export; what cannot be carried is told.
@Suite struct SourceMetadataTests {
    typealias Entry = SafetensorsHeader.MetadataEntry

    private static let tensors = [SampleTensor("a.weight", .f16, [8, 96]), SampleTensor("a.norm", .f16, [5])]

    /// A source of one file with entries of its own.
    private struct Sample {
        let directory: TemporaryDirectory
        let source: FilePath, sealed: FilePath, exported: FilePath

        init(_ metadata: [Entry]) throws {
            directory = try TemporaryDirectory()
            (source, sealed) = (directory.at("source.safetensors"), directory.at("sealed"))
            exported = directory.at("exported")
            try SampleSource.writeShard(SourceMetadataTests.tensors, to: source, metadata: metadata)
        }

        /// Converts and exports; the metadata of the export without the entries that mark it as one.
        func roundTrip() async throws -> [Entry] {
            try await Verbs.convert(source, to: sealed)
            try await Verbs.verify(sealed, against: source)
            try await Verbs.export(sealed, to: exported)
            let shard = try #require(try Checkpoint.open(exported).shards.first)
            return shard.header.metadata.filter { !["exported_by", "exported_files"].contains($0.key) }
        }

        var carried: [Entry] {
            get throws { try SealedCheckpoint(sealed).shards[0].sourceMetadata }
        }
    }

    static let cases: [[Entry]] = [
        [Entry("license", "mit")],
        [Entry("format", "pt"), Entry("license", "cc-by-4.0"), Entry("ss_network_dim", "32")],
        [Entry("zebra", ""), Entry("apple", "\"q\" \\ \n \u{1}"), Entry("é", "e\u{301}"), Entry("", "empty key")],
        [Entry("format", "mlx")],
        [
            Entry("ingot", "{}"), Entry("ingot:a.weight", "x"), Entry("__metadata__", "{}"),
            Entry("ingot-source-metadata", "y"),
        ],
        [Entry("modelspec.hash_sha256", String(repeating: "0123456789abcdef", count: 20_000))],
    ]

    /// Everything is there again, in the order of the source; a source that names no format gets the usual one.
    @Test(arguments: cases) func carriedOver(metadata: [Entry]) async throws {
        let sample = try Sample(metadata)
        let found = try await sample.roundTrip()
        let format = metadata.value(of: "format") == nil ? [Entry("format", "pt")] : []
        #expect(found == format + metadata)
        #expect(try sample.carried == metadata)
        #expect(try CheckpointReport(sample.sealed).files[0].metadata.map(\.key) == metadata.map(\.key))
    }

    /// `format: pt` alone tells nothing: the header is that of a source without any.
    @Test func usualFormat() async throws {
        let sample = try Sample([Entry("format", "pt")])
        #expect(try await sample.roundTrip() == [Entry("format", "pt")])
        let other = try Sample([])
        #expect(try await other.roundTrip() == [Entry("format", "pt")])
        #expect(try sample.carried.isEmpty)
        #expect(
            try Files.snapshot(sample.sealed)["model.safetensors"] == Files.snapshot(other.sealed)["model.safetensors"])
    }

    /// An export converted again carries the entries of the first source, and the marks of the last export once.
    @Test func again() async throws {
        let metadata = SourceMetadataTests.cases[1]
        let first = try Sample(metadata)
        _ = try await first.roundTrip()
        let sealed = first.directory.at("again")
        try await Verbs.convert(first.exported, to: sealed)
        try await Verbs.export(sealed, to: first.directory.at("exported again"))
        let shard = try #require(try Checkpoint.open(first.directory.at("exported again")).shards.first)
        #expect(shard.header.metadata.map(\.key) == metadata.map(\.key) + ["exported_by", "exported_files"])
    }

    /// Each shard has its own entries.
    @Test func eachShard() async throws {
        let place = try ShardedPlace()
        for position in 0..<ShardedPlace.count {
            try SampleSource.writeShard(
                ShardedPlace.shards()[position], to: place.sourceShard(position),
                metadata: [Entry("part", String(position)), Entry("format", "pt")])
        }
        // They are not lost with a source that is consumed, nor with one that is waited for.
        try await place.convert {
            $0.run.consumesSource = true
            $0.run.follows = true
        }
        let found = try SealedCheckpoint(place.target).shards.map { $0.sourceMetadata.value(of: "part") }
        #expect(found == ["0", "1", "2"])
    }

    /// What would make a header that no reader takes is refused before anything is written.
    @Test func hugeMetadata() async throws {
        // Quotes are escaped, and again in the text of the member: four bytes for one.
        let sample = try Sample([Entry("a", String(repeating: "\"", count: 30_000_000))])
        let error = try await Verbs.failure { try await Verbs.convert(sample.source, to: sample.sealed) }
        #expect(error?.code == .headerTooLarge && error?.found.contains("__metadata__") == true)
        #expect(error?.file == sample.source.string)
        #expect(Files.names(sample.directory.path) == ["source.safetensors"])
    }

    // MARK: - What cannot be carried

    /// Adds a field to the entry of a tensor of a source.
    private static func addField(to path: FilePath) throws {
        let bytes = try Files.read(path)
        let length = (0..<8).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
        let text = String(decoding: bytes[8..<8 + length], as: UTF8.self)
        let place = try #require(text.firstRange(of: "{\"dtype\""))
        let header = Array((text[..<place.lowerBound] + "{\"scale\":0.5,\"dtype\"" + text[place.upperBound...]).utf8)
        let count = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
        try Files.write(count + header + bytes[(8 + length)...], to: path)
    }

    /// A field that the format does not have is told, also of a source that is waited for.
    @Test(arguments: [false, true]) func unknownFieldIsTold(follows: Bool) async throws {
        let place = try ShardedPlace()
        try SourceMetadataTests.addField(to: place.sourceShard(1))
        let report = try await place.convert { $0.run.follows = follows }
        let told = report.warnings.filter { $0.message.contains("`scale`") }
        #expect(told.map(\.file) == [place.sourceShard(1).string])
    }

    /// Consumed is no source that has more than is carried over.
    @Test(arguments: [false, true]) func unknownFieldIsNotConsumed(follows: Bool) async throws {
        let place = try ShardedPlace()
        try SourceMetadataTests.addField(to: place.sourceShard(1))
        let error = try await place.failure {
            $0.run.consumesSource = true
            $0.run.follows = follows
        }
        #expect(error?.code == .unsupportedSource && error?.tensor != nil, "\(String(describing: error))")
        #expect(error?.file == place.sourceShard(1).string)
        #expect(error?.found.contains("`scale`") == true && error?.found.contains("lost") == true)
        #expect(FileIdentity(place.sourceShard(1)) != nil)
        if !follows { #expect(FileIdentity(place.sourceShard(0)) != nil) }
    }
}
