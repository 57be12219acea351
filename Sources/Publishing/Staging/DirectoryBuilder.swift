import FileAccess
package import SystemPackage
import TensorModel

/// A directory that is built beside its final place and appears there only when it is complete.
///
/// It grows as the sibling `.NAME.ingot-partial`, under a lock on `.NAME.ingot-lock`. `publish()` renames it, or exchanges it with the
/// directory that it replaces. The next run recognizes the directory of a killed run by its name. It resumes that work if there is a
/// journal `.NAME.ingot-journal`, otherwise it removes the directory.
package struct DirectoryBuilder: ~Copyable, Sendable {
    /// The final path of the directory.
    package let target: FilePath
    /// The staging directory: its path while it grows.
    package let staging: FilePath
    /// The journal, where a run that can be resumed records finished work.
    package let journal: FilePath
    /// Whether the staging directory and journal of an earlier run were found.
    package let isResumed: Bool
    /// Whether staging directory and journal stay for a later run if this value is dropped unpublished.
    package var keepsWork = false
    private let lock: LockFile
    /// The directory to replace, as it was when the run began; nil if there was none.
    private let replaced: DirectorySnapshot?
    private let resumes: Bool
    private var published = false

    /// Takes the lock, and makes an empty staging directory or finds an earlier one.
    ///
    /// - Parameters:
    ///   - target: the directory to build. It must not exist, unless `replaceable` allows its replacement.
    ///   - resumes: whether the run may resume the work of an earlier run.
    ///   - replaceable: called under the lock if the target exists. It returns a snapshot of the target, taken before the check, and throws
    ///     if the target must stay. Nil refuses every existing target.
    /// - Throws: `locked` if another process builds the same target, `cannotCreate` if the directory cannot be made.
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
        /// A directory that may be replaced, and its snapshot.
        case replaceable(DirectorySnapshot)
        /// The complete result of this run, from an earlier run.
        case finished
    }

    /// Takes the lock, and makes an empty staging directory or finds an earlier one. Returns nil if the target is already finished.
    ///
    /// - Parameter existing: called under the lock if the target exists. It throws if the target must stay.
    /// - Throws: `locked` if another process builds the same target, `cannotCreate` if the directory cannot be made.
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
            throw IngotError(.cannotCreate, file: target.string, found: "something that is not a directory")
        }
        let isResumed = try prepare(staging, journal, resumes: resumes, replaced?.permissions)
        return DirectoryBuilder(
            target: target, staging: staging, journal: journal, isResumed: isResumed, lock: lock, replaced: replaced,
            resumes: resumes)
    }

    /// The staging directory of a target.
    package static func stagingPath(_ target: FilePath) -> FilePath { sibling(of: target, "partial") }

    /// The journal of a target.
    package static func journalPath(_ target: FilePath) -> FilePath { sibling(of: target, "journal") }

    private static func sibling(of target: FilePath, _ kind: String) -> FilePath {
        let target = withoutTrailingDots(target)
        return target.removingLastComponent().appending(".\(target.lastComponent?.string ?? "").ingot-\(kind)")
    }

    /// Removes the staging directory and journal that a run left beside its published target. Call it under the lock.
    package static func removeWork(of target: FilePath) throws {
        try Directory.removeTree(sibling(of: target, "partial"))
        try Directory.removeTree(journalPath(target))
    }

    /// Throws the error for an existing target that must stay.
    package static func refuseExisting(_ target: FilePath) throws -> Never {
        throw IngotError(
            .cannotCreate, file: target.string, found: "the output exists",
            remedy: .either("choose another place", or: .option(.replaceOutput)))
    }

    /// Makes an empty staging directory and returns false, or returns true if there is one to resume.
    ///
    /// - Parameter permissions: permissions of the directory to replace.
    private static func prepare(
        _ staging: FilePath, _ journal: FilePath, resumes: Bool, _ permissions: FilePermissions?
    ) throws -> Bool {
        // No more permissions than the directory to replace, but its owner can always write into it.
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

    /// Requires that no file appeared or changed in the directory to replace since the run began.
    ///
    /// - Throws: `cannotCreate`, which names the file.
    package func requireTargetUntouched() throws {
        guard let replaced else { return }
        guard try Directory.kind(target) != nil else {
            throw IngotError(.cannotCreate, file: target.string, found: "the output that is to be replaced is gone")
        }
        try replaced.requireStill(target, knownAs: target)
    }

    /// Gives the directory its final name in one step, and makes the name durable.
    ///
    /// - Throws: `cannotCreate` if the target has changed since the run began. The target then stays.
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
        // From here on failures are ignored: the next run removes what is left.
        if resumes { try? Directory.removeTree(journal) }
        guard let replaced else { return }
        if replaced.permissions.rawValue & 0o300 != 0o300 {
            try? Directory.setPermissions(FilePermissions(rawValue: 0o700), of: staging)
        }
        try? Directory.removeTree(staging)
    }

    /// Exchanges both directories. Exchanges them back if something was written to the old one at the last moment.
    private mutating func exchange(_ replaced: DirectorySnapshot) throws {
        try Directory.exchange(staging, with: target)
        do {
            try replaced.requireStill(staging, knownAs: target)
        } catch {
            do {
                try Directory.exchange(staging, with: target)
            } catch let second as IngotError {
                // The next run must not take the old directory for unfinished work.
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
