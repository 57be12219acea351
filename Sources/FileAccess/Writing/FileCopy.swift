public import SystemPackage
public import TensorModel

/// Small files, written whole.
public enum WholeFile {
    /// Writes a file atomically; the hash of its bytes.
    @discardableResult
    public static func write(_ bytes: [UInt8], to path: FilePath) throws -> ContentHash {
        var file = try AtomicFile(path)
        try file.append(bytes.span.bytes)
        try file.publish()
        return ContentHash(of: bytes.span.bytes)
    }

    /// Reads a file of at most `limit` bytes.
    public static func read(_ path: FilePath, limit: UInt64) throws -> [UInt8] {
        let file = try MappedFile.open(path)
        guard file.byteCount <= limit, let range = ByteRange(start: 0, end: file.byteCount) else {
            throw IngotError(
                .headerTooLarge, file: path.string, found: "\(file.byteCount) bytes", expected: "at most \(limit) bytes"
            )
        }
        return try file.bytes(range)
    }

    /// Copies a file atomically, in pieces; the hash of its bytes and their number.
    public static func copy(_ source: FilePath, to path: FilePath) throws -> (hash: ContentHash, byteCount: UInt64) {
        let from = try MappedFile.open(source)
        var file = try AtomicFile(path)
        var hasher = ContentHasher()
        var buffer = [UInt8](repeating: 0, count: Int(min(from.byteCount, 1 << 20)))
        var start: UInt64 = 0
        while start < from.byteCount,
            let piece = ByteRange(start: start, count: min(UInt64(buffer.count), from.byteCount - start))
        {
            try from.copy(piece, into: &buffer)
            let bytes = buffer.span.extracting(0..<Int(piece.count)).bytes
            hasher.update(bytes)
            try file.append(bytes)
            from.release(piece)
            start = piece.end
        }
        try from.checkUnchanged()
        try file.publish()
        return (hasher.finish(), from.byteCount)
    }
}
