package import Checkpoints
package import Container
import FileAccess
package import SystemPackage
import TensorModel

/// The file `source-metadata.gguf` of a converted checkpoint: the metadata of a GGUF source, byte for byte, without tensors
/// (Specs/container.md, section 1).
package struct SourceMetadataFile: Sendable {
    private let file: MappedFile
    private let metadata: GGUFMetadataBytes

    /// The file for a source.
    ///
    /// - Parameter shard: the first file of the source. Nil if its format is another one, or if it has no metadata.
    package init?(_ shard: Shard) {
        guard let metadata = shard.header.carriedMetadata, metadata.count > 0 else { return nil }
        file = shard.file
        self.metadata = metadata
    }

    /// Bytes of the file.
    package var byteCount: UInt64 { metadata.fileBytes }

    /// Writes the file piece by piece. It gets the permissions of the source.
    ///
    /// - Returns: its entry in the manifest.
    package func write(into directory: FilePath) throws -> Manifest.File {
        var output = try AtomicFile(
            directory.appending(GGUFMetadataBytes.fileName), mode: .copied(from: file.permissions))
        let hasher = ContentHasher()
        let front = metadata.front
        hasher.update(front.span)
        try output.append(front.span)
        for range in metadata.ranges {
            try file.forEachPiece(of: range) { bytes, _ in
                try Interruption.check()
                hasher.update(bytes)
                try output.append(bytes)
            }
        }
        try output.publish()
        return Manifest.File(
            name: GGUFMetadataBytes.fileName, byteCount: byteCount, hash: hasher.finish(), isShard: false)
    }
}
