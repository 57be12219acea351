package import SystemPackage
internal import TensorModel

/// Writes, reads and copies whole files.
package enum WholeFile {
    /// Writes a file atomically, and returns the hash of its bytes.
    @discardableResult
    package static func write(
        _ bytes: [UInt8], to path: FilePath, mode: NewFileMode = .usual
    ) throws -> ContentHash {
        var file = try AtomicFile(path, mode: mode)
        try file.append(bytes.span)
        try file.publish()
        return ContentHash(of: bytes.span)
    }

    /// Reads a whole file.
    ///
    /// - Throws: `headerTooLarge` if it has more than `limit` bytes.
    package static func read(_ path: FilePath, limit: UInt64) throws -> [UInt8] {
        let file = try MappedFile.open(path)
        guard file.byteCount <= limit else {
            throw IngotError(
                .headerTooLarge, file: path.string, found: "\(file.byteCount) bytes", expected: "at most \(limit) bytes"
            )
        }
        return try file.bytes(file.wholeRange)
    }

    /// Copies a file atomically, piece by piece, and returns the hash and number of its bytes. The copy gets the permissions of the
    /// original (`NewFileMode.copied`).
    ///
    /// - Throws: `sourceChanged` if the original changed during the copy.
    package static func copy(_ source: FilePath, to path: FilePath) throws -> (hash: ContentHash, byteCount: UInt64) {
        let from = try MappedFile.open(source)
        var file = try AtomicFile(path, mode: .copied(from: from.permissions))
        let hasher = ContentHasher()
        try from.forEachPiece(of: from.wholeRange) { bytes, _ in
            hasher.update(bytes)
            try file.append(bytes)
        }
        let hash = hasher.finish()
        // A change of mode changes the status and no bytes, so the hash decides.
        let before = FileIdentity(source)
        if from.change != .none {
            guard from.change == .status, try from.hash(of: from.wholeRange) == hash, FileIdentity(source) == before
            else { throw from.wasChanged }
        }
        try file.publish()
        return (hash, from.byteCount)
    }
}
