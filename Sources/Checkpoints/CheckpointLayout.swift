import FileAccess
package import SystemPackage
package import TensorModel

/// Which files a checkpoint consists of, whether they are there yet or not.
package struct CheckpointLayout: Sendable {
    /// The path it was found by.
    package let path: FilePath
    /// The directory that holds it; nil where the path is that of one file.
    package let directory: FilePath?
    /// The name of the index file; nil for a checkpoint without.
    package let indexName: String?
    /// The names of the shards, sorted by their bytes.
    package let shardNames: [String]
    /// Which dict of a PyTorch file holds the weights: keys joined by `.`; nil for the usual ones.
    package let key: String?
    /// What is odd about the directory.
    package let warnings: [IngotWarning]
    /// What the index says; nil for a checkpoint without.
    package let index: ShardIndex?

    /// Finds the files of a checkpoint.
    ///
    /// A directory is read by its index (`*.safetensors.index.json`); without one it is `model.safetensors`, or the
    /// only `.safetensors` file in it. A directory without any is read in the same way as PyTorch's: by `*.bin.index.json`, as
    /// `pytorch_model.bin`, or the only `.bin`, `.pt` or `.pth` file that is not what training leaves beside a model. A
    /// single file may have any name. Where there is none of these, it is the only `.gguf` file, or the parts of the only one that
    /// was cut; the path of a part stands for all of them. Symbolic links to regular files are followed.
    ///
    /// - Parameters:
    ///   - path: the file or directory.
    ///   - key: of PyTorch files, which have dicts in dicts: the one with the weights, as its keys joined by `.`.
    ///   - limits: bounds on what is read.
    /// - Throws: `noInput`, `unsupportedSource`, and what an index can be wrong with.
    package static func read(_ path: FilePath, key: String? = nil, limits: Limits = .standard) throws
        -> CheckpointLayout
    {
        switch try Directory.kind(path) {
        case .directory: break
        case .none: throw IngotError(.noInput, file: path.string, found: "nothing under this path")
        case .file, .other:
            let name = path.lastComponent?.string ?? path.string
            guard WeightFiles.all.allSatisfy({ !TensorName.hasSuffix(name, $0.indexSuffix) }) else {
                throw IngotError(
                    .unsupportedSource, file: path.string, found: "an index",
                    expected: "a checkpoint's directory, or a file of weights", remedy: "name the index's directory")
            }
            return CheckpointLayout(
                path: path, directory: nil, indexName: nil, shardNames: GGUFSplit.all(of: name), key: key,
                warnings: [], index: nil)
        }
        if let names = try GGUFDirectory.shardNames(in: path) {
            return CheckpointLayout(
                path: path, directory: path, indexName: nil, shardNames: names, key: key, warnings: [], index: nil)
        }
        let listing = try DirectoryListing.read(path)
        guard let indexName = listing.indexName else {
            return CheckpointLayout(
                path: path, directory: path, indexName: nil, shardNames: [listing.lone], key: key,
                warnings: listing.warnings(of: path, used: [listing.lone]), index: nil)
        }
        let index = try ShardIndex.read(path.appending(indexName), of: listing.kind, limits: limits)
        return CheckpointLayout(
            path: path, directory: path, indexName: indexName, shardNames: index.shardNames, key: key,
            warnings: listing.warnings(of: path, used: Set(index.shardNames)), index: index)
    }

    /// Where a shard is, or will be.
    package func shardPath(_ position: Int) -> FilePath {
        if let directory { return directory.appending(shardNames[position]) }
        return shardNames.count == 1 ? path : path.removingLastComponent().appending(shardNames[position])
    }

    /// Opens a shard, and requires that it holds what the index says it does.
    ///
    /// - Throws: `missingShard` where it is not there.
    package func open(_ position: Int, limits: Limits = .standard) throws -> Shard {
        let shard = try openUnchecked(position, limits: limits)
        try index?.check(shard, position: position)
        try GGUFSplit.check(shard, position: position, of: shardNames.count)
        return shard
    }

    func openUnchecked(_ position: Int, limits: Limits) throws -> Shard {
        let place = shardPath(position)
        if shardNames.count > 1 || indexName != nil, try Directory.kind(place) == nil {
            let reason = indexName.map { "\($0) names it" } ?? "other parts of the checkpoint are there"
            throw IngotError(
                .missingShard, file: place.string, found: "no such file, though \(reason)",
                remedy: "fetch the shard, or the whole checkpoint again")
        }
        let file = try MappedFile.open(place)
        return Shard(
            fileName: shardNames[position], file: file,
            header: try ShardHeader.read(file, key: key, limits: limits))
    }
}
