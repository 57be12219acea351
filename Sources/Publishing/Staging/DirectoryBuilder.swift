import FileAccess
package import SystemPackage
import TensorModel

/// A directory being built beside its final place: it appears there complete, or not at all.
///
/// It grows as the sibling `.NAME.ingot-partial`, guarded by a lock on `.NAME.ingot-lock`; `publish()` renames it, or
/// exchanges it with the one it replaces. A directory left by a run that was killed is recognised by its name; the next run
/// goes on with it where there is a journal beside it, `.NAME.ingot-journal`, and removes it else.
package struct DirectoryBuilder: ~Copyable, Sendable {
    /// Where the directory will be.
    package let target: FilePath
    /// Where it grows.
    package let staging: FilePath
    /// Where a run that can be resumed notes what is done.
    package let journal: FilePath
    /// Whether staging directory and journal of an earlier run are there.
    package let isResumed: Bool
    /// Whether both stay when this value is dropped unpublished, for a later run.
    package var keepsWork = false
    private let lock: LockFile
    /// What is to be replaced, as it was when the run began; nil where there was nothing.
    private let replaced: DirectorySnapshot?
    private let resumes: Bool
    private var published = false

    /// Takes the lock and makes an empty staging directory, or finds an earlier one.
    ///
    /// - Parameters:
    ///   - target: the directory to build; it must not exist, unless `replaceable` says that it may go.
    ///   - resumes: whether the work of an earlier run may be gone on with.
    ///   - replaceable: asked of an existing target, under the lock: what lies in it, looked at before it is checked; it throws where the
    ///     target must stay. Nil refuses every existing target.
    /// - Throws: `locked` where another process builds the same target, `cannotCreate` where it cannot be made.
    package static func begin(
        _ target: FilePath, resumes: Bool = false, replaceable: ((FilePath) throws -> DirectorySnapshot)?
    ) throws -> DirectoryBuilder {
        let builder = try begin(target, resumes: resumes) { target throws -> ExistingTarget in
            guard let replaceable else { try refuseExisting(target) }
            return .replaceable(try replaceable(target))
        }
        guard let builder else { preconditionFailure("a target that may go is not finished") }
        return builder
    }

    /// What an existing target is.
    package enum ExistingTarget: Sendable {
        /// A directory that may go, with what lies in it.
        case replaceable(DirectorySnapshot)
        /// What this run was to make, from an earlier run.
        case finished
    }

    /// Takes the lock and makes an empty staging directory, or finds an earlier one; nil where the target is finished already.
    ///
    /// - Parameter existing: asked of an existing target, under the lock; throws where the target must stay.
    /// - Throws: `locked` where another process builds the same target, `cannotCreate` where it cannot be made.
    package static func begin(
        _ target: FilePath, resumes: Bool, existing: (FilePath) throws -> ExistingTarget
    ) throws -> DirectoryBuilder? {
        let typed = target
        let target = withoutTrailingDots(typed)
        guard target.lastComponent != nil else {
            throw IngotError(.cannotCreate, file: typed.string, found: "not a name a directory can be made under")
        }
        let (staging, journal) = (sibling(of: target, "partial"), journalPath(target))
        guard try !Directory.isLink(target) else {
            throw IngotError(
                .cannotCreate, file: target.string, found: "the output is a symbolic link",
                remedy: "name the place it leads to")
        }
        let lock = try LockFile.take(sibling(of: target, "lock"), guarding: target)
        let replaced: DirectorySnapshot?
        switch try Directory.kind(target) {
        case nil: replaced = nil
        case .directory:
            switch try existing(target) {
            case .finished: return nil
            case .replaceable(let snapshot): replaced = snapshot
            }
        default:
            throw IngotError(.cannotCreate, file: target.string, found: "there is something that is no directory")
        }
        let isResumed = try prepare(staging, journal, resumes: resumes, replaced?.permissions)
        return DirectoryBuilder(
            target: target, staging: staging, journal: journal, isResumed: isResumed, lock: lock, replaced: replaced,
            resumes: resumes)
    }

    /// Where a target grows.
    package static func stagingPath(_ target: FilePath) -> FilePath { sibling(of: target, "partial") }

    /// Where the journal of a target is.
    package static func journalPath(_ target: FilePath) -> FilePath { sibling(of: target, "journal") }

    private static func sibling(of target: FilePath, _ kind: String) -> FilePath {
        let target = withoutTrailingDots(target)
        return target.removingLastComponent().appending(".\(target.lastComponent?.string ?? "").ingot-\(kind)")
    }

    /// Removes what a run left beside its published target; called under the lock.
    package static func removeWork(of target: FilePath) throws {
        try Directory.removeTree(sibling(of: target, "partial"))
        try Directory.removeTree(journalPath(target))
    }

    /// The answer for an existing target that must stay.
    package static func refuseExisting(_ target: FilePath) throws -> Never {
        throw IngotError(
            .cannotCreate, file: target.string, found: "the output exists",
            remedy: .either("choose another place", or: .option(.replaceOutput)))
    }

    /// Makes an empty staging directory, unless there is one to go on with.
    ///
    /// - Parameter permissions: those of the directory that is to be replaced.
    private static func prepare(
        _ staging: FilePath, _ journal: FilePath, resumes: Bool, _ permissions: FilePermissions?
    ) throws -> Bool {
        // No more permissions than the directory it replaces has, except that its owner must write into it.
        let mode = FilePermissions(rawValue: (permissions?.rawValue ?? 0o777) & 0o777 | 0o700)
        let hasJournal = try RecordFile.isThere(journal)
        let found = try Directory.ownStatus(staging)
        if hasJournal, let found, found.kind == .directory, !found.isLink {
            guard resumes else {
                throw IngotError(
                    .cannotCreate, file: staging.string, found: "the work of a conversion that was interrupted",
                    remedy: "finish that conversion, or remove the directory and \(journal)")
            }
            let narrowed = FilePermissions(rawValue: found.permissions.rawValue & mode.rawValue | 0o700)
            if narrowed != found.permissions { try Directory.setPermissions(narrowed, of: staging) }
            return true
        }
        if let found, found.kind != .directory, !found.isLink {
            throw IngotError(
                .cannotCreate, file: staging.string, found: "a file where the output is to be built",
                expected: "nothing, or the directory of an earlier run", remedy: "move it away")
        }
        try Directory.removeTree(staging)
        if hasJournal { try Directory.removeFile(journal) }
        try Directory.create(staging, mode)
        guard resumes else { return false }
        do {
            try Directory.synchronizeName(of: staging)
        } catch {
            try? Directory.removeTree(staging)
            throw error
        }
        return false
    }

    private init(
        target: FilePath, staging: FilePath, journal: FilePath, isResumed: Bool, lock: consuming LockFile,
        replaced: DirectorySnapshot?, resumes: Bool
    ) {
        self.target = target
        self.staging = staging
        self.journal = journal
        self.isResumed = isResumed
        self.lock = lock
        self.replaced = replaced
        self.resumes = resumes
    }

    deinit {
        if !published && !keepsWork {
            try? Directory.removeTree(staging)
            if resumes { try? Directory.removeTree(journal) }
        }
    }

    /// Requires that nothing appeared in the directory that is to be replaced, and nothing changed there, since the run began.
    ///
    /// - Throws: `cannotCreate`, which names the file.
    package func requireTargetUntouched() throws {
        guard let replaced else { return }
        guard try Directory.kind(target) != nil else {
            throw IngotError(.cannotCreate, file: target.string, found: "the output that is to be replaced is gone")
        }
        try replaced.requireStill(target, knownAs: target)
    }

    /// Gives the directory its name in one step, and makes that durable.
    ///
    /// - Throws: `cannotCreate` where the target is not what it was when the run began; it stays then.
    package consuming func publish() throws {
        try requireTargetUntouched()
        if let replaced, try Directory.permissions(staging) != replaced.permissions {
            try Directory.setPermissions(replaced.permissions, of: staging)
        }
        try Directory.synchronize(staging)
        if let replaced {
            try exchange(replaced)
        } else {
            guard try Directory.kind(target) == nil else {
                throw IngotError(.cannotCreate, file: target.string, found: "the output appeared during the run")
            }
            try Directory.rename(staging, to: target)
        }
        published = true
        try Directory.synchronizeName(of: target)
        // What is left over from here on, the next run will try again to remove.
        if resumes { try? Directory.removeTree(journal) }
        guard let replaced else { return }
        if replaced.permissions.rawValue & 0o300 != 0o300 {
            try? Directory.setPermissions(FilePermissions(rawValue: 0o700), of: staging)
        }
        try? Directory.removeTree(staging)
    }

    /// Exchanges both directories; back again where something was written to the old one in the last moment.
    private mutating func exchange(_ replaced: DirectorySnapshot) throws {
        try Directory.exchange(staging, with: target)
        do {
            try replaced.requireStill(staging, knownAs: target)
        } catch {
            do {
                try Directory.exchange(staging, with: target)
            } catch let second as IngotError {
                // The old directory must not be taken for work by the next run.
                published = true
                let kept = DirectoryBuilder.sibling(of: target, "replaced")
                try Directory.rename(staging, to: kept)
                throw IngotError(
                    .cannotCreate, file: kept.string,
                    found: "the directory that was replaced, in which something changed: \(second.found)",
                    remedy: "take from it what is needed, and delete it")
            }
            throw error
        }
    }

    private static func withoutTrailingDots(_ path: FilePath) -> FilePath {
        var path = path
        while path.lastComponent?.kind == .currentDirectory { path.removeLastComponent() }
        return path
    }
}
