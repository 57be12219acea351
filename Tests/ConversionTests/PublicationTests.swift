import Container
import Conversion
import ConversionSupport
import FileAccess
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What is asked before a conversion publishes.
@Suite struct PublicationTests {
    private func convert(
        _ place: ShardedPlace, _ check: @escaping @Sendable (FilePath, ConversionReport) async throws -> Void
    ) async throws -> ConversionReport {
        var converter = try Converter(place.source, to: place.target, place.options)
        converter.beforePublishing = check
        let prepared = converter
        return try await Verbs.whenUnlocked { try await prepared.run() }
    }

    /// The directory is whole when it is asked for; a claim that fails keeps it, other errors of the check do not.
    @Test func refused() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let seen = Mutex<[String: [UInt8]]>([:])
        let error = try await Verbs.failure {
            _ = try await convert(place) { path, report in
                let files = try Files.snapshot(path)
                seen.withLock { $0 = files }
                #expect(report.shardCount == ShardedPlace.count && report.companionBytes > 0)
                throw IngotError(.claimFailed, found: "no")
            }
        }
        #expect(error?.code == .claimFailed && error?.remedy.text.contains("3 of 3 shards are done") == true)
        #expect(seen.withLock { $0 } == expected)
        #expect(place.leftovers == [".sealed.ingot-journal", ".sealed.ingot-partial"])
        let report = try await place.convert()
        #expect(report.resumedShards == 3)
        try place.expectFinished(expected)
    }

    /// A source that changes while the output is checked is not what was converted.
    @Test func sourceChanged() async throws {
        let place = try ShardedPlace()
        let error = try await Verbs.failure {
            _ = try await convert(place) { _, _ in try Files.patch([1], at: 9, in: place.sourceShard(1)) }
        }
        #expect(error?.code == .sourceChanged)
        #expect(Files.names(place.target).isEmpty)
    }

    /// Where an earlier run had published, the target itself is asked for.
    @Test func publishedEarlier() async throws {
        let place = try ShardedPlace()
        try await place.kill(at: place.isRemovingJournal)
        #expect(Files.names(place.directory.path).contains("sealed"))
        let asked = Mutex<[FilePath]>([])
        _ = try await convert(place) { path, _ in asked.withLock { $0.append(path) } }
        #expect(asked.withLock { $0 } == [place.target])
        #expect(place.leftovers.isEmpty)
    }
}
