internal import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Temporary files of reports. A lock tells whether a run is still writing the file or was killed.
enum ReportTemporary {
    /// Maximum number of attempts. Each further attempt needs another run that begins or ends at the same time.
    private static let rounds = 64

    /// Creates and locks the temporary file of a report.
    static func create(_ temporary: FilePath, for report: FilePath) throws -> Descriptor {
        let old = try status(report, following: true)
        for _ in 0..<rounds {
            // Only the owner has access at first. The mode for others depends on the group, and a new file has the group of its creator.
            let mode = old.map { $0.st_mode & 0o700 } ?? 0o666
            guard let file = try createNew(temporary, mode: mode) else {
                try removeLeftover(temporary, of: report)
                continue
            }
            do {
                // Another run may find this file before it is locked, and remove it as a leftover.
                guard try file.lock() != .taken, try isSame(file, temporary) else { continue }
                if let old { try file.adopt(old) }
            } catch {
                if (try? isSame(file, temporary)) == true { try? Directory.removeFile(temporary) }
                throw error
            }
            return file
        }
        throw IngotError(.locked, file: report.string, found: "a temporary file that other runs keep replacing")
    }

    /// Creates the file; nil if the name exists already.
    private static func createNew(_ path: FilePath, mode: mode_t) throws -> Descriptor? {
        do throws(Errno) {
            return try open(path, O_RDWR | O_CREAT | O_EXCL, mode)
        } catch .fileExists {
            return nil
        } catch {
            throw error.ingotError("open", path, code: .cannotCreate)
        }
    }

    /// Removes the temporary file of a killed run, which nobody holds a lock on.
    ///
    /// Only the name is removed. If the file has other hard links, its content stays there.
    private static func removeLeftover(_ path: FilePath, of report: FilePath) throws {
        guard let found = try status(path, following: false) else { return }
        func failure(_ text: String) -> IngotError {
            IngotError(.cannotCreate, file: path.string, found: text, remedy: "remove it, and run the command again")
        }
        guard found.st_mode & S_IFMT == S_IFREG else {
            throw failure("something that is no file under the name of a temporary file")
        }
        let file: Descriptor
        do throws(Errno) {
            file = try openLeftover(path)
        } catch .noSuchFileOrDirectory {
            // The other run has just ended and removed its file.
            return
        } catch {
            throw failure("a temporary file of another run that cannot be opened: \(error)")
        }
        switch try file.lock() {
        case .held: if try isSame(file, path) { try Directory.removeFile(path) }
        case .taken:
            throw IngotError(.locked, file: report.string, found: "another process is writing this file")
        case .unknown: throw failure("a temporary file on a file system without locks")
        }
    }

    /// Opens a file in order to lock it: for writing, which network file systems require, or for reading if writing is not permitted.
    private static func openLeftover(_ path: FilePath) throws(Errno) -> Descriptor {
        do throws(Errno) {
            return try open(path, O_RDWR | O_NONBLOCK)
        } catch .permissionDenied {
            return try open(path, O_RDONLY | O_NONBLOCK)
        }
    }

    /// Opens a file. Fails for a symbolic link.
    private static func open(_ path: FilePath, _ flags: CInt, _ mode: mode_t = 0) throws(Errno) -> Descriptor {
        let number = try repeating("open", path) { openOnce(path, flags | O_NOFOLLOW | O_CLOEXEC, mode) }
        return Descriptor(number: number, path: path)
    }

    /// Whether the path still names the open file.
    private static func isSame(_ file: borrowing Descriptor, _ path: FilePath) throws -> Bool {
        guard let named = try status(path, following: false) else { return false }
        return FileIdentity(named).isSameFile(as: FileIdentity(try file.status()))
    }

    /// The status of a path; nil if nothing exists there. `following` tells whether symbolic links are followed.
    static func status(_ path: FilePath, following: Bool) throws -> stat? {
        var status = stat()
        do {
            _ = try repeating(following ? "stat" : "lstat", path) {
                unsafe path.withPlatformString {
                    following ? unsafe stat($0, &status) : unsafe lstat($0, &status)
                }
            }
            return status
        } catch Errno.noSuchFileOrDirectory, Errno.notDirectory {
            return nil
        } catch {
            throw error.ingotError(following ? "stat" : "lstat", path, code: .cannotCreate)
        }
    }
}

/// open(2) as a function of its own: inside `ReportTemporary` the name means its method.
private func openOnce(_ path: FilePath, _ flags: CInt, _ mode: mode_t) -> CInt {
    unsafe path.withPlatformString { unsafe open($0, flags, mode) }
}

extension Descriptor {
    /// The result of asking for a lock.
    fileprivate enum Lock {
        case held, taken
        /// The file system has no locks.
        case unknown
    }

    /// Asks for an exclusive lock without waiting.
    fileprivate func lock() throws -> Lock {
        do {
            _ = try repeating("flock", path) { flock(number, LOCK_EX | LOCK_NB) }
            return .held
        } catch .wouldBlock {
            return .taken
        } catch .notSupported, .noFunction, .noLocks {
            return .unknown
        } catch {
            throw error.ingotError("flock", path)
        }
    }

    /// Gives the file the owner, group and mode of another file, as far as the system permits.
    ///
    /// If the group cannot be changed, the group members get the permissions of all others.
    fileprivate func adopt(_ other: stat) throws {
        let own = try status()
        var mode = other.st_mode & 0o777
        if own.st_uid != other.st_uid || own.st_gid != other.st_gid {
            func give(_ owner: uid_t, _ group: gid_t) -> Bool {
                (try? repeating("fchown", path) { fchown(number, owner, group) }) != nil
            }
            if !give(other.st_uid, other.st_gid), own.st_gid != other.st_gid, !give(own.st_uid, other.st_gid) {
                mode &= ~0o070 | (mode & 0o007) << 3
            }
        }
        guard own.st_mode & 0o777 != mode else { return }
        do {
            _ = try repeating("fchmod", path) { fchmod(number, mode) }
        } catch {
            throw error.ingotError("fchmod", path)
        }
    }
}
