internal import CSystemCalls
internal import Synchronization
package import SystemPackage
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A regular file, read in two ways: from a mapping, by copies that survive the file's being cut short, or by read(2).
///
/// The mapping serves headers, tables and scattered reads. Its pages count as resident memory, and giving them back interrupts all
/// cores of the process, so everything large is read by read(2) into buffers that are reused (`read`).
package final class MappedFile: Sendable {
    /// The path it was opened with.
    package let path: FilePath
    /// Bytes of the file when it was opened.
    package let byteCount: UInt64
    /// What the file was when it was opened.
    package let identity: FileIdentity
    private let status: FileStatus
    private let address: UInt
    /// The descriptor that `read` uses, opened by the first of its calls.
    private let opened = Mutex<OpenedFile?>(nil)
    /// What scattered reads have touched and not given back, as bytes, and as a range around all of it.
    private let scattered = Mutex<(bytes: UInt64, range: ByteRange?)>((0, nil))

    /// Opens and maps a file, symbolic links followed.
    ///
    /// - Throws: `notARegularFile` for a directory, FIFO, socket or device; `noInput` where there is nothing.
    package static func open(_ path: FilePath) throws -> MappedFile { try MappedFile(path) }

    private init(_ path: FilePath) throws {
        self.path = path
        // O_NONBLOCK: a FIFO must not make us wait for a writer.
        let file = try Descriptor(path, flags: O_RDONLY | O_NONBLOCK, code: .noInput)
        let status = FileStatus(try file.status())
        guard status.kind == .file else {
            throw IngotError(
                .notARegularFile, file: path.string,
                found: status.kind == .directory ? "a directory" : "a FIFO, socket or device",
                expected: "a regular file, or a symbolic link to one")
        }
        byteCount = status.byteCount
        identity = status.identity
        self.status = status
        guard status.byteCount > 0 else {
            address = 0
            return
        }
        guard let length = Int(exactly: status.byteCount),
            let base = unsafe mmap(nil, length, PROT_READ, MAP_PRIVATE, file.number, 0), unsafe base != MAP_FAILED
        else { throw Errno(rawValue: errno).ingotError("mmap", path) }
        unsafe madvise(base, length, MADV_SEQUENTIAL)
        address = UInt(bitPattern: base)
        GuardedCopy.install
    }

    deinit {
        guard address != 0 else { return }
        unsafe munmap(UnsafeMutableRawPointer(bitPattern: address), Int(byteCount))
    }

    /// A copy of a range of the file.
    package func bytes(_ range: ByteRange) throws -> [UInt8] {
        try check(range)
        var buffer = [UInt8](repeating: 0, count: Int(range.count))
        try copy(range, into: &buffer)
        return buffer
    }

    /// Copies a range into the first bytes of `buffer`, which must be large enough.
    ///
    /// - Throws: `sourceChanged` where the file was cut short since it was opened.
    package func copy(_ range: ByteRange, into buffer: inout [UInt8]) throws {
        try copy(range, rows: 1, stride: 0, into: &buffer)
    }

    /// Copies `rows` ranges of one length, `stride` bytes apart, next to each other into the first bytes of `buffer`.
    ///
    /// - Parameter range: the first of them.
    /// - Throws: `sourceChanged` where the file was cut short since it was opened.
    package func copy(_ range: ByteRange, rows: Int, stride: Int, into buffer: inout [UInt8]) throws {
        guard rows > 0, let last = Checked.add(range.end, UInt64(stride) * UInt64(rows - 1)),
            let whole = ByteRange(start: range.start, end: last)
        else { return }
        precondition(buffer.count >= Int(range.count) * rows)
        try check(whole)
        guard range.count > 0 else { return }
        let failed = unsafe buffer.withUnsafeMutableBytes { target in
            unsafe ingot_guarded_copy_rows(
                target.baseAddress, UnsafeRawPointer(bitPattern: address + UInt(range.start)), Int(range.count), rows,
                stride)
        }
        guard failed == 0 else { throw cutShort(range) }
    }

    private func cutShort(_ range: ByteRange) -> IngotError {
        IngotError(
            .sourceChanged, file: path.string, offset: range.start, found: "the file cannot be read here any more",
            expected: "\(byteCount) bytes, as when it was opened")
    }

    /// Reads a range by read(2) into `buffer` from `offset` on: no page of the mapping becomes resident.
    ///
    /// - Throws: `sourceChanged` where the file was cut short or replaced since it was opened.
    package func read(_ range: ByteRange, into buffer: inout [UInt8], at offset: Int = 0) throws {
        try check(range)
        guard try descriptor(range).read(range, into: &buffer, at: offset) else { throw cutShort(range) }
    }

    /// Reads `rows` ranges of one length, `stride` bytes apart, next to each other into the first bytes of `buffer`, by read(2).
    ///
    /// - Parameter range: the first of them.
    /// - Throws: `sourceChanged` where the file was cut short or replaced since it was opened.
    package func read(_ range: ByteRange, rows: Int, stride: Int, into buffer: inout [UInt8]) throws {
        let file = try descriptor(range)
        let width = Int(range.count)
        for row in 0..<rows {
            guard let part = ByteRange(start: range.start + UInt64(row * stride), count: range.count),
                part.end <= byteCount, try file.read(part, into: &buffer, at: row * width)
            else { throw cutShort(range) }
        }
    }

    /// Closes the descriptor that `read` opened; the next call opens another one. For files of a checkpoint with very many shards.
    package func finishReading() { opened.withLock { $0 = nil } }

    /// The descriptor to read a range by, of a file that is still what it was when it was opened.
    private func descriptor(_ range: ByteRange) throws -> OpenedFile {
        let known = opened.withLock { $0 }
        let file = try known ?? OpenedFile(path)
        guard try file.isSameButStatus(as: identity) else { throw cutShort(range) }
        if known == nil { opened.withLock { $0 = $0 ?? file } }
        return file
    }

    /// A fault maps more than its page: on Linux the 64 KiB around it, or the whole folio of the page cache, up to 2 MiB,
    /// aligned in the file. What lies before a range was given back already: released by the page, half of a file of
    /// small chunks would stay behind (measured: 300 of 619 MB).
    private static let faultWindow: UInt = 2 << 20

    /// Gives back the resident pages that hold a range; reading it again works, and costs a fault.
    package func release(_ range: ByteRange) {
        guard address != 0, range.count > 0, range.end <= byteCount else { return }
        let window = MappedFile.faultWindow
        let start = address + UInt(range.start) & ~(window - 1)
        let end = address + min((UInt(range.end) + window - 1) & ~(window - 1), UInt(byteCount))
        unsafe madvise(UnsafeMutableRawPointer(bitPattern: start), Int(end - start), MADV_DONTNEED)
    }

    /// What may be resident of scattered reads before it is given back: each time costs as much as many of them.
    private static let scatteredBytes: UInt64 = 8 << 20
    /// Parts of a file that scattered reads may keep resident.
    private static let keptBytes: UInt64 = 16 << 20

    /// Takes note of runs of bytes that were read, `stride` bytes apart, and gives back what such reads have touched once it comes to
    /// some MiB. Small parts stay.
    package func releaseScattered(_ first: ByteRange, rows: Int, stride: Int) {
        guard let reach = ByteRange(start: first.start, count: first.count + UInt64((rows - 1) * stride)) else {
            return
        }
        let touched = min(reach.count, UInt64(rows) * max(first.count, UInt64(MappedFile.faultWindow)))
        let due = scattered.withLock { state -> ByteRange? in
            state.bytes += touched
            let (start, end) = (min(state.range?.start ?? .max, reach.start), max(state.range?.end ?? 0, reach.end))
            let all = ByteRange(start: start, end: end)
            guard state.bytes > MappedFile.scatteredBytes, all?.count ?? 0 > MappedFile.keptBytes else {
                state.range = all
                return nil
            }
            state = (0, nil)
            return all
        }
        if let due { release(due) }
    }

    /// How far ahead of what is read the disk is asked for more: at its speed, the time of a few chunks.
    private static let readAhead: UInt64 = 16 << 20

    /// Has the system begin to read what lies some way behind a range that is about to be read, without waiting; nothing of it
    /// becomes resident. Asks window by window, so that small ranges cost no call each.
    package func prefetch(behind range: ByteRange) {
        guard address != 0, range.end <= byteCount else { return }
        let window: UInt64 = 2 << 20
        let start = (range.start + MappedFile.readAhead + window - 1) & ~(window - 1)
        let end = min((range.end + MappedFile.readAhead + window - 1) & ~(window - 1), byteCount)
        guard start < end else { return }
        unsafe madvise(UnsafeMutableRawPointer(bitPattern: address + UInt(start)), Int(end - start), MADV_WILLNEED)
    }

    /// Drops what the system has cached of a file, where it may, so that what is read next comes from the disk.
    package static func dropCache(_ path: FilePath) throws {
        try Descriptor(path, flags: O_RDONLY | O_NONBLOCK, code: .inputOutput).dropCache()
    }

    /// Permissions of the file when it was opened.
    package var permissions: FilePermissions { status.permissions }

    /// How a file changed since it was opened.
    package enum Change: Sendable, Hashable {
        /// Nothing.
        case none
        /// Mode, owner or names changed, or bytes changed and the time of modification was set back. Only the bytes tell which.
        case status
        /// It is another file, or its size or time of modification changed.
        case content
    }

    /// How the file at the path changed since it was opened.
    package var change: Change {
        guard let now = FileIdentity(path) else { return .content }
        return now == identity ? .none : now.isSameButStatus(as: identity) ? .status : .content
    }

    /// Requires that the file at the path is still the one that was opened, with the same bytes as far as the system tells.
    ///
    /// Another time of the last change of the status is accepted if mode, owner, group or number of names changed too. A caller that has a
    /// hash of the bytes compares it instead (`change`).
    ///
    /// - Throws: `sourceChanged`.
    package func checkUnchanged() throws {
        switch change {
        case .none: return
        case .content: break
        case .status:
            guard let now = try? FileStatus(path, followingLinks: true) else { break }
            if (now.permissions, now.owner, now.group, now.linkCount)
                != (status.permissions, status.owner, status.group, status.linkCount)
            {
                return
            }
        }
        throw wasChanged
    }

    /// The error of a file that is not what it was when it was opened.
    package var wasChanged: IngotError {
        IngotError(
            .sourceChanged, file: path.string, found: "the file was changed or replaced during the run",
            expected: "\(byteCount) bytes, untouched")
    }

    private func check(_ range: ByteRange) throws {
        guard range.end <= byteCount else {
            throw IngotError(
                .invalidOffsets, file: path.string, offset: range.start, found: "a range up to byte \(range.end)",
                expected: "at most \(byteCount) bytes, the size of the file")
        }
    }
}

/// A file opened for read(2), shared by all that read it at the time.
private final class OpenedFile: Sendable {
    private let descriptor: Descriptor

    init(_ path: FilePath) throws {
        descriptor = try Descriptor(path, flags: O_RDONLY | O_NONBLOCK, code: .inputOutput)
    }

    func isSameButStatus(as identity: FileIdentity) throws -> Bool {
        FileStatus(try descriptor.status()).identity.isSameButStatus(as: identity)
    }

    /// Whether the file has all of the range.
    func read(_ range: ByteRange, into buffer: inout [UInt8], at offset: Int) throws -> Bool {
        let count = Int(range.count)
        return try descriptor.read(into: &buffer, at: offset, count: count, from: range.start) == count
    }
}

/// The handler that turns the signal of a vanished page into an error, installed once a process.
enum GuardedCopy {
    static let install: Void = { _ = ingot_guarded_copy_install() }()
}
