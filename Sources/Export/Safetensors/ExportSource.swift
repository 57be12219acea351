import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel
import Weights

/// What an export reads: the shards of a checkpoint of any format, and the files beside them.
struct ExportSource {
    /// A shard, and the name of the file that it becomes.
    enum Shard {
        /// A shard of a sealed checkpoint.
        case sealed(SealedShard)
        /// A file of another format, with the tensors in it.
        case plain(Checkpoints.Shard, [StoredWeights])
    }

    /// The checkpoint.
    let checkpoint: OpenedCheckpoint
    /// The shards, with the names of the files that they become.
    let shards: [(name: String, shard: Shard)]
    /// The files beside the shards but the index, with their hashes.
    let companions: [(name: String, hash: ContentHash)]
    /// The directory of the files beside the shards.
    let directory: FilePath

    /// Lists shards and files; hashes the files beside the shards of a checkpoint that is not sealed.
    ///
    /// - Throws: errors of reading.
    init(_ checkpoint: OpenedCheckpoint) throws {
        self.checkpoint = checkpoint
        directory = checkpoint.path
        switch checkpoint.content {
        case .sealed(let sealed):
            shards = sealed.shards.map { ($0.file.path.lastComponent?.string ?? "", .sealed($0)) }
            let index = CheckpointNames.index(of: shards.map(\.name))
            companions = sealed.manifest.files.filter { !$0.isShard && $0.name != index }.map { ($0.name, $0.hash) }
        case .plain(let plain):
            let stem = CheckpointNames.stem(ofSource: plain.layout.shardNames)
            var tensors: [String: [StoredWeights]] = [:]
            for tensor in checkpoint.tensors { tensors[tensor.fileName, default: []].append(tensor) }
            shards = plain.shards.enumerated().map { position, shard in
                let name = ShardName.shard(position + 1, of: plain.shards.count, stem: stem)
                return (name, .plain(shard, tensors[shard.fileName] ?? []))
            }
            companions = try CompanionFiles(of: plain.layout).copied.map { file in
                let mapped = try MappedFile.open(file.path)
                return (file.name, try mapped.hash(of: mapped.wholeRange))
            }
        }
    }

    /// The stem of the names of the shards.
    var stem: String { CheckpointNames.stem(ofSource: shards.map(\.name)) }

    /// Permissions of new files: those that all files of weights have in common.
    var mode: NewFileMode {
        let permissions = shards.map { shard in
            switch shard.shard {
            case .sealed(let sealed): sealed.file.permissions
            case .plain(let plain, _): plain.file.permissions
            }
        }
        return permissions.reduce(nil) { $0?.intersection($1) ?? $1 }.map { .within($0) } ?? .usual
    }

    /// The name of the index of the shards; nil for one shard.
    var indexName: String? { CheckpointNames.index(of: shards.map(\.name)) }

    /// The metadata of a shard of safetensors; none of other formats.
    static func metadata(of shard: Shard) -> [SafetensorsHeader.MetadataEntry] {
        switch shard {
        case .sealed(let shard): shard.sourceMetadata
        case .plain(let shard, _): shard.header.format == .safetensors ? shard.header.metadata : []
        }
    }
}
