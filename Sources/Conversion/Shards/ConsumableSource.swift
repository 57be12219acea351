import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// Which sources may be consumed, and how a shard goes.
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
        // Other formats hold more than what is converted and verified: what else a file says would be lost.
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

    /// Refuses a shard that is not the directory's alone: deleting it would free nothing, or take it from a cache.
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

    /// Deletes a shard whose output is sealed, on the disk, and verified.
    ///
    /// - Parameter verified: what the file was right before and after it was verified against.
    /// - Throws: `sourceChanged` where it is not that any more.
    static func delete(_ shard: Shard, asVerified verified: FileIdentity?) throws {
        try requireOwn(shard.file.path)
        guard let verified, FileIdentity(shard.file.path) == verified, shard.file.change != .content else {
            throw shard.file.wasChanged
        }
        try Directory.removeFile(shard.file.path)
        try Directory.synchronize(shard.file.path.removingLastComponent())
    }
}
