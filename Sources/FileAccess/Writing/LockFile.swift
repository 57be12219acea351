package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A locked file. When the value goes away, the file is removed and then unlocked.
package struct LockFile: ~Copyable, Sendable {
    private let path: FilePath
    private let descriptor: Descriptor

    private init(_ path: FilePath, _ descriptor: consuming Descriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit { try? Directory.removeFile(path) }

    /// Creates and locks a lock file, or locks an existing one. An earlier holder removes the file when it ends, so this makes sure that
    /// the name still leads to the locked file.
    ///
    /// - Parameters:
    ///   - path: the lock file.
    ///   - target: the output that the lock guards, for messages.
    /// - Throws: `locked` if another process holds the lock, `cannotCreate` if anything other than a regular file has this name. It stays
    ///   as it is.
    package static func take(_ path: FilePath, guarding target: FilePath) throws -> LockFile {
        // Each further attempt needs another run that has just ended.
        for _ in 0..<64 {
            let file = try open(path, guarding: target)
            guard try file.tryLock() else {
                throw IngotError(.locked, file: target.string, found: "another process is writing this output")
            }
            let opened: FileStatus
            do {
                opened = FileStatus(try file.status())
            } catch {
                try? Directory.removeFile(path)
                throw error
            }
            guard opened.kind == .file else { throw refusal(path, "what is no regular file") }
            if let current = FileIdentity(path), current.isSameFile(as: opened.identity) { return LockFile(path, file) }
        }
        throw IngotError(.locked, file: target.string, found: "a lock file that other runs keep replacing")
    }

    /// Opens the file or creates it. A symbolic link is not followed.
    private static func open(_ path: FilePath, guarding target: FilePath) throws -> Descriptor {
        do {
            return try Descriptor(
                path, flags: O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode: 0o666, code: .cannotCreate)
        } catch {
            if let problem = Directory.parentProblem(of: target) { throw problem }
            if let found = try? Directory.ownStatus(path) {
                if found.isLink { throw refusal(path, "a symbolic link") }
                if found.kind != .file { throw refusal(path, "what is no regular file") }
            }
            throw error
        }
    }

    private static func refusal(_ path: FilePath, _ found: String) -> IngotError {
        IngotError(
            .cannotCreate, file: path.string, found: "\(found) under the name of the output's lock",
            expected: "nothing, or an empty file", remedy: "move it away")
    }
}
