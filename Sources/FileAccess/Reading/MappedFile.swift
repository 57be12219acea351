internal import CSystemCalls
internal import Synchronization
package import SystemPackage
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A regular file that is read in two ways: through a mapping or with read(2).
///
/// The mapping serves headers, tables and scattered reads. It is read by guarded copies, which give an error if the file was cut short. Its
/// pages count as resident memory, and releasing them interrupts all cores of the process. So large ranges are read with read(2) into
/// reused buffers (`read`).
package final class MappedFile: Sendable {
    /// The path by which the file was opened.
    package let path: FilePath
    /// Size in bytes when the file was opened.
    package let byteCount: UInt64
    /// Identity of the file when it was opened.
    package let identity: FileIdentity
    private let status: FileStatus
    private let address: UInt
    /// The descriptor for `read`, opened by its first call.
    private let opened = Mutex<OpenedFile?>(nil)
    /// Pages that scattered reads have touched and that are not released yet: their bytes, and a range around all of them.
    private let scattered = Mutex<(bytes: UInt64, range: ByteRange?)>((0, nil))

    /// Opens and maps a file, symbolic links followed.
    ///
    /// - Throws: `notARegularFile` for a directory, FIFO, socket or device; `noInput` if nothing exists at the path.
    package static func open(_ path: FilePath) throws -> MappedFile { try MappedFile(path) }

    private init(_ path: FilePath) throws {
        self.path = path
        // O_NONBLOCK: do not wait for the writer of a FIFO.
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

    /// Copies a range of the file.
    package func bytes(_ range: ByteRange) throws -> [UInt8] {
        try check(range)
        var buffer = [UInt8](repeating: 0, count: Int(range.count))
        try copy(range, into: &buffer)
        return buffer
    }

    /// Copies a range into the first bytes of `buffer`, which must be large enough.
    ///
    /// - Throws: `sourceChanged` if the file was cut short since it was opened.
    package func copy(_ range: ByteRange, into buffer: inout [UInt8]) throws {
        try copy(range, rows: 1, stride: 0, into: &buffer)
    }

    /// Copies `rows` ranges of the same length, `stride` bytes apart, into the first bytes of `buffer`, without gaps.
    ///
    /// - Parameter range: the first range.
    /// - Throws: `sourceChanged` if the file was cut short since it was opened.
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

    /// Reads a range with read(2) into `buffer` at `offset`. No page of the mapping becomes resident.
    ///
    /// - Throws: `sourceChanged` if the file was cut short or replaced since it was opened.
    package func read(_ range: ByteRange, into buffer: inout [UInt8], at offset: Int = 0) throws {
        try check(range)
        guard try descriptor(range).read(range, into: &buffer, at: offset) else { throw cutShort(range) }
    }

    /// Reads `rows` ranges of the same length, `stride` bytes apart, with read(2) into the first bytes of `buffer`, without gaps.
    ///
    /// - Parameter range: the first range.
    /// - Throws: `sourceChanged` if the file was cut short or replaced since it was opened.
    package func read(_ range: ByteRange, rows: Int, stride: Int, into buffer: inout [UInt8]) throws {
        let file = try descriptor(range)
        let width = Int(range.count)
        for row in 0..<rows {
            guard let part = ByteRange(start: range.start + UInt64(row * stride), count: range.count),
                part.end <= byteCount, try file.read(part, into: &buffer, at: row * width)
            else { throw cutShort(range) }
        }
    }

    /// Ranges shorter than this are copied from the mapping: a call of the system for each would take longer.
    private static let shortBytes: UInt64 = 16 << 10

    /// Reads `rows` ranges of the same length, `stride` bytes apart, into the first bytes of `buffer`, without gaps. Pages of short ranges
    /// become resident and are released later (`releaseScattered`).
    ///
    /// - Parameter range: the first range.
    /// - Throws: `sourceChanged` if the file was cut short or replaced since it was opened.
    package func readScattered(_ range: ByteRange, rows: Int, stride: Int, into buffer: inout [UInt8]) throws {
        guard range.count < MappedFile.shortBytes else {
            return try read(range, rows: rows, stride: stride, into: &buffer)
        }
        try copy(range, rows: rows, stride: stride, into: &buffer)
        releaseScattered(range, rows: rows, stride: stride)
    }

    /// Closes the descriptor of `read`; the next call opens it again. For checkpoints with very many shards.
    package func finishReading() { opened.withLock { $0 = nil } }

    /// The descriptor to read a range by, of a file that is still what it was when it was opened.
    private func descriptor(_ range: ByteRange) throws -> OpenedFile {
        let known = opened.withLock { $0 }
        let file = try known ?? OpenedFile(path)
        guard try file.isSameButStatus(as: identity) else { throw cutShort(range) }
        if known == nil { opened.withLock { $0 = $0 ?? file } }
        return file
    }

    /// Alignment in bytes of released ranges. A fault maps more than its page: on Linux 64 KiB around it, or the whole folio of the page
    /// cache, up to 2 MiB, aligned in the file. Pages before a range were released earlier. With release by single pages, half of a file of
    /// small chunks would stay resident (measured: 300 of 619 MB).
    private static let faultWindow: UInt = 2 << 20

    /// Releases the resident pages that hold a range. Reading it again works and costs a page fault.
    package func release(_ range: ByteRange) {
        guard address != 0, range.count > 0, range.end <= byteCount else { return }
        let window = MappedFile.faultWindow
        let start = address + UInt(range.start) & ~(window - 1)
        let end = address + min((UInt(range.end) + window - 1) & ~(window - 1), UInt(byteCount))
        unsafe madvise(UnsafeMutableRawPointer(bitPattern: start), Int(end - start), MADV_DONTNEED)
    }

    /// Bytes that scattered reads may touch before they are released: one release costs as much as many reads.
    private static let scatteredBytes: UInt64 = 8 << 20
    /// Scattered reads are not released while they all lie within a range of this many bytes.
    private static let keptBytes: UInt64 = 16 << 20

    /// Records a scattered read: `rows` ranges, `stride` bytes apart. Once such reads have touched several MiB, all their pages are
    /// released. Pages within a small part of the file stay resident.
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

    /// Distance in bytes between a read and the prefetch ahead of it: what the disk reads during a few chunks.
    private static let readAhead: UInt64 = 16 << 20

    /// Asks the system to start reading 16 MiB behind a range that is about to be read, without waiting. No page becomes resident. It asks
    /// once per 2 MiB window, so that small ranges do not cost a call each.
    package func prefetch(behind range: ByteRange) {
        guard address != 0, range.end <= byteCount else { return }
        let window: UInt64 = 2 << 20
        let start = (range.start + MappedFile.readAhead + window - 1) & ~(window - 1)
        let end = min((range.end + MappedFile.readAhead + window - 1) & ~(window - 1), byteCount)
        guard start < end else { return }
        unsafe madvise(UnsafeMutableRawPointer(bitPattern: address + UInt(start)), Int(end - start), MADV_WILLNEED)
    }

    /// Drops a file's cached pages as far as the system permits, so that the next read comes from the disk.
    package static func dropCache(_ path: FilePath) throws {
        try Descriptor(path, flags: O_RDONLY | O_NONBLOCK, code: .inputOutput).dropCache()
    }

    /// Permissions of the file when it was opened.
    package var permissions: FilePermissions { status.permissions }

    /// The ways in which a file can have changed since it was opened.
    package enum Change: Sendable, Hashable {
        /// No change.
        case none
        /// Mode, owner or names changed; or the content changed and the modification time was set back. Only the content can tell which.
        case status
        /// The path leads to another file, or the size or modification time changed.
        case content
    }

    /// How the file at the path changed since it was opened.
    package var change: Change {
        guard let now = FileIdentity(path) else { return .content }
        return now == identity ? .none : now.isSameButStatus(as: identity) ? .status : .content
    }

    /// Requires that the path still leads to the file that was opened, with the same content as far as the system tells.
    ///
    /// A new status-change time is accepted if mode, owner, group or number of hard links changed too. A caller that has a hash of the
    /// content compares it instead (`change`).
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

    /// The error for a file that has changed since it was opened.
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

/// A file opened for read(2), shared by all concurrent readers.
private final class OpenedFile: Sendable {
    private let descriptor: Descriptor

    init(_ path: FilePath) throws {
        descriptor = try Descriptor(path, flags: O_RDONLY | O_NONBLOCK, code: .inputOutput)
    }

    func isSameButStatus(as identity: FileIdentity) throws -> Bool {
        FileStatus(try descriptor.status()).identity.isSameButStatus(as: identity)
    }

    /// Reads a range. Returns false if the file ends before the range does.
    func read(_ range: ByteRange, into buffer: inout [UInt8], at offset: Int) throws -> Bool {
        let count = Int(range.count)
        return try descriptor.read(into: &buffer, at: offset, count: count, from: range.start) == count
    }
}

/// Installs, once per process, the signal handler that turns a vanished page into an error.
enum GuardedCopy {
    static let install: Void = { _ = ingot_guarded_copy_install() }()
}
