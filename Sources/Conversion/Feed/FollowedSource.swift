import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// A directory into which a checkpoint is still being downloaded.
///
/// The Hugging Face client writes under other names and renames what is whole; wget and its like write under the final name,
/// aria2 too, beside a control file. A shard is there when it has all the bytes its header speaks of and nothing says that it
/// is still written.
struct FollowedSource {
    let path: FilePath
    private let options: ConversionOptions
    /// Told what is waited for, and how many bytes of it are there.
    let onWait: @Sendable (_ name: String, _ bytes: UInt64, _ total: UInt64?) -> Void

    private let clock = ContinuousClock()
    private static let downloads = [".cache", "huggingface", "download"]

    init(
        _ path: FilePath, _ options: ConversionOptions,
        onWait: @escaping @Sendable (_ name: String, _ bytes: UInt64, _ total: UInt64?) -> Void
    ) {
        self.path = path
        self.options = options
        self.onWait = onWait
    }

    /// Waits for the index, or, where there is none, for the one file.
    func layout() async throws -> CheckpointLayout {
        try await wait(for: "the index") {
            // Asked once: it may come into being at any moment.
            let kind = try Directory.kind(path)
            guard kind != nil else { return .notYet(bytes: 0, of: nil) }
            guard kind == .directory else {
                return .failed(
                    IngotError(
                        .usage, file: path.string, found: "a single file as a followed source", expected: "a directory")
                )
            }
            do {
                return try FollowedSource.look(
                    at: CheckpointLayout.read(path, key: options.encoding.key), settledAfter: options.run.settledAfter)
            } catch let error as IngotError where error.code == .unsupportedSource {
                return .notYet(bytes: 0, of: nil)
            } catch {
                if let file = (error as? IngotError)?.file, try FollowedSource.isBeingWritten(FilePath(file)) {
                    return .notYet(bytes: 0, of: nil)
                }
                // Shards without an index yet, or an index of which half is there.
                return .senseless(error)
            }
        }
    }

    /// An index, or a file that can only be all of the checkpoint; any other file may be the first of several.
    private static func look(at layout: CheckpointLayout, settledAfter: Duration) -> Look<CheckpointLayout> {
        guard layout.shardNames.allSatisfy({ !$0.hasSuffix(".gguf") }) else {
            return .senseless(
                IngotError(
                    .usage, file: layout.path.string, found: "\(layout.shardNames[0]) in a followed source",
                    expected: "a checkpoint in another format",
                    remedy: "wait for the download"))
        }
        guard layout.indexName == nil, let name = layout.shardNames.first, name != ShardName.single else {
            return .ready(layout)
        }
        guard let count = ShardName.count(statedBy: name), count > 1 else {
            return .unsettled(layout, after: settledAfter)
        }
        return .senseless(
            IngotError(
                .indexInvalid, file: layout.path.string, found: "\(name), one of \(count) shards, and no index",
                expected: "the index of the checkpoint", remedy: "fetch the index (*.index.json)"))
    }

    /// Waits until one of some shards is there; the first in order of those that are.
    func next(of positions: [Int], in layout: CheckpointLayout) async throws -> (position: Int, shard: Shard) {
        try await wait(for: layout.shardNames[positions[0]]) {
            var senseless: (any Error)?
            var first: (bytes: UInt64, of: UInt64?) = (0, nil)
            for position in positions {
                switch try arrival(position, layout) {
                case .ready(let shard): return .ready((position, shard))
                case .failed(let error): return .failed(error)
                case .senseless(let error): senseless = senseless ?? error
                case .unsettled: break
                case .notYet(let bytes, let total): if position == positions[0] { first = (bytes, total) }
                }
            }
            return senseless.map { .senseless($0) } ?? .notYet(bytes: first.bytes, of: first.of)
        }
    }

    /// Waits until the client has no file under way any more, configuration and tokenizer may come last, and requires that
    /// the checkpoint is still what it was taken for.
    func rest(of layout: CheckpointLayout) async throws {
        // A pause longer than anybody wants to wait is none of a download that stands still.
        let pause = min(options.run.pauseBetweenFiles, options.run.patience ?? options.run.pauseBetweenFiles)
        try await wait(for: "other files") {
            // A partial file that an earlier download left behind does not grow.
            .unsettled((), after: try hasPartialFiles() ? options.run.settledAfter : pause)
        }
        let now = try CheckpointLayout.read(path, key: options.encoding.key)
        guard now.indexName == layout.indexName,
            now.shardNames.map({ TensorName($0) }) == layout.shardNames.map({ TensorName($0) })
        else {
            throw IngotError(
                .sourceChanged, file: path.string,
                found: "an index, or other shards, that came after the first was converted",
                expected: "the \(layout.shardNames.count) shards that were there or announced",
                remedy: "run the command again, now that they are there")
        }
    }

    // MARK: - Looking

    private enum Look<Value> {
        case ready(Value)
        case failed(any Error)
        case notYet(bytes: UInt64, of: UInt64?)
        /// Not what it has to be: an error, if nothing changes for some time.
        case senseless(any Error)
        /// As good as ready, if nothing changes for so long.
        case unsettled(Value, after: Duration)
    }

    private func arrival(_ position: Int, _ layout: CheckpointLayout) throws -> Look<Shard> {
        let place = layout.shardPath(position)
        guard try Directory.kind(place) != nil else { return .notYet(bytes: 0, of: nil) }
        do {
            if try FollowedSource.isBeingWritten(place) {
                return .notYet(bytes: FileIdentity(place)?.byteCount ?? 0, of: nil)
            }
            let file = try MappedFile.open(place)
            switch try ShardArrival.of(file) {
            case .partial(let bytes, let total): return .notYet(bytes: bytes, of: total)
            // Opening it says what is wrong with it.
            case .whole, .senseless: break
            }
            let shard = try layout.open(position)
            try shard.file.checkUnchanged()
            return .ready(shard)
        } catch let error as IngotError where [.interrupted, .terminated].contains(error.code) {
            return .failed(error)
        } catch {
            return .senseless(error)
        }
    }

    /// Whether a file is one that aria2 is at.
    private static func isBeingWritten(_ path: FilePath) throws -> Bool {
        try Directory.kind(FilePath(path.string + ".aria2")) != nil
    }

    /// Files that the Hugging Face client has begun.
    private func partialDownloads() throws -> [FilePath] {
        let place = FollowedSource.downloads.reduce(path) { $0.appending($1) }
        guard try Directory.kind(place) == .directory else { return [] }
        return try Directory.entries(place).filter { $0.name.hasSuffix(".incomplete") }.map { place.appending($0.name) }
    }

    private func hasPartialFiles() throws -> Bool {
        try !partialDownloads().isEmpty || Directory.entries(path).contains { $0.name.hasSuffix(".aria2") }
    }

    /// What changes when anything arrives: sizes, or the times of change of files that have their size from the start.
    private func state() throws -> [FilePath: FileIdentity] {
        guard try Directory.kind(path) == .directory else { return [:] }
        let places = try Directory.entries(path).map { path.appending($0.name) } + partialDownloads()
        return Dictionary(
            places.compactMap { place in FileIdentity(place).map { (place, $0) } },
            uniquingKeysWith: { first, _ in first })
    }

    // MARK: - Waiting

    private func wait<Value>(for name: String, _ look: () throws -> Look<Value>) async throws -> Value {
        var seen = try state()
        var changed = clock.now
        while true {
            try Interruption.check()
            let found = try look()
            let now = try state()
            if now != seen {
                seen = now
                changed = clock.now
            }
            let quiet = clock.now - changed
            switch found {
            case .ready(let value): return value
            case .failed(let error): throw error
            case .senseless(let error):
                guard quiet < options.run.settledAfter else { throw error }
                onWait(name, 0, nil)
            case .unsettled(let value, let time):
                guard quiet < time else { return value }
                onWait(name, 0, nil)
            case .notYet(let bytes, let total): onWait(name, bytes, total)
            }
            if let patience = options.run.patience, quiet >= patience {
                if case .senseless(let error) = found { throw error }
                throw IngotError(
                    .sourceIncomplete, file: path.string,
                    found: "nothing new for \(patience.components.seconds) seconds, still waiting for \(name)",
                    expected: "a download that goes on")
            }
            try await Task.sleep(for: options.run.lookInterval)
        }
    }
}
