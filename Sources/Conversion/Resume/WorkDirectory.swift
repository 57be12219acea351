import Container
import FileAccess
import SystemPackage
import TensorModel

/// The unfinished conversion beside DEST: shards that are done, and the journal that says so.
///
/// Held by one conversion at a time, under DEST's lock.
final class WorkDirectory {
    private var builder: DirectoryBuilder?
    private var journal: RecordFile
    /// What the journal says.
    private(set) var state: JournalState
    /// Where shards are written.
    let path: FilePath

    /// Thrown where the earlier run had finished and only its traces were left, which are gone now.
    struct AlreadyPublished: Error {}

    /// Takes the lock of DEST, and finds what an earlier run of the same conversion did.
    ///
    /// - Throws: `cannotCreate` where the earlier run was another conversion, and something would be lost; `AlreadyPublished`.
    static func begin(
        _ target: FilePath, _ options: ConversionOptions, shardNames: [String]
    ) throws -> WorkDirectory {
        let heading = JournalHeading(options, shardNames: shardNames)
        var builder = try DirectoryBuilder.begin(target, resumes: true) { target in
            try recognize(target, heading)
            if options.force {
                try SealedCheckpoint.requireReplaceable(target)
            } else {
                try DirectoryBuilder.refuseExisting(target)
            }
        }
        // Whatever fails from here on, what an earlier run did stays.
        builder.keepsWork = builder.isResumed
        var journal = try RecordFile.open(builder.journal)
        var state = JournalState(journal.lines)
        if let found = state.heading, !state.sealed.isEmpty, options.restarts || heading.difference(from: found) != nil {
            try requireDiscardable(state, builder.staging, heading.difference(from: found), options)
            state = JournalState([])
        }
        if state.sealed.isEmpty {
            builder.keepsWork = false
            try Directory.removeFile(builder.journal)
            journal = try RecordFile.open(builder.journal)
            state = JournalState([])
            try journal.append([JournalRecord.begin(heading).text])
        }
        return try WorkDirectory(builder, journal, state)
    }

    private init(_ builder: consuming DirectoryBuilder, _ journal: consuming RecordFile, _ state: JournalState) throws {
        path = builder.staging
        self.builder = consume builder
        self.journal = journal
        self.state = state
    }

    /// Finds out whether an existing DEST is what the earlier run made, killed between its last two steps.
    private static func recognize(_ target: FilePath, _ heading: JournalHeading) throws {
        let path = DirectoryBuilder.journalPath(target)
        guard try Directory.kind(path) != nil else { return }
        let state = JournalState(try RecordFile.open(path).lines)
        guard let published = state.publishing,
            try Directory.kind(target.appending(Manifest.fileName)) == .file,
            case let manifest = try MappedFile.open(target.appending(Manifest.fileName)),
            try manifest.hash(of: manifest.wholeRange) == published
        else { return }
        try DirectoryBuilder.removeWork(of: target)
        guard let found = state.heading, heading.difference(from: found) == nil else { return }
        throw AlreadyPublished()
    }

    /// Refuses to throw away what an earlier run did, unless that was asked for and its source is still there.
    private static func requireDiscardable(
        _ state: JournalState, _ staging: FilePath, _ difference: String?, _ options: ConversionOptions
    ) throws {
        func failure(_ found: String, _ remedy: String) -> IngotError {
            IngotError(
                .cannotCreate, file: staging.string, found: found,
                expected: "the same source, options and versions as the run that was interrupted", remedy: remedy)
        }
        let done = "\(state.sealed.count) \(state.sealed.count == 1 ? "shard" : "shards")"
        guard state.consumed.isEmpty else {
            throw failure(
                "\(done) of a conversion that consumed its source, \(difference ?? "to be begun anew")",
                "finish that conversion with its own options, or remove the directory and the journal beside it")
        }
        guard options.restarts else {
            throw failure(
                "\(done) of a conversion that was interrupted, \(difference ?? "")",
                "give the same options to go on, or --restart to begin anew")
        }
    }

    /// Removes what is in the directory besides some files.
    func removeAll(except names: Set<String>) throws {
        for entry in try Directory.entries(path) where !entry.isText || !names.contains(entry.name) {
            try Directory.removeTree(path.appending(entry.name))
        }
    }

    /// Writes lines of the journal.
    func note(_ records: [JournalRecord]) throws {
        try journal.append(records.map(\.text))
        for record in records { state.add(record) }
    }

    /// Forgets a finished shard whose file turned out not to be whole.
    func forget(_ position: Int) { state.sealed[position] = nil }

    /// Gives the directory its final name.
    func publish(manifest: ContentHash) throws {
        try note([.publishing(manifest)])
        guard var builder = builder.take() else { return }
        builder.keepsWork = !state.sealed.isEmpty
        try builder.publish()
    }

    /// Ends a run that failed: what is finished stays where another run can go on from it; the error says so.
    func end(after error: any Error, shards: Int) -> any Error {
        guard var builder = builder.take() else { return error }
        guard !state.sealed.isEmpty, !state.consumed.isEmpty || WorkDirectory.canBeMended(error) else { return error }
        builder.keepsWork = true
        guard var error = error as? IngotError else { return error }
        let usual = [.interrupted, .terminated].contains(error.code) ? "" : error.remedy + "; "
        error.remedy =
            usual + "\(state.sealed.count) of \(shards) shards are done: the same command goes on from there "
            + "(--restart begins anew)"
        return error
    }

    /// Whether a finished shard is not what it was.
    static func isDamage(_ error: IngotError) -> Bool { error.code.exitStatus == 65 || error.code == .noInput }

    /// Whether another run may succeed without another source or other options.
    private static func canBeMended(_ error: any Error) -> Bool {
        switch (error as? IngotError)?.code {
        case .interrupted, .terminated, .inputOutput, .outOfSpace, .cannotCreate, .missingShard, .noInput, .locked, nil:
            true
        default: false
        }
    }
}

/// What a journal says.
struct JournalState: Sendable {
    private(set) var heading: JournalHeading?
    private(set) var sources: [Int: SourceFingerprint] = [:]
    private(set) var rates: [Int: ConversionPlan.Findings] = [:]
    var sealed: [Int: SealedRecord] = [:]
    private(set) var consumed: Set<Int> = []
    private(set) var publishing: ContentHash?

    /// Reads lines up to the first that this version does not write.
    init(_ lines: [[UInt8]]) {
        for line in lines {
            guard let record = JournalRecord(line) else { break }
            add(record)
            if heading == nil { break }
        }
    }

    mutating func add(_ record: JournalRecord) {
        switch record {
        case .begin(let heading): self.heading = heading
        case .source(let shard, let fingerprint): sources[shard] = fingerprint
        case .rates(let shard, let findings): rates[shard] = findings
        case .sealed(let shard, let record): sealed[shard] = record
        case .consuming(let shard): consumed.insert(shard)
        case .publishing(let hash): publishing = hash
        }
    }
}
