package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file of lines that only grows. Each line is on the disk when `append` returns.
///
/// A line has 16 hexadecimal digits (the XXH3-64 of its text), a space, the text, and a newline. A line that a crash cut off ends the file,
/// and the next line overwrites it.
package struct RecordFile: ~Copyable, Sendable {
    /// Path of the file.
    package let path: FilePath
    /// The texts of the lines that were in the file when it was opened.
    package let lines: [[UInt8]]
    private let descriptor: Descriptor
    private var end: UInt64
    private static let maximumBytes: UInt64 = 1 << 30
    private static let digits = 16

    /// Reads the texts of the intact lines at the start of a file, and leaves the file as it is.
    ///
    /// - Throws: `cannotCreate` if the file does not consist of such lines.
    package static func lines(of path: FilePath) throws -> [[UInt8]] {
        let descriptor = try Descriptor(path, flags: O_RDONLY | O_NOFOLLOW | O_NONBLOCK, code: .cannotCreate)
        return parse(try content(of: descriptor)).lines
    }

    /// Whether the file exists.
    ///
    /// - Throws: `cannotCreate` if something else has this name. It is neither written nor removed.
    package static func isThere(_ path: FilePath) throws -> Bool {
        guard let found = try Directory.ownStatus(path) else { return false }
        guard !found.isLink, found.kind == .file else {
            throw foreign(path, found.isLink ? "a symbolic link" : "no file")
        }
        let descriptor = try Descriptor(path, flags: O_RDONLY | O_NOFOLLOW | O_NONBLOCK, code: .cannotCreate)
        _ = try content(of: descriptor)
        return true
    }

    /// Opens the file, or creates it.
    ///
    /// - Throws: `cannotCreate` if something else has this name. It stays as it is.
    package static func open(_ path: FilePath) throws -> RecordFile {
        guard let found = try Directory.ownStatus(path) else {
            let descriptor = try Descriptor(
                path, flags: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o666, code: .cannotCreate)
            try Directory.synchronizeName(of: path)
            return RecordFile(path: path, lines: [], descriptor: descriptor, end: 0)
        }
        guard !found.isLink, found.kind == .file else {
            throw foreign(path, found.isLink ? "a symbolic link" : "no file")
        }
        let descriptor = try Descriptor(path, flags: O_RDWR | O_NOFOLLOW | O_NONBLOCK, code: .cannotCreate)
        let bytes = try content(of: descriptor)
        let (lines, end) = parse(bytes)
        if end < bytes.count { try descriptor.truncate(to: UInt64(end)) }
        return RecordFile(path: path, lines: lines, descriptor: descriptor, end: UInt64(end))
    }

    /// Reads the bytes of an open file.
    ///
    /// - Throws: `cannotCreate` if the file cannot have been written by this program alone.
    private static func content(of descriptor: borrowing Descriptor) throws -> [UInt8] {
        let status = FileStatus(try descriptor.status())
        guard status.kind == .file else { throw foreign(descriptor.path, "no file") }
        guard status.linkCount <= 1 else {
            throw foreign(descriptor.path, "a file with \(status.linkCount) names")
        }
        guard status.byteCount <= maximumBytes else { throw foreign(descriptor.path, "\(status.byteCount) bytes") }
        var bytes = [UInt8](repeating: 0, count: Int(status.byteCount))
        let count = try descriptor.read(into: &bytes, at: 0, count: bytes.count, from: 0)
        bytes.removeLast(bytes.count - count)
        guard isLines(bytes) else { throw foreign(descriptor.path, "a file of other content") }
        return bytes
    }

    private static func foreign(_ path: FilePath, _ found: String) -> IngotError {
        IngotError(
            .cannotCreate, file: path.string, found: "\(found) under the name of the output's journal",
            expected: "nothing, or the journal of an earlier run, which has one name", remedy: "move it away")
    }

    /// Whether the file begins as a line does, possibly damaged by a crash: cut off, with up to two wrong bytes, or with zeros up to its
    /// end.
    private static func isLines(_ bytes: [UInt8]) -> Bool {
        let start = bytes.prefix(digits + 1)
        if let zero = start.firstIndex(of: 0) {
            guard bytes[zero...].allSatisfy({ $0 == 0 }) else { return false }
        }
        let strange = start.enumerated().count { index, byte in
            let isDigit = (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
            return byte != 0 && (index < digits ? !isDigit : byte != UInt8(ascii: " "))
        }
        return strange <= 2
    }

    private init(path: FilePath, lines: [[UInt8]], descriptor: consuming Descriptor, end: UInt64) {
        self.path = path
        self.lines = lines
        self.descriptor = descriptor
        self.end = end
    }

    /// Appends lines and waits until they are on the disk.
    ///
    /// - Parameter texts: the texts of the lines, without newlines.
    package mutating func append(_ texts: [[UInt8]]) throws {
        var bytes: [UInt8] = []
        for text in texts {
            bytes += ContentHash.hexadecimal(ContentHash.checksum64(text.span)).utf8
            bytes.append(UInt8(ascii: " "))
            bytes += text
            bytes.append(UInt8(ascii: "\n"))
        }
        try descriptor.write(bytes.span, at: end)
        try descriptor.synchronize()
        end += UInt64(bytes.count)
    }

    /// Removes all lines except the first `count`.
    package mutating func keep(_ count: Int) throws {
        let kept = lines.prefix(count).reduce(0) { $0 + RecordFile.digits + 1 + $1.count + 1 }
        guard UInt64(kept) < end else { return }
        try descriptor.truncate(to: UInt64(kept))
        try descriptor.synchronize()
        end = UInt64(kept)
    }

    /// The texts of the intact lines at the start, and the offset behind the last of them.
    package static func parse(_ bytes: [UInt8]) -> (lines: [[UInt8]], end: Int) {
        var lines: [[UInt8]] = []
        var start = 0
        while let newline = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            let line = bytes[start..<newline]
            guard line.count > digits, line[start + digits] == UInt8(ascii: " ") else { break }
            let text = Array(line.dropFirst(digits + 1))
            let checksum = ContentHash.hexadecimal(ContentHash.checksum64(text.span))
            guard line.prefix(digits).elementsEqual(checksum.utf8) else { break }
            lines.append(text)
            start = newline + 1
        }
        return (lines, start)
    }
}
