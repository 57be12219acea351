package import SystemPackage
internal import TensorModel

/// Small files, written whole.
package enum WholeFile {
    /// Writes a file atomically; the hash of its bytes.
    @discardableResult
    package static func write(
        _ bytes: [UInt8], to path: FilePath, mode: NewFileMode = .usual
    ) throws -> ContentHash {
        var file = try AtomicFile(path, mode: mode)
        try file.append(bytes.span)
        try file.publish()
        return ContentHash(of: bytes.span)
    }

    /// Reads a file of at most `limit` bytes.
    package static func read(_ path: FilePath, limit: UInt64) throws -> [UInt8] {
        let file = try MappedFile.open(path)
        guard file.byteCount <= limit else {
            throw IngotError(
                .headerTooLarge, file: path.string, found: "\(file.byteCount) bytes", expected: "at most \(limit) bytes"
            )
        }
        return try file.bytes(file.wholeRange)
    }

    /// Copies a file atomically, in pieces; the hash of its bytes and their number. The copy has the permissions of the original.
    ///
    /// - Throws: `sourceChanged` where the original is not what was copied any more.
    package static func copy(_ source: FilePath, to path: FilePath) throws -> (hash: ContentHash, byteCount: UInt64) {
        let from = try MappedFile.open(source)
        var file = try AtomicFile(path, mode: .copied(from: from.permissions))
        let hasher = ContentHasher()
        try from.forEachPiece(of: from.wholeRange) { bytes, _ in
            hasher.update(bytes)
            try file.append(bytes)
        }
        let hash = hasher.finish()
        // A new mode changes the status and no byte: the hash decides.
        let before = FileIdentity(source)
        if from.change != .none {
            guard from.change == .status, try from.hash(of: from.wholeRange) == hash, FileIdentity(source) == before
            else { throw from.wasChanged }
        }
        try file.publish()
        return (hash, from.byteCount)
    }
}
