package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file being written: it takes its name only when it is complete and on the disk.
///
/// It grows under a temporary name in the same directory; `publish()` makes it durable and renames it. A value that is
/// dropped before that removes its temporary file.
package struct AtomicFile: ~Copyable, Sendable {
    /// Where the file will be.
    package let path: FilePath
    private let temporary: FilePath
    private let mode: NewFileMode
    private let descriptor: Descriptor
    private var pending: [UInt8] = []
    private var flushed: UInt64 = 0
    private var published = false
    private var writtenOut: UInt64 = 0
    private let capacity: Int
    /// Bytes that are gathered before they are written, unless a caller has room for more.
    package static let usualBufferBytes = 1 << 20
    /// Bytes after which the system is asked to begin writing: small against the disk's speed, large against its blocks.
    private static let writeOutStep: UInt64 = 8 << 20

    /// Bytes appended so far.
    package var byteCount: UInt64 { flushed + UInt64(pending.count) }

    /// Creates the temporary file `.NAME.ingot-tmp` beside `path`; it must not exist yet.
    ///
    /// - Parameters:
    ///   - mode: its permissions. Until it is published it has these or fewer.
    ///   - bufferBytes: bytes that are gathered at most before they are written: few large writes cost less than many small ones.
    package init(
        _ path: FilePath, mode: NewFileMode = .usual, bufferBytes: Int = AtomicFile.usualBufferBytes
    ) throws {
        self.path = path
        capacity = bufferBytes
        self.mode = mode
        temporary = path.removingLastComponent().appending(AtomicFile.temporaryName(path))
        descriptor = try Descriptor(
            temporary, flags: O_RDWR | O_CREAT | O_EXCL, mode: mode.atFirst.rawValue, code: .cannotCreate)
    }

    /// Creates the temporary file of a report, which takes the place of `path` where there is a file already.
    ///
    /// Nothing else keeps two runs from writing one report, so the temporary file is locked while it is written: one that
    /// a killed run left is replaced. The file gets the owner and the mode of the one it replaces, and is readable to nobody
    /// else at any time.
    ///
    /// - Throws: `locked` where another run is writing it, `cannotCreate` where it cannot be made.
    init(report path: FilePath) throws {
        self.path = path
        // The temporary file is made with the permissions that it keeps.
        mode = .usual
        temporary = path.removingLastComponent().appending(AtomicFile.temporaryName(path))
        descriptor = try ReportTemporary.create(temporary, for: path)
        capacity = AtomicFile.usualBufferBytes
    }

    /// A name near the longest a file can have is replaced by its hash.
    private static func temporaryName(_ path: FilePath) -> String {
        let name = path.lastComponent?.string ?? ""
        let hash = ContentHash(of: Array(name.utf8).span)
        return name.utf8.count > 200 ? ".\(hash).ingot-tmp" : ".\(name).ingot-tmp"
    }

    deinit { if !published { try? Directory.removeFile(temporary) } }

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

    /// Appends bytes that are to be written over; they are zero until then, and take no disk.
    package mutating func appendHole(_ count: UInt64) throws {
        try flush()
        try descriptor.truncate(to: flushed + count)
        flushed += count
    }

    /// Writes over bytes that were appended before.
    package mutating func overwrite(_ bytes: Span<UInt8>, at offset: UInt64) throws {
        try flush()
        precondition(offset + UInt64(bytes.count) <= flushed)
        try descriptor.write(bytes, at: offset)
    }

    /// Takes back what was appended behind the first `byteCount` bytes.
    package mutating func truncate(to byteCount: UInt64) throws {
        try flush()
        precondition(byteCount <= flushed)
        try descriptor.truncate(to: byteCount)
        flushed = byteCount
        writtenOut = min(writtenOut, byteCount)
    }

    /// Makes the bytes durable, gives the file its name, and makes the name durable.
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
