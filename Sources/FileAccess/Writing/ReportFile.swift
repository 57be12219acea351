package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file that the user names for a result, such as `-o FILE`.
///
/// A regular file is replaced in one step; symbolic links to it are followed and stay. Anything else is written into, as `>` of a shell
/// does: a device, a FIFO, an open descriptor such as `/dev/stdout` or `/dev/fd/63`.
package enum ReportFile {
    /// The target of a path for a result.
    package enum Place: Sendable, Hashable {
        /// The path of a regular file, with all symbolic links resolved. The file may not exist yet.
        case file(FilePath, exists: Bool)
        /// A device or a FIFO.
        case stream(FilePath)
        /// An open descriptor of this process.
        case descriptor(CInt)
    }

    /// Maximum number of symbolic links in a row, as in Linux.
    private static let linkLimit = 40
    private static let step = 1 << 16

    /// Finds the target of a path and changes nothing.
    ///
    /// - Throws: `cannotCreate` for a directory, a socket, a name that no file can have, a missing parent directory, or a descriptor that
    ///   is not open for writing.
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

    /// Writes a result. A regular file gets all of it or stays as it was.
    ///
    /// If the reader of a FIFO or pipe goes away, writing ends without an error, as on standard output.
    package static func write(_ parts: some Sequence<String>, to path: FilePath) throws {
        try write(bytes: parts.lazy.map { Array($0.utf8) }, to: path)
    }

    /// Writes a result that is no text, as `write(_:to:)` does.
    package static func write(bytes parts: some Sequence<[UInt8]>, to path: FilePath) throws {
        switch try place(path) {
        case .file(let target, _):
            var file = try AtomicFile(report: target)
            for part in parts { try file.append(part.span) }
            try file.publish()
        case .stream(let target): try write(parts, into: try openStream(target))
        case .descriptor(let number): try write(parts, into: try Descriptor(duplicating: number, path))
        }
    }

    private static func failure(_ path: FilePath, _ found: String) -> IngotError {
        IngotError(.cannotCreate, file: path.string, found: found)
    }

    // MARK: - Target

    /// The number of the open descriptor that a path stands for; nil for any other path.
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

    /// The target of a symbolic link.
    private static func target(_ path: FilePath) throws -> FilePath {
        // The last byte stays zero and ends the text.
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

    // MARK: - Devices, FIFOs and descriptors

    /// Opens a device, or waits for a reader of a FIFO and opens it.
    private static func openStream(_ path: FilePath) throws -> Descriptor {
        while true {
            do throws(Errno) {
                // A blocking open would go on waiting for a reader after SIGINT.
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

    /// Writes all parts at the descriptor's current position.
    private static func write(_ parts: some Sequence<[UInt8]>, into file: borrowing Descriptor) throws {
        var pending: [UInt8] = []
        do throws(Errno) {
            for part in parts {
                pending += part
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

/// write(2) as a function of its own: inside `Descriptor` the name means its method.
private func writeOnce(_ number: CInt, _ start: UnsafeRawPointer?, _ offset: Int, _ count: Int) -> Int {
    unsafe write(number, start.map { unsafe $0 + offset }, count)
}

extension Descriptor {
    /// Takes over an open descriptor and closes it when the value goes away.
    init(number: CInt, path: FilePath) {
        self.number = number
        self.path = path
    }

    /// Duplicates a descriptor. Both share one position in the file.
    fileprivate init(duplicating number: CInt, _ path: FilePath) throws {
        do {
            self.init(
                number: try repeating("fcntl", path) { fcntl(number, F_DUPFD_CLOEXEC, 3) }, path: path)
        } catch {
            throw error.ingotError("fcntl", path, code: .cannotCreate)
        }
    }

    /// Writes all bytes at the descriptor's current position.
    fileprivate func writeNext(_ bytes: Span<UInt8>) throws(Errno) {
        var done = 0
        while done < bytes.count {
            do throws(Errno) {
                let length = SystemCallHook.byteCount("write", path, bytes.count - done)
                done += try repeating("write", path) {
                    unsafe bytes.withUnsafeBytes { unsafe writeOnce(number, $0.baseAddress, done, length) }
                }
            } catch .wouldBlock {
                // Another process made the descriptor non-blocking, so wait until it takes bytes.
                var waiting = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
                _ = try repeating("poll", path) { unsafe poll(&waiting, 1, 1000) }
            }
        }
    }
}
