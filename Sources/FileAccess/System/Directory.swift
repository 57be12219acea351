internal import CSystemCalls
package import SystemPackage
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// The kind of a file system object.
package enum FileKind: Sendable, Hashable {
    case file, directory, other
}

/// Directories and the names in them.
package enum Directory {
    /// A name in a directory.
    package struct Entry: Sendable, Hashable {
        /// The name. Bytes that are not UTF-8 are replaced.
        package let name: String
        /// Whether the name is UTF-8. A checkpoint cannot use any other name.
        package let isText: Bool
        /// The kind of the object that the name leads to, symbolic links followed; nil for a broken link.
        package let target: FileKind?
        /// Whether it is a symbolic link.
        package let isLink: Bool
        /// Size in bytes of the object that the name leads to; 0 for a broken link.
        package let byteCount: UInt64
    }

    /// The kind of the object at `path`, symbolic links followed; nil if nothing exists there.
    package static func kind(_ path: FilePath) throws -> FileKind? { try status(path, followingLinks: true)?.kind }

    /// Why no file can be created at `path`: its directory does not exist, is none, or may not be written to. nil if that is not the reason.
    package static func parentProblem(of path: FilePath) -> IngotError? {
        let parent = path.removingLastComponent()
        let place = parent.isEmpty ? FilePath(".") : parent
        func problem(_ found: String, _ remedy: Remedy) -> IngotError {
            IngotError(.cannotCreate, file: path.string, found: found, remedy: remedy)
        }
        let found: FileKind?
        do { found = try kind(place) } catch { return nil }
        switch found {
        case .directory: break
        case nil: return problem("the directory \(place) does not exist", "create it, or choose another place")
        default: return problem("\(place) is not a directory", "choose another place")
        }
        guard (try? isWritable(place)) == false else { return nil }
        return problem(
            "the directory \(place) may not be written to",
            "choose another place, or change the permissions of the directory")
    }

    /// The status of `path`. Returns nil only if nothing exists there; any other failure of stat(2) is thrown.
    private static func status(_ path: FilePath, followingLinks: Bool) throws -> FileStatus? {
        do {
            return try FileStatus(path, followingLinks: followingLinks)
        } catch Errno.noSuchFileOrDirectory, Errno.notDirectory, Errno.tooManySymbolicLinkLevels {
            return nil
        } catch {
            throw error.ingotError("stat", path)
        }
    }

    /// The entries of a directory, sorted by the bytes of their names, without `.` and `..`.
    package static func entries(_ path: FilePath) throws -> [Entry] {
        try names(path).map { component in
            let place = path.appending(component)
            let own = try status(place, followingLinks: false)
            let target = try status(place, followingLinks: true)
            return Entry(
                name: component.string, isText: String(validating: component) != nil, target: target?.kind,
                isLink: own?.isLink ?? false, byteCount: target?.byteCount ?? 0)
        }
    }

    /// All files below a directory: paths relative to it, with `/` between names. Directories are not listed themselves, except those whose
    /// names are not UTF-8, which are not entered. Symbolic links are listed and not followed.
    ///
    /// - Throws: `notARegularFile` if directories are nested deeper than `maximumDepth`.
    package static func tree(_ path: FilePath, maximumDepth: Int = 16) throws -> [(name: String, isText: Bool)] {
        var found: [(name: String, isText: Bool)] = []
        func visit(_ path: FilePath, _ prefix: String, _ depth: Int) throws {
            for entry in try entries(path) {
                guard entry.target == .directory, !entry.isLink, entry.isText else {
                    found.append((prefix + entry.name, entry.isText))
                    continue
                }
                guard depth < maximumDepth else {
                    throw IngotError(
                        .notARegularFile, file: path.string, found: "directories nested \(depth) deep",
                        expected: "at most \(maximumDepth) levels")
                }
                try visit(path.appending(entry.name), prefix + entry.name + "/", depth + 1)
            }
        }
        try visit(path, "", 1)
        return found
    }

    /// The status of `path`, symbolic links not followed; nil if nothing exists there.
    package static func ownStatus(_ path: FilePath) throws -> FileStatus? { try status(path, followingLinks: false) }

    /// Whether a path is a symbolic link, broken or not.
    package static func isLink(_ path: FilePath) throws -> Bool {
        try status(path, followingLinks: false)?.isLink ?? false
    }

    /// Whether a path is a symbolic link, and the number of hard links of its file; nil if nothing exists there.
    package static func links(_ path: FilePath) throws -> (isSymbolic: Bool, count: UInt64)? {
        try status(path, followingLinks: false).map { ($0.isLink, $0.linkCount) }
    }

    /// Whether this process may create and remove names in a directory.
    package static func isWritable(_ path: FilePath) throws -> Bool {
        do {
            _ = try repeating("access", path) { unsafe path.withPlatformString { unsafe access($0, W_OK | X_OK) } }
            return true
        } catch Errno.permissionDenied, Errno.readOnlyFileSystem {
            return false
        } catch {
            throw error.ingotError("access", path)
        }
    }

    private static func names(_ path: FilePath) throws -> [FilePath.Component] {
        let stream: OpaquePointer
        do throws(Errno) {
            var opened: OpaquePointer?
            _ = try repeating("opendir", path) {
                unsafe opened = path.withPlatformString { unsafe opendir($0) }
                return unsafe opened == nil ? -1 : 0
            }
            guard let opened = unsafe opened else { throw Errno.ioError }
            unsafe stream = opened
        } catch {
            throw error.ingotError("open", path)
        }
        defer { unsafe closedir(stream) }
        var names: [FilePath.Component] = []
        while let entry = unsafe readdir(stream) {
            let name: FilePath.Component? = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: pointer.pointee))
                {
                    unsafe FilePath.Component(platformString: $0)
                }
            }
            if let name, name.kind == .regular { names.append(name) }
        }
        return names.sorted { $0.string.utf8.lexicographicallyPrecedes($1.string.utf8) }
    }

    /// Creates a directory, which must not exist. The system subtracts the umask from the permissions.
    package static func create(_ path: FilePath, _ permissions: FilePermissions = .init(rawValue: 0o777)) throws {
        do {
            _ = try repeating("mkdir", path) {
                unsafe path.withPlatformString { unsafe mkdir($0, permissions.rawValue) }
            }
        } catch {
            throw error.ingotError("mkdir", path, code: .cannotCreate)
        }
    }

    /// Permissions of a file or directory, symbolic links followed; nil if nothing exists there.
    package static func permissions(_ path: FilePath) throws -> FilePermissions? {
        try status(path, followingLinks: true)?.permissions
    }

    /// Sets the permissions of a directory. Does nothing on a file system without permissions.
    package static func setPermissions(_ permissions: FilePermissions, of path: FilePath) throws {
        do {
            _ = try repeating("chmod", path) {
                unsafe path.withPlatformString { unsafe chmod($0, permissions.rawValue) }
            }
        } catch .notPermitted, .notSupported {
            // FAT reports this for a mode that it cannot store.
        } catch {
            throw error.ingotError("chmod", path)
        }
    }

    /// Makes the names in a directory durable.
    package static func synchronize(_ path: FilePath) throws {
        try Descriptor(path, flags: O_RDONLY | O_DIRECTORY, code: .inputOutput).synchronize()
    }

    /// Makes the name of a file or directory durable.
    package static func synchronizeName(of path: FilePath) throws {
        let parent = path.removingLastComponent()
        try synchronize(parent.isEmpty ? "." : parent)
    }

    /// Removes a directory and everything in it, or a single file. Symbolic links are removed and not followed. A missing path is no error.
    package static func removeTree(_ path: FilePath) throws {
        guard let status = try? FileStatus(path, followingLinks: false) else { return }
        if status.kind == .directory, !status.isLink {
            for name in try names(path) { try removeTree(path.appending(name)) }
            try unsafe change("rmdir", path) { unsafe rmdir($0) }
        } else {
            try unsafe change("unlink", path) { unsafe unlink($0) }
        }
    }

    /// Removes a file.
    package static func removeFile(_ path: FilePath) throws {
        try unsafe change("unlink", path) { unsafe unlink($0) }
    }

    /// Renames a file or directory, and replaces the target as far as rename(2) permits.
    package static func rename(_ from: FilePath, to target: FilePath) throws {
        do {
            _ = try repeating("rename", target) {
                unsafe from.withPlatformString { old in
                    unsafe target.withPlatformString { unsafe SystemRename.plain(old, $0) }
                }
            }
        } catch {
            throw error.ingotError("rename", target, code: .cannotCreate)
        }
    }

    /// Exchanges two directories in one step.
    package static func exchange(_ from: FilePath, with target: FilePath) throws {
        do {
            _ = try repeating("renameat2(RENAME_EXCHANGE)", target) {
                unsafe from.withPlatformString { old in
                    unsafe target.withPlatformString { unsafe SystemRename.exchanging(old, $0) }
                }
            }
        } catch {
            throw error.ingotError("rename", target, code: .cannotCreate)
        }
    }

    private static func change(
        _ call: String, _ path: FilePath, _ body: (UnsafePointer<CInterop.PlatformChar>) -> CInt
    ) throws {
        do {
            _ = try repeating(call, path) { unsafe path.withPlatformString { unsafe body($0) } }
        } catch {
            throw error.ingotError(call, path)
        }
    }
}

/// The two forms of rename(2). The platforms give the second one different names.
private enum SystemRename {
    static func plain(
        _ old: UnsafePointer<CInterop.PlatformChar>, _ new: UnsafePointer<CInterop.PlatformChar>
    ) -> CInt {
        unsafe rename(old, new)
    }

    static func exchanging(
        _ old: UnsafePointer<CInterop.PlatformChar>, _ new: UnsafePointer<CInterop.PlatformChar>
    ) -> CInt {
        #if canImport(Glibc)
            unsafe ingot_rename_exchange(old, new)
        #else
            unsafe renamex_np(old, new, UInt32(RENAME_SWAP))
        #endif
    }
}

/// The result of stat(2).
package struct FileStatus: Sendable {
    /// The kind; `other` for a symbolic link that was not followed.
    package let kind: FileKind
    /// Whether it is a symbolic link, which was not followed.
    package let isLink: Bool
    /// Size in bytes.
    package let byteCount: UInt64
    /// Number of hard links.
    package let linkCount: UInt64
    /// Identity of the file, which tells whether it was replaced or changed.
    package let identity: FileIdentity
    /// Permissions, including the set-user-ID, set-group-ID and sticky bits.
    package let permissions: FilePermissions
    let owner: UInt32, group: UInt32

    /// The status of a path; throws the error of stat(2), or of lstat(2) if symbolic links are not followed.
    init(_ path: FilePath, followingLinks: Bool) throws(Errno) {
        var status = stat()
        _ = try repeating(followingLinks ? "stat" : "lstat", path) {
            unsafe path.withPlatformString {
                followingLinks ? unsafe stat($0, &status) : unsafe lstat($0, &status)
            }
        }
        self.init(status)
    }

    init(_ status: stat) {
        let format = status.st_mode & S_IFMT
        kind = format == S_IFREG ? .file : format == S_IFDIR ? .directory : .other
        isLink = format == S_IFLNK
        byteCount = UInt64(max(0, status.st_size))
        linkCount = UInt64(status.st_nlink)
        identity = FileIdentity(status)
        permissions = FilePermissions(rawValue: status.st_mode & 0o7777)
        owner = status.st_uid
        group = status.st_gid
    }
}

/// Identifies a file and its state, to tell whether it was replaced or changed.
package struct FileIdentity: Sendable, Hashable {
    /// Device and inode, which identify the file under any name.
    package let device: UInt64, inode: UInt64
    /// Size in bytes.
    package let byteCount: UInt64
    /// Time of the last change of the content, in seconds since 1970 and nanoseconds. Programs can set it: archives restore dates of any
    /// century.
    package let modifiedSeconds: Int, modifiedNanoseconds: Int
    /// Time of the last change of the content or the status (mode, owner, names). Only the system sets it.
    package let changedSeconds: Int, changedNanoseconds: Int

    /// Makes an identity from recorded values.
    package init(
        device: UInt64, inode: UInt64, byteCount: UInt64, modifiedSeconds: Int, modifiedNanoseconds: Int,
        changedSeconds: Int, changedNanoseconds: Int
    ) {
        self.device = device
        self.inode = inode
        self.byteCount = byteCount
        self.modifiedSeconds = modifiedSeconds
        self.modifiedNanoseconds = modifiedNanoseconds
        self.changedSeconds = changedSeconds
        self.changedNanoseconds = changedNanoseconds
    }

    init(_ status: stat) {
        device = UInt64(truncatingIfNeeded: status.st_dev)
        inode = UInt64(status.st_ino)
        byteCount = UInt64(max(0, status.st_size))
        #if canImport(Darwin)
            let (modified, changed) = (status.st_mtimespec, status.st_ctimespec)
        #else
            let (modified, changed) = (status.st_mtim, status.st_ctim)
        #endif
        modifiedSeconds = Int(modified.tv_sec)
        modifiedNanoseconds = Int(modified.tv_nsec)
        changedSeconds = Int(changed.tv_sec)
        changedNanoseconds = Int(changed.tv_nsec)
    }

    /// The identity of the file at `path`, symbolic links followed; nil if it cannot be read.
    package init?(_ path: FilePath) {
        guard let status = try? FileStatus(path, followingLinks: true) else { return nil }
        self = status.identity
    }

    /// Whether both are the same file or directory, even if it has changed.
    package func isSameFile(as other: FileIdentity) -> Bool { device == other.device && inode == other.inode }

    /// Whether both are equal except for the time of the last status change.
    package func isSameButStatus(as other: FileIdentity) -> Bool {
        isSameFile(as: other) && byteCount == other.byteCount && modifiedSeconds == other.modifiedSeconds
            && modifiedNanoseconds == other.modifiedNanoseconds
    }
}
