import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// A source of three small shards, its conversion, and what lies beside the target.
struct ShardedPlace: Sendable {
    let directory: TemporaryDirectory
    let source: FilePath
    let target: FilePath
    var options: ConversionOptions

    static let count = 3

    init(_ shards: [[SampleTensor]] = shards(), _ options: ConversionOptions = Verbs.options()) throws {
        directory = try TemporaryDirectory()
        source = try SampleSource.write(
            shards, to: directory.at("source"), companions: ["config.json": "{}\n", "tokenizer.json": "{}"])
        target = directory.at("sealed")
        self.options = options
    }

    /// What three shards of a model hold.
    static func shards(seed: UInt64 = 1) -> [[SampleTensor]] {
        SampleSource.small(seed: seed) + [
            [
                SampleTensor("model.layers.2.q_proj.weight", .f16, [6, 40], seed: seed),
                SampleTensor("model.norm.weight", .bf16, [11], seed: seed),
            ]
        ]
    }

    var work: FilePath { directory.at(".sealed.ingot-partial") }
    var journal: FilePath { directory.at(".sealed.ingot-journal") }

    static func shardName(_ position: Int) -> String { SampleSource.shardName(position, of: count) }
    static func temporaryName(_ position: Int) -> String { ".\(shardName(position)).ingot-tmp" }
    func sourceShard(_ position: Int) -> FilePath { source.appending(ShardedPlace.shardName(position)) }
    func workShard(_ position: Int) -> FilePath { work.appending(ShardedPlace.shardName(position)) }

    /// What there is beside source and target.
    var leftovers: [String] { Files.names(directory.path).filter { $0 != "source" && $0 != "sealed" } }

    @discardableResult
    func convert(_ change: (inout ConversionOptions) -> Void = { _ in }) async throws -> ConversionReport {
        var options = options
        change(&options)
        return try await Verbs.convert(source, to: target, options)
    }

    /// The error of a conversion; nil where it succeeds.
    func failure(_ change: (inout ConversionOptions) -> Void = { _ in }) async throws -> IngotError? {
        try await Verbs.failure { try await convert(change) }
    }

    /// The files that a conversion in one go makes.
    func expected(_ change: (inout ConversionOptions) -> Void = { _ in }) async throws -> [String: [UInt8]] {
        var options = options
        change(&options)
        let place = directory.at("reference")
        try await Verbs.convert(source, to: place, options)
        defer { try? Directory.removeTree(place) }
        return try Files.snapshot(place)
    }

    /// Runs a conversion that ends when the shard behind the first `finished` is written.
    func interrupt(
        after finished: Int, location: SourceLocation = #_sourceLocation,
        _ change: (inout ConversionOptions) -> Void = { _ in }
    ) async throws {
        let name = finished < ShardedPlace.count ? ShardedPlace.temporaryName(finished) : ".config.json.ingot-tmp"
        let watch = CallWatch { _, call in call.name == "pwrite" && call.path.hasSuffix(name) ? .ioError : nil }
        let error = try await watch.run { try await failure(change) }
        #expect(error?.code == .inputOutput, "\(String(describing: error))", sourceLocation: location)
        #expect(
            Files.names(work) == (0..<finished).map(ShardedPlace.shardName), "finished shards only",
            sourceLocation: location)
    }

    /// Whether a call removes the journal of a published target.
    func isRemovingJournal(_ call: SystemCall) -> Bool {
        call.name == "unlink" && call.path == journal.string && FileIdentity(target) != nil
    }

    /// Runs a conversion that finds every call from one on failing, cleaning up included, as if it were killed there.
    func kill(
        at isLast: @escaping @Sendable (SystemCall) -> Bool, _ change: (inout ConversionOptions) -> Void = { _ in }
    ) async throws {
        let isOver = Mutex(false)
        let watch = CallWatch { _, call in
            let isNow = isLast(call)
            return isOver.withLock { over in
                over = over || isNow
                return over
            } ? .ioError : nil
        }
        _ = try await watch.run { try await failure(change) }
    }

    /// Requires that the target is what a conversion in one go makes, and that nothing else is left.
    func expectFinished(
        _ expected: [String: [UInt8]], _ what: String = "", location: SourceLocation = #_sourceLocation
    ) throws {
        let files = try Files.snapshot(target)
        #expect(files.keys.sorted() == expected.keys.sorted(), "\(what)", sourceLocation: location)
        #expect(files == expected, "\(what)", sourceLocation: location)
        #expect(leftovers == [], "\(what)", sourceLocation: location)
    }

    /// Everything of a work directory and its journal, to be put back.
    func saved() throws -> [String: [UInt8]] {
        try Files.snapshot(directory.path).filter { $0.key.hasPrefix(".sealed.") }
    }

    /// Puts back what `saved` found, and removes the target.
    func restore(_ saved: [String: [UInt8]]) throws {
        for path in [target, work, journal] { try Directory.removeTree(path) }
        for (name, bytes) in saved {
            let place = directory.path.pushing(FilePath(name))
            if name.contains("/"), try Directory.kind(place.removingLastComponent()) == nil {
                try Directory.create(place.removingLastComponent())
            }
            try Files.write(bytes, to: place)
        }
    }
}

/// Collects what a conversion tells.
final class ToldEvents: Sendable {
    private let list = Mutex<[ConversionEvent]>([])

    var all: [ConversionEvent] { list.withLock { $0 } }

    var warnings: [String] {
        all.compactMap { if case .warning(let warning) = $0 { IngotErrorRenderer.text(warning) } else { nil } }
    }

    var resumed: [String] { all.compactMap { if case .resumed(let shard) = $0 { shard } else { nil } } }

    var consumed: [String] { all.compactMap { if case .consumed(let shard) = $0 { shard } else { nil } } }

    var sealed: [String] { all.compactMap { if case .sealed(let shard, _) = $0 { shard } else { nil } } }

    /// Whether the conversion has waited for a file.
    func waits(for file: String) -> Bool {
        all.contains { if case .waiting(let name, _, _) = $0 { name == file } else { false } }
    }

    /// Runs a conversion, and listens.
    @discardableResult
    func convert(
        _ place: ShardedPlace, _ change: (inout ConversionOptions) -> Void = { _ in }
    ) async throws -> ConversionReport {
        var options = place.options
        change(&options)
        var converter = try Converter(place.source, to: place.target, options)
        converter.onEvent = { [self] event in list.withLock { $0.append(event) } }
        let listening = converter
        return try await Verbs.whenUnlocked { try await listening.run() }
    }
}
