import FileAccess
package import SystemPackage

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Edits that keep the modification time of a file, and permissions.
package enum FileTimes {
    /// Overwrites bytes of a file in place and restores its access and modification times.
    package static func patch(_ bytes: [UInt8], at offset: Int, in path: FilePath) throws {
        var before = stat()
        guard unsafe stat(path.string, &before) == 0 else { throw Errno(rawValue: errno) }
        try Files.patch(bytes, at: offset, in: path)
        #if canImport(Darwin)
            let times = [before.st_atimespec, before.st_mtimespec]
        #else
            let times = [before.st_atim, before.st_mtim]
        #endif
        guard unsafe utimensat(AT_FDCWD, path.string, times, 0) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Waits until the next change of a file gets a new time; the file system's clock is coarse.
    package static func waitForAnotherTick(in directory: TemporaryDirectory) throws {
        let probe = directory.at("tick")
        try Files.write("", to: probe)
        let first = FileIdentity(probe)
        while FileIdentity(probe) == first {
            usleep(1000)
            try Files.write("", to: probe)
        }
        try Directory.removeFile(probe)
    }

    /// Permissions of a file or directory, as 12 bits.
    package static func permissions(_ path: FilePath) throws -> Int {
        var found = stat()
        guard unsafe stat(path.string, &found) == 0 else { throw Errno(rawValue: errno) }
        return Int(found.st_mode & 0o7777)
    }

    /// Sets the permissions of a file or directory.
    package static func set(_ permissions: Int, of path: FilePath) throws {
        guard unsafe chmod(path.string, mode_t(permissions)) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Permissions after the umask of this process.
    package static func masked(_ permissions: Int) -> Int {
        let mask = umask(0o022)
        umask(mask)
        return permissions & ~Int(mask)
    }
}
