package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A file without a name for numbers that do not fit in memory. It is gone after any end of the process.
package struct ScratchFile: ~Copyable, Sendable {
    private let descriptor: Descriptor

    /// Creates the file on the file system of a directory.
    ///
    /// - Throws: `cannotCreate`.
    package init(in directory: FilePath) throws {
        descriptor = try ScratchFile.open(in: directory)
    }

    private static func open(in directory: FilePath) throws -> Descriptor {
        #if os(Linux)
            if let descriptor = try? Descriptor(directory, flags: O_RDWR | unnamed, mode: 0o600, code: .cannotCreate) {
                return descriptor
            }
        #endif
        // Without O_TMPFILE: a file that loses its name at once.
        let path = directory.appending(".ingot-scratch-\(UInt64.random(in: 0...UInt64.max))")
        let descriptor = try Descriptor(
            path, flags: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600, code: .cannotCreate)
        try Directory.removeFile(path)
        return descriptor
    }

    #if os(Linux)
        /// O_TMPFILE, which Glibc's overlay does not name: __O_TMPFILE | O_DIRECTORY.
        private static let unnamed: CInt = 0o20_000_000 | O_DIRECTORY
    #endif

    /// Writes numbers, beginning with number `start` of the file.
    package func write(_ numbers: [Float], at start: Int) throws {
        try unsafe numbers.withUnsafeBytes { bytes in
            try unsafe descriptor.write(Span(_unsafeBytes: bytes), at: UInt64(start) * 4)
        }
    }

    /// Reads `count` numbers, beginning with number `start` of the file. They must have been written.
    package func read(_ count: Int, at start: Int) throws -> [Float] {
        var bytes = [UInt8](repeating: 0, count: count * 4)
        let found = try descriptor.read(into: &bytes, at: 0, count: bytes.count, from: UInt64(start) * 4)
        guard found == bytes.count else {
            throw IngotError(
                .inputOutput, file: descriptor.path.string, found: "\(found) bytes of a scratch file",
                expected: "\(bytes.count) that were written")
        }
        return unsafe bytes.withUnsafeBytes { unsafe Array($0.bindMemory(to: Float.self)) }
    }
}
