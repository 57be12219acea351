package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file that the user names for a result, such as `-o FILE`.
///
/// A regular file is replaced in one step; symbolic links are followed and stay. What is no regular file is written into,
/// as `>` of a shell does: a device, a FIFO, an open descriptor such as `/dev/stdout` or `/dev/fd/63`.
package enum ReportFile {
    /// What a path for a result leads to.
    package enum Place: Sendable, Hashable {
        /// A name for a regular file, behind all symbolic links.
        case file(FilePath, exists: Bool)
        /// A device or a FIFO.
        case stream(FilePath)
        /// An open descriptor of this process.
        case descriptor(CInt)
    }

    /// Symbolic links in a row at most, as Linux has it.
    private static let linkLimit = 40
    private static let step = 1 << 16

    /// What a path leads to; nothing is changed.
    ///
    /// - Throws: `cannotCreate` for a directory, for a name that no file can have, and for a descriptor that is not open for writing.
    package static func place(_ typed: FilePath) throws -> Place {
        var path = typed
        for _ in 0...linkLimit {
            if let number = descriptor(path) {
                try requireWritable(number, typed)
                return .descriptor(number)
            }
            guard let found = try ReportTemporary.status(path, following: false) else {
                try requireDirectory(above: path)
                return .file(path, exists: false)
            }
            switch found.st_mode & S_IFMT {
            case S_IFREG: return .file(path, exists: true)
            case S_IFDIR: throw failure(path, "a directory where a file should go")
            case S_IFSOCK: throw failure(path, "a socket where a file should go")
            case S_IFLNK: path = path.removingLastComponent().pushing(try target(path))
            default: return .stream(path)
            }
        }
        throw failure(typed, "more than \(linkLimit) symbolic links, one leading to the next")
    }

    /// Writes a result, of which a regular file gets all or nothing.
    ///
    /// A reader that goes away is no error, as it is none on standard output.
    package static func write(_ parts: some Sequence<String>, to path: FilePath) throws {
        switch try place(path) {
        case .file(let target, _):
            var file = try AtomicFile(report: target)
            for part in parts { try file.append(part.utf8.span) }
            try file.publish()
        case .stream(let target): try write(parts, into: try openStream(target))
        case .descriptor(let number): try write(parts, into: try Descriptor(duplicating: number, path))
        }
    }

    private static func failure(_ path: FilePath, _ found: String) -> IngotError {
        IngotError(.cannotCreate, file: path.string, found: found)
    }

    // MARK: - Where

    /// The number of an open descriptor that a path stands for.
    private static func descriptor(_ path: FilePath) -> CInt? {
        guard let name = path.lastComponent?.string, let number = CInt(name), number >= 0, "\(number)" == name else {
            return nil
        }
        let folders = ["/dev/fd", "/proc/self/fd", "/proc/\(getpid())/fd"]
        return folders.contains(path.removingLastComponent().string) ? number : nil
    }

    private static func requireWritable(_ number: CInt, _ path: FilePath) throws {
        do {
            let flags = try repeating("fcntl", path) { fcntl(number, F_GETFL) }
            if flags & O_ACCMODE == O_RDONLY { throw failure(path, "a descriptor that is open for reading alone") }
        } catch let error as Errno {
            throw error.ingotError("fcntl", path, code: .cannotCreate)
        }
    }

    private static func requireDirectory(above path: FilePath) throws {
        let parent = path.removingLastComponent()
        let found = try ReportTemporary.status(parent.isEmpty ? "." : parent, following: true)
        guard found.map({ $0.st_mode & S_IFMT }) == S_IFDIR else {
            throw failure(path, "no directory \(parent) to write it to")
        }
    }

    /// Where a symbolic link leads.
    private static func target(_ path: FilePath) throws -> FilePath {
        // The last byte stays zero, and ends the text.
        var buffer = [CInterop.PlatformChar](repeating: 0, count: Int(PATH_MAX) + 1)
        do throws(Errno) {
            _ = try repeating("readlink", path) {
                unsafe path.withPlatformString { name in
                    unsafe buffer.withUnsafeMutableBufferPointer { room in
                        unsafe room.baseAddress.map { unsafe readlink(name, $0, room.count - 1) } ?? -1
                    }
                }
            }
            return FilePath(platformString: buffer)
        } catch {
            throw error.ingotError("readlink", path, code: .cannotCreate)
        }
    }

    // MARK: - What is no regular file

    /// Opens a device, or a FIFO once somebody reads it.
    private static func openStream(_ path: FilePath) throws -> Descriptor {
        while true {
            do throws(Errno) {
                // A call that waited for a reader would go on waiting after SIGINT.
                let number = try repeating("open", path) {
                    unsafe path.withPlatformString { unsafe open($0, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) }
                }
                let file = Descriptor(number: number, path: path)
                let flags = try repeating("fcntl", path) { fcntl(number, F_GETFL) }
                _ = try repeating("fcntl", path) { fcntl(number, F_SETFL, flags & ~O_NONBLOCK) }
                return file
            } catch .noSuchAddressOrDevice {
                guard try isPipe(path) else { throw failure(path, "a device that is not there") }
                usleep(20_000)
                try Interruption.check()
            } catch {
                throw error.ingotError("open", path, code: .cannotCreate)
            }
        }
    }

    private static func isPipe(_ path: FilePath) throws -> Bool {
        try ReportTemporary.status(path, following: true).map { $0.st_mode & S_IFMT } == S_IFIFO
    }

    /// Writes all parts to where the descriptor stands.
    private static func write(_ parts: some Sequence<String>, into file: borrowing Descriptor) throws {
        var pending: [UInt8] = []
        do throws(Errno) {
            for part in parts {
                pending += part.utf8
                guard pending.count >= step else { continue }
                try file.writeNext(pending.span)
                pending.removeAll(keepingCapacity: true)
            }
            try file.writeNext(pending.span)
        } catch .brokenPipe {
            return
        } catch {
            throw error.ingotError("write", file.path)
        }
    }
}

/// write(2), whose name a method of `Descriptor` has.
private func writeOnce(_ number: CInt, _ start: UnsafeRawPointer?, _ offset: Int, _ count: Int) -> Int {
    unsafe write(number, start.map { unsafe $0 + offset }, count)
}

extension Descriptor {
    /// Takes a descriptor that was opened elsewhere, and closes it in the end.
    init(number: CInt, path: FilePath) {
        self.number = number
        self.path = path
    }

    /// Opens what another descriptor leads to a second time: both share the place they are at.
    fileprivate init(duplicating number: CInt, _ path: FilePath) throws {
        do {
            self.init(
                number: try repeating("fcntl", path) { fcntl(number, F_DUPFD_CLOEXEC, 3) }, path: path)
        } catch {
            throw error.ingotError("fcntl", path, code: .cannotCreate)
        }
    }

    /// Writes all bytes to where the descriptor stands.
    fileprivate func writeNext(_ bytes: Span<UInt8>) throws(Errno) {
        var done = 0
        while done < bytes.count {
            do throws(Errno) {
                let length = SystemCallHook.byteCount("write", path, bytes.count - done)
                done += try repeating("write", path) {
                    unsafe bytes.withUnsafeBytes { unsafe writeOnce(number, $0.baseAddress, done, length) }
                }
            } catch .wouldBlock {
                // Somebody else made the other end so that it does not wait; we do.
                var waiting = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
                _ = try repeating("poll", path) { unsafe poll(&waiting, 1, 1000) }
            }
        }
    }
}
