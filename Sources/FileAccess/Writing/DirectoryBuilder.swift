public import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A directory being built beside its final place: it appears there complete, or not at all.
///
/// It grows as the sibling `.NAME.ingot-partial`, guarded by a lock on `.NAME.ingot-lock`; `publish()` renames it, or
/// exchanges it with the one it replaces. A directory left by a run that was killed is recognised by its name and
/// removed by the next run.
public struct DirectoryBuilder: ~Copyable, Sendable {
    /// Where the directory will be.
    public let target: FilePath
    /// Where it grows.
    public let staging: FilePath
    private let lockPath: FilePath
    private let lock: Descriptor
    private let replacing: Bool
    private var published = false

    /// Takes the lock and makes an empty staging directory.
    ///
    /// - Parameters:
    ///   - target: the directory to build; it must not exist, unless `replaceable` says that it may go.
    ///   - replaceable: asked of an existing target; nil refuses every existing target.
    /// - Throws: `locked` where another process builds the same target, `cannotCreate` where it exists or cannot be made.
    public static func begin(
        _ target: FilePath, replaceable: ((FilePath) throws -> Void)?
    ) throws -> DirectoryBuilder {
        let target = withoutTrailingDots(target)
        guard let name = target.lastComponent else {
            throw IngotError(.cannotCreate, file: target.string, found: "not a name a directory can be made under")
        }
        let parent = target.removingLastComponent()
        let staging = parent.appending(".\(name.string).ingot-partial")
        let lockPath = parent.appending(".\(name.string).ingot-lock")
        guard try !Directory.isLink(target) else {
            throw IngotError(
                .cannotCreate, file: target.string, found: "the output is a symbolic link",
                remedy: "name the place it leads to")
        }
        let replacing: Bool
        switch try Directory.kind(target) {
        case nil: replacing = false
        case .directory:
            guard let replaceable else {
                throw IngotError(
                    .cannotCreate, file: target.string, found: "the output exists",
                    remedy: "choose another place, or replace it with --force")
            }
            try replaceable(target)
            replacing = true
        default: throw IngotError(.cannotCreate, file: target.string, found: "there is something that is no directory")
        }
        let lock = try takeLock(lockPath, target)
        do {
            try Directory.removeTree(staging)
            try Directory.create(staging)
        } catch {
            try? Directory.removeFile(lockPath)
            throw error
        }
        return DirectoryBuilder(
            target: target, staging: staging, lockPath: lockPath, lock: lock, replacing: replacing)
    }

    private init(target: FilePath, staging: FilePath, lockPath: FilePath, lock: consuming Descriptor, replacing: Bool) {
        self.target = target
        self.staging = staging
        self.lockPath = lockPath
        self.lock = lock
        self.replacing = replacing
    }

    deinit {
        if !published { try? Directory.removeTree(staging) }
        try? Directory.removeFile(lockPath)
    }

    /// Gives the directory its name in one step, and makes that durable.
    public consuming func publish() throws {
        try Directory.synchronize(staging)
        if replacing {
            try Directory.exchange(staging, with: target)
        } else {
            guard try Directory.kind(target) == nil else {
                throw IngotError(.cannotCreate, file: target.string, found: "the output appeared during the run")
            }
            try Directory.rename(staging, to: target)
        }
        published = true
        let parent = target.removingLastComponent()
        try Directory.synchronize(parent.isEmpty ? "." : parent)
        // What stands in staging now is what was replaced; what cannot be removed, the next run will try again.
        if replacing { try? Directory.removeTree(staging) }
    }

    /// A lock file whose name still leads to the file that was locked: an earlier holder removes it when it ends.
    private static func takeLock(_ path: FilePath, _ target: FilePath) throws -> Descriptor {
        // Each further round needs another run that ended just now.
        for _ in 0..<64 {
            let file = try Descriptor(path, flags: O_RDWR | O_CREAT, mode: 0o666, code: .cannotCreate)
            guard try file.tryLock() else {
                throw IngotError(.locked, file: target.string, found: "another process is writing this output")
            }
            let opened: FileIdentity
            do {
                opened = FileStatus(try file.status()).identity
            } catch {
                try? Directory.removeFile(path)
                throw error
            }
            if let current = FileIdentity(path), current.isSameFile(as: opened) { return file }
        }
        throw IngotError(.locked, file: target.string, found: "a lock file that other runs keep replacing")
    }

    private static func withoutTrailingDots(_ path: FilePath) -> FilePath {
        var path = path
        while path.lastComponent?.kind == .currentDirectory { path.removeLastComponent() }
        return path
    }
}
