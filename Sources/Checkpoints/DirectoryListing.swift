import FileAccess
import SystemPackage
import TensorModel

/// How the files of a format are named in a directory.
package struct WeightFiles: Sendable {
    /// How the names of index files end.
    let indexSuffix: String
    /// How the names of the shards of an index end.
    let shardSuffix: String
    /// How the names of files end that may be a checkpoint without index.
    let suffixes: [String]
    /// The file that is the checkpoint, whatever stands beside it, where there is no index.
    let usualName: String
    /// Beginnings of the names of files that are no weights of a model, though they end as such.
    let strangers: [String]

    static let safetensors = WeightFiles(
        indexSuffix: ShardName.indexSuffix, shardSuffix: ShardName.suffix, suffixes: [ShardName.suffix],
        usualName: ShardName.single, strangers: [])

    /// What training leaves beside a model is known by the names that transformers and its kin give it.
    static let pytorch = WeightFiles(
        indexSuffix: ".bin.index.json", shardSuffix: ".bin", suffixes: [".bin", ".pt", ".pth"],
        usualName: "pytorch_model.bin",
        strangers: [
            "training_args.", "optimizer.", "scheduler.", "scaler.", "rng_state", "random_states", "trainer_state.",
        ])

    /// The formats, the preferred first.
    static let all = [safetensors, pytorch]

    /// Whether a name ends as those of files of weights do, in any format.
    package static func isWeights(_ name: String) -> Bool {
        let suffixes = all.flatMap(\.suffixes) + [GGUFFile.suffix, NumPyFile.suffix, NumPyArchive.suffix]
        return suffixes.contains { TensorName.hasSuffix(name, $0) }
    }

    /// Whether a name may be that of a file of weights.
    func includes(_ name: String) -> Bool {
        suffixes.contains { TensorName.hasSuffix(name, $0) }
            && !strangers.contains { name.utf8.starts(with: $0.utf8) } && name.utf8.first != UInt8(ascii: ".")
    }
}

/// Which files of a directory make the checkpoint.
struct DirectoryListing {
    /// How its files are named.
    let kind: WeightFiles
    /// The index file, if there is one.
    let indexName: String?
    /// Without index: the one file.
    let lone: String
    /// All files of the format that are regular files or lead to one, sorted.
    let files: [String]
    /// Files of another format that the checkpoint is there in, too.
    let others: [String]

    static func read(_ path: FilePath) throws -> DirectoryListing {
        let entries = try Directory.entries(path)
        for (place, kind) in WeightFiles.all.enumerated() {
            let indexes = entries.map(\.name).filter { TensorName.hasSuffix($0, kind.indexSuffix) }
            let files = entries.filter { $0.target == .file }.map(\.name).filter(kind.includes)
            guard !indexes.isEmpty || !files.isEmpty else { continue }
            guard indexes.count <= 1 else {
                throw IngotError(
                    .indexInvalid, file: path.string, found: "\(indexes.count) index files: " + listed(indexes),
                    expected: "one", remedy: "leave one index in the directory, or name a single file of weights")
            }
            var others = WeightFiles.all.dropFirst(place + 1).flatMap { other in
                entries.filter { entry in
                    entry.target == .file
                        && other.suffixes.contains { entry.name == other.usualName || isShard(entry.name, $0) }
                }.map(\.name)
            }
            others += GGUFDirectory.files(entries)
            let lone = indexes.isEmpty ? try kind.lone(of: files, in: path) : ""
            return DirectoryListing(kind: kind, indexName: indexes.first, lone: lone, files: files, others: others)
        }
        throw IngotError(
            .unsupportedSource, file: path.string, found: "a directory without weights in a format that is read",
            expected: "a checkpoint in safetensors, PyTorch's zip format or GGUF",
            remedy: "check the path; name a NumPy file itself")
    }

    /// Whether a name is that of a shard as transformers names them.
    private static func isShard(_ name: String, _ suffix: String) -> Bool {
        name.utf8.starts(with: "pytorch_model-".utf8) && TensorName.hasSuffix(name, suffix)
    }

    /// One warning for each file of weights that is not part of the checkpoint, 20 at most of a format.
    func warnings(of path: FilePath, used: Set<String>) -> [IngotWarning] {
        let extra = files.filter { !used.contains($0) }
        let reason = indexName.map { "\($0) does not name it" } ?? "\(lone) beside it is the checkpoint"
        var list = extra.prefix(20).map { IngotWarning(file: path.appending($0).string, "left out: \(reason)") }
        if extra.count > list.count {
            list.append(IngotWarning(file: path.string, "\(extra.count - list.count) more files left out: \(reason)"))
        }
        if let first = others.first {
            let rest = others.count > 1 ? " and \(others.count - 1) more" : ""
            list.append(
                IngotWarning(
                    file: path.appending(first).string,
                    "left out\(rest): the checkpoint is read from \(kind.shardSuffix) files"))
        }
        return list
    }

    static func listed(_ names: [String]) -> String {
        names.prefix(3).joined(separator: ", ") + (names.count > 3 ? ", ..." : "")
    }
}

extension WeightFiles {
    /// The file that is the whole checkpoint, where there is no index.
    fileprivate func lone(of files: [String], in path: FilePath) throws -> String {
        if files.contains(usualName) { return usualName }
        guard files.count == 1, let lone = files.first else {
            throw IngotError(
                .indexInvalid, file: path.string,
                found: "\(files.count) \(suffixes.joined(separator: ", ")) files and no index: "
                    + DirectoryListing.listed(files),
                expected: "\(usualName).index.json, \(usualName), or one file",
                remedy: "add the index of the checkpoint, or name one of the files")
        }
        if let count = ShardName.count(statedBy: lone), count > 1 {
            throw IngotError(
                .indexInvalid, file: path.string, found: "\(lone), one of \(count) shards, and no index",
                expected: "the index of the checkpoint",
                remedy: "fetch the index (*.index.json), or name the file itself")
        }
        return lone
    }
}
