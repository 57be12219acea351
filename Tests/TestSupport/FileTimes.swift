import FileAccess
package import SystemPackage

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Changes that leave the time of modification as it was, and permissions.
package enum FileTimes {
    /// Overwrites bytes of a file in place, and sets its time of modification back.
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

    /// Waits until a change gets another time than those made so far: the system's clock for files is coarse.
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

    /// Permissions of a file or directory.
    package static func permissions(_ path: FilePath) throws -> Int {
        var found = stat()
        guard unsafe stat(path.string, &found) == 0 else { throw Errno(rawValue: errno) }
        return Int(found.st_mode & 0o7777)
    }

    /// Sets the permissions of a file or directory.
    package static func set(_ permissions: Int, of path: FilePath) throws {
        guard unsafe chmod(path.string, mode_t(permissions)) == 0 else { throw Errno(rawValue: errno) }
    }

    /// What the umask of this process leaves of some permissions.
    package static func masked(_ permissions: Int) -> Int {
        let mask = umask(0o022)
        umask(mask)
        return permissions & ~Int(mask)
    }
}
