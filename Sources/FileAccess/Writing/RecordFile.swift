public import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file of lines that only grows: each is on the disk when `append` returns.
///
/// A line is 16 hexadecimal digits, the XXH3-64 of its text, a space, the text, and a newline. One that a crash cut off ends the
/// file, and is written over by the next.
public struct RecordFile: ~Copyable, Sendable {
    /// Where it is.
    public let path: FilePath
    /// The texts of the lines that were there when it was opened.
    public let lines: [[UInt8]]
    private let descriptor: Descriptor
    private var end: UInt64
    private static let maximumBytes: UInt64 = 1 << 30
    private static let digits = 16

    /// The texts of the whole lines at the start of a file, which stays as it is.
    public static func lines(of path: FilePath) throws -> [[UInt8]] {
        parse(try WholeFile.read(path, limit: maximumBytes)).lines
    }

    /// Opens a file, or makes one.
    public static func open(_ path: FilePath) throws -> RecordFile {
        let exists = try Directory.kind(path) != nil
        let bytes = exists ? try WholeFile.read(path, limit: maximumBytes) : []
        let (lines, end) = parse(bytes)
        let descriptor = try Descriptor(
            path, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o666, code: .cannotCreate)
        if end < bytes.count { try descriptor.truncate(to: UInt64(end)) }
        if !exists {
            try Directory.synchronizeName(of: path)
        }
        return RecordFile(path: path, lines: lines, descriptor: descriptor, end: UInt64(end))
    }

    private init(path: FilePath, lines: [[UInt8]], descriptor: consuming Descriptor, end: UInt64) {
        self.path = path
        self.lines = lines
        self.descriptor = descriptor
        self.end = end
    }

    /// Appends lines and waits until they are on the disk.
    ///
    /// - Parameter texts: each without newlines.
    public mutating func append(_ texts: [[UInt8]]) throws {
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

    /// The texts of the whole lines at the start, and where they end.
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
