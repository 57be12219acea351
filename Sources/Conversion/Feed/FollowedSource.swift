import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// A directory into which a checkpoint is being downloaded.
///
/// The Hugging Face client writes under other names and renames complete files. wget and similar clients write under the final name. aria2
/// does so too, with a control file beside it. A shard has arrived when it has all bytes that its header names, and nothing shows that it
/// is still being written.
struct FollowedSource {
    /// The directory.
    let path: FilePath
    private let options: ConversionOptions
    /// Called before each wait with the name of a file and the bytes of it that have arrived; `total` is nil if unknown.
    let onWait: @Sendable (_ name: String, _ bytes: UInt64, _ total: UInt64?) -> Void

    private let clock = ContinuousClock()
    private static let downloads = [".cache", "huggingface", "download"]

    /// Prepares to follow a directory; reads nothing yet.
    init(
        _ path: FilePath, _ options: ConversionOptions,
        onWait: @escaping @Sendable (_ name: String, _ bytes: UInt64, _ total: UInt64?) -> Void
    ) {
        self.path = path
        self.options = options
        self.onWait = onWait
    }

    /// Waits for the index, or for the single file of a checkpoint without one.
    ///
    /// - Throws: `usage` for a single file or GGUF as the source, `sourceIncomplete` if nothing arrives for the time of `patience`; errors
    ///   of reading that do not go away.
    func layout() async throws -> CheckpointLayout {
        try await wait(for: "the index") {
            // Ask once: the directory may be created at any moment.
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
                // Either shards without an index yet, or the first half of an index.
                return .malformed(error)
            }
        }
    }

    /// Decides whether a layout is complete. A single file is, if its name says so; otherwise it may be the first of several.
    private static func look(at layout: CheckpointLayout, settledAfter: Duration) -> Look<CheckpointLayout> {
        guard layout.shardNames.allSatisfy({ !$0.hasSuffix(".gguf") }) else {
            return .malformed(
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
        return .malformed(
            IngotError(
                .indexInvalid, file: layout.path.string, found: "\(name), one of \(count) shards, and no index",
                expected: "the index of the checkpoint", remedy: "fetch the index (*.index.json)"))
    }

    /// Waits until one of the shards at `positions` has arrived.
    ///
    /// - Returns: the first of `positions` that has arrived, with the open shard.
    /// - Throws: `sourceIncomplete` if nothing arrives for the time of `patience`; the error of a file that cannot be read and does not
    ///   change.
    func next(of positions: [Int], in layout: CheckpointLayout) async throws -> (position: Int, shard: Shard) {
        try await wait(for: layout.shardNames[positions[0]]) {
            var malformed: (any Error)?
            var first: (bytes: UInt64, of: UInt64?) = (0, nil)
            for position in positions {
                switch try arrival(position, layout) {
                case .ready(let shard): return .ready((position, shard))
                case .failed(let error): return .failed(error)
                case .malformed(let error): malformed = malformed ?? error
                case .unsettled: break
                case .notYet(let bytes, let total): if position == positions[0] { first = (bytes, total) }
                }
            }
            return malformed.map { .malformed($0) } ?? .notYet(bytes: first.bytes, of: first.of)
        }
    }

    /// Waits until the client has no file in progress, since configuration and tokenizer may come last. Then requires that the index and
    /// the names of the shards are still those of `layout`.
    ///
    /// - Throws: `sourceChanged` if they are not, `sourceIncomplete` if nothing arrives for the time of `patience`.
    func rest(of layout: CheckpointLayout) async throws {
        // `patience` may be shorter than the pause between two files: do not wait longer than that.
        let pause = min(options.run.pauseBetweenFiles, options.run.patience ?? options.run.pauseBetweenFiles)
        try await wait(for: "other files") {
            // A partial file of an earlier download does not grow: stop waiting after `settledAfter`.
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

    /// The result of looking at files once.
    private enum Look<Value> {
        /// Complete.
        case ready(Value)
        /// An error that waiting does not cure.
        case failed(any Error)
        /// Still arriving: the bytes that are there, and the size if it is known.
        case notYet(bytes: UInt64, of: UInt64?)
        /// Cannot be read: an error if nothing changes for `settledAfter`, because it may be half written.
        case malformed(any Error)
        /// Complete if nothing changes for this time.
        case unsettled(Value, after: Duration)
    }

    private func arrival(_ position: Int, _ layout: CheckpointLayout) throws -> Look<Shard> {
        let place = layout.shardPath(position)
        guard try Directory.kind(place) != nil else { return .notYet(bytes: 0, of: nil) }
        var isWhole = false
        do {
            if try FollowedSource.isBeingWritten(place) {
                return .notYet(bytes: FileIdentity(place)?.byteCount ?? 0, of: nil)
            }
            let file = try MappedFile.open(place)
            let arrival = try ShardArrival.of(file)
            // Opening a malformed shard throws the error that says what is wrong.
            if case .partial(let bytes, let total) = arrival { return .notYet(bytes: bytes, of: total) }
            isWhole = if case .whole = arrival { true } else { false }
            let shard = try layout.open(position, quantized: options.encoding.sourceForm)
            try shard.file.checkUnchanged()
            return .ready(shard)
        } catch let error as IngotError where [.interrupted, .terminated].contains(error.code) {
            return .failed(error)
        } catch let error as IngotError where isWhole && error.code == .unsupportedSource && error.tensor != nil {
            // Codes that need tensors of another shard stay so.
            return .failed(error)
        } catch {
            return .malformed(error)
        }
    }

    /// Whether aria2 is writing a file.
    private static func isBeingWritten(_ path: FilePath) throws -> Bool {
        try Directory.kind(FilePath(path.string + ".aria2")) != nil
    }

    /// Files that the Hugging Face client has not finished.
    private func partialDownloads() throws -> [FilePath] {
        let place = FollowedSource.downloads.reduce(path) { $0.appending($1) }
        guard try Directory.kind(place) == .directory else { return [] }
        return try Directory.entries(place).filter { $0.name.hasSuffix(".incomplete") }.map { place.appending($0.name) }
    }

    private func hasPartialFiles() throws -> Bool {
        try !partialDownloads().isEmpty || Directory.entries(path).contains { $0.name.hasSuffix(".aria2") }
    }

    /// Identities of all files. Sizes change as bytes arrive; if a file has its full size from the start, its times change.
    private func state() throws -> [FilePath: FileIdentity] {
        guard try Directory.kind(path) == .directory else { return [:] }
        let places = try Directory.entries(path).map { path.appending($0.name) } + partialDownloads()
        return Dictionary(
            places.compactMap { place in FileIdentity(place).map { (place, $0) } },
            uniquingKeysWith: { first, _ in first })
    }

    // MARK: - Waiting

    /// Looks again and again until the result is final, or nothing has changed for too long.
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
            case .malformed(let error):
                guard quiet < options.run.settledAfter else { throw error }
                onWait(name, 0, nil)
            case .unsettled(let value, let time):
                guard quiet < time else { return value }
                onWait(name, 0, nil)
            case .notYet(let bytes, let total): onWait(name, bytes, total)
            }
            if let patience = options.run.patience, quiet >= patience {
                if case .malformed(let error) = found { throw error }
                throw IngotError(
                    .sourceIncomplete, file: path.string,
                    found: "nothing new for \(patience.components.seconds) seconds, still waiting for \(name)",
                    expected: "a download that goes on")
            }
            try await Task.sleep(for: options.run.lookInterval)
        }
    }
}
