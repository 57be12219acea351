import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// Decides which sources may be consumed, and deletes their shards.
enum ConsumableSource {
    /// Refuses a source whose shards must not, or cannot, be deleted one by one.
    ///
    /// - Throws: `usage`.
    static func require(_ layout: CheckpointLayout) throws {
        guard let directory = layout.directory, layout.indexName != nil else {
            throw failure(
                layout.path, "a source to be consumed that is not in shards",
                "safetensors shards and an index: one file alone cannot be deleted before all of it is converted, and other formats hold more than tensors"
            )
        }
        // Files of other formats hold more than what is converted and verified; deleting them would lose the rest.
        if let other = layout.shardNames.first(where: { FilePath($0).extension != "safetensors" }) {
            throw failure(
                directory.appending(other), "a source to be consumed with a shard that is no safetensors file",
                "shards that hold tensors and nothing else")
        }
        for position in layout.shardNames.indices { try requireOwn(layout.shardPath(position)) }
        guard try Directory.isWritable(directory) else {
            throw failure(
                directory, "a source to be consumed in a directory that may not be written to", "write permission")
        }
    }

    /// Refuses a shard that is a symbolic link or has several names: deleting it would free nothing, or damage a cache.
    ///
    /// - Throws: `usage`.
    static func requireOwn(_ path: FilePath) throws {
        guard let links = try Directory.links(path) else { return }
        guard !links.isSymbolic else {
            throw failure(
                path, "a source to be consumed with a shard that is a symbolic link, as in a cache of downloads",
                "a file")
        }
        guard links.count == 1 else {
            throw failure(
                path, "a source to be consumed with a shard that has \(links.count) names", "a file with one name")
        }
    }

    private static func failure(_ path: FilePath, _ found: String, _ expected: String) -> IngotError {
        IngotError(
            .usage, file: path.string, found: found, expected: expected,
            remedy: .either(.option(.keepSource), or: .option(.downloadApart)))
    }

    /// Deletes a shard of the source. Its output must be sealed, on the disk, and verified.
    ///
    /// - Parameter verified: identity of the file that was the same before and after the verification.
    /// - Throws: `sourceChanged` if the file is another one now; `usage` if it is a link or has several names; I/O errors.
    static func delete(_ shard: Shard, asVerified verified: FileIdentity?) throws {
        try requireOwn(shard.file.path)
        guard let verified, FileIdentity(shard.file.path) == verified, shard.file.change != .content else {
            throw shard.file.wasChanged
        }
        try Directory.removeFile(shard.file.path)
        try Directory.synchronize(shard.file.path.removingLastComponent())
    }
}
