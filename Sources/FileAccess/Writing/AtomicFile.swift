package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file that gets its name only when it is complete and on the disk.
///
/// It grows under a temporary name in the same directory. `publish()` makes it durable and renames it. If the value goes away before that,
/// the temporary file is removed, unless `keepsTemporary` is set.
package struct AtomicFile: ~Copyable, Sendable {
    /// The final path of the file.
    package let path: FilePath
    private let temporary: FilePath
    private let mode: NewFileMode
    private let descriptor: Descriptor
    private var pending: [UInt8] = []
    private var flushed: UInt64 = 0
    private var published = false
    private var writtenOut: UInt64 = 0
    private let capacity: Int
    /// Whether the temporary file stays if the value goes away before it is published, so that a later run can continue it.
    package var keepsTemporary = false
    /// Default size in bytes of the buffer that gathers small writes.
    package static let usualBufferBytes = 1 << 20
    /// Bytes after which the system is asked to begin writing to the disk: little for the disk's speed, much for its block size.
    private static let writeOutStep: UInt64 = 8 << 20

    /// Number of bytes appended so far.
    package var byteCount: UInt64 { flushed + UInt64(pending.count) }

    /// Creates the temporary file `.NAME.ingot-tmp` beside `path`. It must not exist yet.
    ///
    /// - Parameters:
    ///   - mode: the permissions of the published file. Until then it has the same or fewer.
    ///   - bufferBytes: size of the buffer that gathers small writes. A few large writes cost less than many small ones.
    package init(
        _ path: FilePath, mode: NewFileMode = .usual, bufferBytes: Int = AtomicFile.usualBufferBytes
    ) throws {
        self.path = path
        capacity = bufferBytes
        self.mode = mode
        temporary = AtomicFile.temporaryPath(of: path)
        descriptor = try Descriptor(
            temporary, flags: O_RDWR | O_CREAT | O_EXCL, mode: mode.atFirst.rawValue, code: .cannotCreate)
    }

    /// Creates the temporary file of a report, which replaces the file at `path` if there is one.
    ///
    /// The temporary file is locked while it is written, because two runs may write one report. A temporary file without a lock is left
    /// from a killed run and is replaced. The new file gets the owner and the mode of the file that it replaces, and at no time can anybody
    /// else read it.
    ///
    /// - Throws: `locked` if another run is writing the report, `cannotCreate` if the file cannot be made.
    package init(report path: FilePath) throws {
        self.path = path
        // The temporary file is created with its final permissions.
        mode = .usual
        temporary = AtomicFile.temporaryPath(of: path)
        descriptor = try ReportTemporary.create(temporary, for: path)
        capacity = AtomicFile.usualBufferBytes
    }

    /// Continues a temporary file that an earlier run left: its first `byteCount` bytes stay.
    ///
    /// - Parameters:
    ///   - path: the final path of the file.
    ///   - mode: the permissions of the published file, as above. The temporary file keeps those permissions that `mode` allows too.
    /// - Throws: `cannotCreate` if there is no such file, or something else has its name.
    package init(
        continuing path: FilePath, byteCount: UInt64, mode: NewFileMode = .usual,
        bufferBytes: Int = AtomicFile.usualBufferBytes
    ) throws {
        self.path = path
        capacity = bufferBytes
        self.mode = mode
        temporary = AtomicFile.temporaryPath(of: path)
        descriptor = try AtomicFile.reopen(AtomicFile.temporaryPath(of: path), byteCount, mode)
        flushed = byteCount
        writtenOut = byteCount
    }

    /// Opens a temporary file again, and cuts it to its first `byteCount` bytes.
    private static func reopen(_ temporary: FilePath, _ byteCount: UInt64, _ mode: NewFileMode) throws -> Descriptor {
        let descriptor = try Descriptor(temporary, flags: O_RDWR | O_NOFOLLOW | O_NONBLOCK, code: .cannotCreate)
        let status = FileStatus(try descriptor.status())
        guard status.kind == .file, status.linkCount <= 1, status.byteCount >= byteCount else {
            throw IngotError(
                .cannotCreate, file: temporary.string, found: "another file than an earlier run left",
                expected: "a file of its own with \(byteCount) bytes or more", remedy: "move it away")
        }
        let narrowed = FilePermissions(rawValue: status.permissions.rawValue & mode.atFirst.rawValue | 0o600)
        if narrowed != status.permissions { try descriptor.setPermissions(narrowed) }
        try descriptor.truncate(to: byteCount)
        return descriptor
    }

    /// Path of the temporary file that will be published at `path`.
    package static func temporaryPath(of path: FilePath) -> FilePath {
        path.removingLastComponent().appending(temporaryName(path))
    }

    /// The name of the temporary file. A name of more than 200 bytes is replaced by its hash, because file systems limit the length.
    private static func temporaryName(_ path: FilePath) -> String {
        let name = path.lastComponent?.string ?? ""
        let hash = ContentHash(of: Array(name.utf8).span)
        return name.utf8.count > 200 ? ".\(hash).ingot-tmp" : ".\(name).ingot-tmp"
    }

    deinit { if !published && !keepsTemporary { try? Directory.removeFile(temporary) } }

    /// Appends bytes.
    package mutating func append(_ bytes: Span<UInt8>) throws {
        if pending.count + bytes.count > capacity { try flush() }
        if bytes.count >= capacity {
            try descriptor.write(bytes, at: flushed)
            flushed += UInt64(bytes.count)
        } else {
            unsafe bytes.withUnsafeBytes { unsafe pending.append(contentsOf: $0) }
        }
    }

    /// Appends zero bytes.
    package mutating func appendZeros(_ count: UInt64) throws {
        var left = count
        let zeros = [UInt8](repeating: 0, count: Int(min(left, 1 << 16)))
        while left > 0 {
            let step = min(left, UInt64(zeros.count))
            try append(zeros.span.extracting(0..<Int(step)))
            left -= step
        }
    }

    /// Appends zero bytes that are to be overwritten later. They take no disk space until then.
    package mutating func appendHole(_ count: UInt64) throws {
        try flush()
        try descriptor.truncate(to: flushed + count)
        flushed += count
    }

    /// Overwrites bytes that were appended before.
    package mutating func overwrite(_ bytes: Span<UInt8>, at offset: UInt64) throws {
        try flush()
        precondition(offset + UInt64(bytes.count) <= flushed)
        try descriptor.write(bytes, at: offset)
    }

    /// Removes everything behind the first `byteCount` bytes.
    package mutating func truncate(to byteCount: UInt64) throws {
        try flush()
        precondition(byteCount <= flushed)
        try descriptor.truncate(to: byteCount)
        flushed = byteCount
        writtenOut = min(writtenOut, byteCount)
    }

    /// Makes the bytes that were appended so far durable, and the temporary name.
    package mutating func synchronize() throws {
        try flush()
        try descriptor.synchronize()
        try Directory.synchronizeName(of: temporary)
    }

    /// Makes the bytes durable, gives the file its final name, and makes the name durable.
    package consuming func publish() throws {
        try flush()
        if case .exactly(let permissions) = mode { try descriptor.setPermissions(permissions) }
        try descriptor.synchronize()
        try Directory.rename(temporary, to: path)
        published = true
        try Directory.synchronizeName(of: path)
    }

    private mutating func flush() throws {
        guard !pending.isEmpty else { return }
        try descriptor.write(pending.span, at: flushed)
        flushed += UInt64(pending.count)
        pending.removeAll(keepingCapacity: true)
        if flushed - writtenOut >= AtomicFile.writeOutStep {
            descriptor.startWritingOut(writtenOut, flushed - writtenOut)
            writtenOut = flushed
        }
    }
}
