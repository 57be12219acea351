import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// The directory of an unfinished conversion, beside DEST (the output), with its journal.
///
/// One conversion at a time holds it, under the lock of DEST.
final class WorkDirectory {
    private var builder: DirectoryBuilder?
    private var journal: RecordFile
    /// What the journal records.
    private(set) var state: JournalState
    /// The directory in which shards are written; it becomes DEST.
    let path: FilePath

    /// The work that was found beside DEST.
    enum Start {
        /// A directory to work in, with the finished shards of an earlier run.
        case work(WorkDirectory)
        /// An earlier run had published its output. Its journal and directory are removed now.
        case published
    }

    /// Takes the lock of DEST, and finds what an earlier run of the same conversion finished.
    ///
    /// - Parameter outputNames: file names of the output's shards, by position.
    /// - Throws: `locked` if another run writes DEST, `cannotCreate` if DEST exists and is not replaced, or if finished work of another
    ///   conversion would be lost: shards, or tensors of a shard.
    static func begin(
        _ target: FilePath, _ options: ConversionOptions, _ source: CheckpointLayout, outputNames: [String]
    ) throws -> Start {
        let heading = JournalHeading(options.encoding, shardNames: source.shardNames)
        try requireNoOrphans(target, source, outputNames)
        let begun = try DirectoryBuilder.begin(target, resumes: true) { target in
            if try isPublished(target, heading, source) { return .finished }
            guard options.run.force else { try DirectoryBuilder.refuseExisting(target) }
            return .replaceable(try SealedCheckpoint.requireReplaceable(target))
        }
        guard var builder = begun else { return .published }
        // If anything fails from here on, the work of the earlier run stays.
        builder.keepsWork = builder.isResumed
        var journal = try RecordFile.open(builder.journal)
        var state = JournalState(journal.lines)
        if let found = state.heading, state.hasWork,
            options.run.restarts || heading.difference(from: found) != nil
        {
            try requireDiscardable(state, builder.staging, heading.difference(from: found), options)
            state = JournalState([])
        } else if state.isForeign, !options.run.restarts {
            throw IngotError(
                .cannotCreate, file: builder.journal.string, found: "a journal that another version of ingot wrote",
                expected: "the same version as in the run that was interrupted",
                remedy: .either("go on with that version", or: .option(.beginAnew)))
        }
        if !state.hasWork {
            builder.keepsWork = false
            try Directory.removeFile(builder.journal)
            journal = try RecordFile.open(builder.journal)
            state = JournalState([])
            try journal.append([JournalRecord.begin(heading).text])
        } else {
            // New lines go after the lines that were accepted.
            try journal.keep(state.lineCount)
        }
        return .work(try WorkDirectory(builder, journal, state))
    }

    private init(_ builder: consuming DirectoryBuilder, _ journal: consuming RecordFile, _ state: JournalState) throws {
        path = builder.staging
        self.builder = consume builder
        self.journal = journal
        self.state = state
    }

    /// Whether an existing DEST is the output of an earlier run that was killed between its last two steps; removes the work beside it.
    private static func isPublished(
        _ target: FilePath, _ heading: JournalHeading, _ source: CheckpointLayout
    ) throws -> Bool {
        let path = DirectoryBuilder.journalPath(target)
        guard try Directory.kind(path) != nil else { return false }
        let state = JournalState(try RecordFile.lines(of: path))
        guard let published = state.publishing,
            try Directory.kind(target.appending(Manifest.fileName)) == .file,
            case let manifest = try MappedFile.open(target.appending(Manifest.fileName)),
            try manifest.hash(of: manifest.wholeRange) == published
        else { return false }
        try DirectoryBuilder.removeWork(of: target)
        guard let found = state.heading, heading.difference(from: found) == nil else { return false }
        for (position, earlier) in state.sources where source.shardNames.indices.contains(position) {
            // A shard that does not exist any more was consumed.
            guard let identity = FileIdentity(source.shardPath(position)), identity != earlier.identity else {
                continue
            }
            guard let now = try? SourceFingerprint(source.open(position)), now.difference(from: earlier) == nil else {
                return false
            }
        }
        return true
    }

    /// Refuses to continue if an output shard exists whose source is gone and which the journal does not name: it may be the only copy.
    ///
    /// - Throws: `cannotCreate`.
    private static func requireNoOrphans(
        _ target: FilePath, _ source: CheckpointLayout, _ outputNames: [String]
    ) throws {
        let staging = DirectoryBuilder.stagingPath(target)
        let orphans = try outputNames.indices.filter { position in
            try Directory.kind(source.shardPath(position)) == nil
                && Directory.kind(staging.appending(outputNames[position])) == .file
        }
        guard !orphans.isEmpty else { return }
        // Read the journal after looking at the files: a run in progress records a shard before it deletes the source.
        let journal = DirectoryBuilder.journalPath(target)
        let state = JournalState(try Directory.kind(journal) == nil ? [] : RecordFile.lines(of: journal))
        guard let orphan = orphans.first(where: { state.sealed[$0] == nil }) else { return }
        throw IngotError(
            .cannotCreate, file: staging.appending(outputNames[orphan]).string,
            found: "the output of a shard whose source is gone, and a journal that is damaged or missing",
            expected: "a journal that names it",
            remedy: "fetch \(source.shardNames[orphan]) again, or move the directory away to keep what it holds")
    }

    /// Refuses to discard the work of an earlier run, unless the options ask for it and no source was consumed.
    ///
    /// - Throws: `cannotCreate`.
    private static func requireDiscardable(
        _ state: JournalState, _ staging: FilePath, _ difference: String?, _ options: ConversionOptions
    ) throws {
        func failure(_ found: String, _ remedy: Remedy) -> IngotError {
            IngotError(
                .cannotCreate, file: staging.string, found: found,
                expected: "the same source, options and versions as the run that was interrupted", remedy: remedy)
        }
        let (shards, tensors) = (state.sealed.count, state.unfinishedPayloads)
        let done =
            shards > 0
            ? "\(shards) \(shards == 1 ? "shard" : "shards")" : "\(tensors) \(tensors == 1 ? "tensor" : "tensors")"
        guard state.consumed.isEmpty else {
            throw failure(
                "\(done) of a conversion that consumed its source, \(difference ?? "to be begun anew")",
                "finish that conversion with its own options, or remove the directory and the journal beside it")
        }
        guard options.run.restarts else {
            throw failure(
                "\(done) of a conversion that was interrupted, \(difference ?? "")",
                .either("give the same options to go on", or: .option(.beginAnew)))
        }
    }

    /// Name of the unfinished file of the output shard with a name.
    private func unfinishedName(_ name: String) -> String? {
        AtomicFile.temporaryPath(of: path.appending(name)).lastComponent?.string
    }

    /// Removes everything in the directory except finished shards, and unfinished shards with payloads that the journal names.
    ///
    /// - Parameter outputNames: file names of the output's shards, by position.
    func removeOthers(_ outputNames: [String]) throws {
        let finished = state.sealed.keys.map { outputNames[$0] }
        let unfinished = state.unfinished.filter { !$0.value.payloads.isEmpty }.compactMap {
            unfinishedName(outputNames[$0.key])
        }
        try removeAll(except: Set(finished + unfinished))
    }

    /// Removes everything in the directory except the files with these names.
    private func removeAll(except names: Set<String>) throws {
        for entry in try Directory.entries(path) where !entry.isText || !names.contains(entry.name) {
            try Directory.removeTree(path.appending(entry.name))
        }
    }

    /// Appends lines to the journal; they are on the disk when it returns.
    func note(_ records: [JournalRecord]) throws {
        try journal.append(records.map(\.text))
        for record in records { state.add(record) }
    }

    /// Whether the journal names the output shard at a position as finished.
    func isFinished(_ position: Int) -> Bool { state.sealed[position] != nil }

    /// Removes a damaged output shard from `state`. Its line stays in the journal; the line that follows the next encoding replaces it.
    func forget(_ position: Int) { state.sealed[position] = nil }

    /// Removes the payloads of an unfinished shard from `state`. Its lines stay in the journal; the lines of the next encoding replace them.
    func forgetPayloads(_ position: Int) { state.unfinished[position] = nil }

    /// Takes over the payloads of an unfinished shard. If they are fewer than the journal names, the journal gets new lines.
    func take(_ unfinished: UnfinishedShard, _ plan: ContentHash, _ position: Int) throws {
        guard state.unfinished[position]?.payloads.count != unfinished.written.count else { return }
        try note([.encoding(position, plan), .encoded(position, unfinished.written)])
    }

    /// Publishes the directory under its final name. A second call does nothing.
    ///
    /// - Parameter manifest: hash of the manifest.
    /// - Throws: `cannotCreate` if something changed in the directory that it replaces; both directories stay then.
    func publish(manifest: ContentHash) throws {
        guard var builder = builder.take() else { return }
        builder.keepsWork = state.hasWork
        try builder.requireTargetUntouched()
        try note([.publishing(manifest)])
        try builder.publish()
    }

    /// The error of a journal whose lines contradict the source or each other.
    func damage(_ found: String) -> IngotError {
        IngotError(
            .cannotCreate, file: journal.path.string, found: found, expected: "a journal as this version writes it",
            remedy: state.consumed.isEmpty
                ? .option(.beginAnew)
                : "fetch the source again, move the journal and the directory beside it away, and begin anew")
    }

    /// Ends a run that failed. Finished shards and payloads stay if another run can continue from them.
    ///
    /// - Parameter shards: number of all shards.
    /// - Returns: the error. If finished work stays, its remedy says so.
    func end(after error: any Error, shards: Int) -> any Error {
        let isKept = state.hasWork && (!state.consumed.isEmpty || WorkDirectory.canBeMended(error))
        if var builder = builder.take() {
            if isKept || !state.hasWork { builder.keepsWork = isKept }
        }
        // Without a builder, the directory was being published or is published.
        guard isKept, FileIdentity(path) != nil else { return error }
        guard var error = error as? IngotError else { return error }
        let next = Remedy.option(
            .goOn(finished: state.sealed.count, of: shards, tensors: state.unfinishedPayloads))
        error.remedy = [.interrupted, .terminated].contains(error.code) ? next : .both(error.remedy, next)
        return error
    }

    /// Whether an error means that a finished shard is damaged or missing.
    static func isDamage(_ error: IngotError) -> Bool { error.code.kind == .badData || error.code == .noInput }

    /// Whether another run with the same source and options may succeed.
    private static func canBeMended(_ error: any Error) -> Bool {
        switch (error as? IngotError)?.code {
        case .interrupted, .terminated, .inputOutput, .outOfSpace, .cannotCreate, .missingShard, .noInput, .locked,
            .sourceIncomplete, .claimFailed,
            nil:
            true
        default: false
        }
    }
}
