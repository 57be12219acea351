import FileAccess
package import SystemPackage
package import TensorModel

/// The files of a checkpoint. They may not all exist yet.
package struct CheckpointLayout: Sendable {
    /// The path by which the checkpoint was found.
    package let path: FilePath
    /// The directory of the checkpoint; nil if the path names one file.
    package let directory: FilePath?
    /// The name of the index file; nil if there is no index.
    package let indexName: String?
    /// The names of the shards, sorted by their bytes.
    package let shardNames: [String]
    /// The dict of a PyTorch file that holds the weights, as keys joined by `.`; nil for the usual ones.
    package let key: String?
    /// Oddities of the directory.
    package let warnings: [IngotWarning]
    /// The content of the index; nil if there is no index.
    package let index: ShardIndex?

    /// Finds the files of a checkpoint.
    ///
    /// A single file may have any name. The path of one part of a GGUF file that was split stands for all parts.
    ///
    /// In a directory, the first of these that exists is the checkpoint:
    /// - the shards that `*.safetensors.index.json` names; without index `model.safetensors`, or the only `.safetensors` file;
    /// - the shards that `*.bin.index.json` names; without index `pytorch_model.bin`;
    /// - the only `.gguf` file, or all parts of the only GGUF file that was split;
    /// - the only `.bin`, `.pt` or `.pth` file, not counting what training leaves beside a model.
    ///
    /// Symbolic links to regular files are followed.
    ///
    /// - Parameters:
    ///   - path: the file or directory.
    ///   - key: keys that lead to the dict with the weights in a PyTorch file, joined by `.`; nil for the usual ones.
    ///   - limits: limits of what is read.
    /// - Throws: `noInput`, `unsupportedSource`, and the errors of an index.
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
                path: path, directory: path, indexName: nil, shardNames: [listing.singleFile], key: key,
                warnings: listing.warnings(of: path, used: [listing.singleFile]), index: nil)
        }
        let index = try ShardIndex.read(path.appending(indexName), of: listing.kind, limits: limits)
        return CheckpointLayout(
            path: path, directory: path, indexName: indexName, shardNames: index.shardNames, key: key,
            warnings: listing.warnings(of: path, used: Set(index.shardNames)), index: index)
    }

    /// The path of a shard. The shard may not exist yet.
    package func shardPath(_ position: Int) -> FilePath {
        if let directory { return directory.appending(shardNames[position]) }
        return shardNames.count == 1 ? path : path.removingLastComponent().appending(shardNames[position])
    }

    /// Opens a shard without the others, and requires that it holds exactly the tensors that the index places in it.
    ///
    /// - Parameter quantized: what becomes of codes of other quantizers.
    /// - Throws: `missingShard` if it does not exist, `indexMismatch` if index and shard disagree, and the errors of `ShardHeader.read`;
    ///   `unsupportedSource` for codes that cannot be decoded, or that need tensors of another shard.
    package func open(
        _ position: Int, limits: Limits = .standard, quantized: QuantizedSources = .decoded
    ) throws -> Shard {
        let shard = try openUnchecked(position, limits: limits, undecodable: .refused)
        try index?.check(shard, position: position)
        try GGUFSplit.check(shard, position: position, of: shardNames.count)
        guard quantized == .decoded else { return shard }
        let (decoded, _) = try Checkpoint.decode([shard], Checkpoint.places(of: [shard]), in: self, .refused)
        try index?.requireWhole(decoded[0], position: position)
        return decoded[0]
    }

    /// Opens a shard without comparing it with the index.
    func openUnchecked(_ position: Int, limits: Limits, undecodable: UndecodableTensors) throws -> Shard {
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
            header: try ShardHeader.read(file, key: key, limits: limits, undecodable: undecodable))
    }
}
