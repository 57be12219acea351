import FileAccess
import SystemPackage
import TensorModel

/// The names of a format's files in a directory.
package struct WeightFiles: Sendable {
    /// Suffix of index files.
    let indexSuffix: String
    /// Suffix of the shards that an index names.
    let shardSuffix: String
    /// Suffixes of files that may be a checkpoint without index.
    let suffixes: [String]
    /// The file that is the checkpoint if there is no index, even with other files beside it.
    let usualName: String
    /// Prefixes of files that have such a suffix but no weights of a model.
    let excludedPrefixes: [String]

    static let safetensors = WeightFiles(
        indexSuffix: ShardName.indexSuffix, shardSuffix: ShardName.suffix, suffixes: [ShardName.suffix],
        usualName: ShardName.single, excludedPrefixes: [])

    /// The prefixes are the names that transformers and similar tools give to what training leaves beside a model.
    static let pytorch = WeightFiles(
        indexSuffix: ".bin.index.json", shardSuffix: ".bin", suffixes: [".bin", ".pt", ".pth"],
        usualName: "pytorch_model.bin",
        excludedPrefixes: [
            "training_args.", "optimizer.", "scheduler.", "scaler.", "rng_state", "random_states", "trainer_state.",
        ])

    /// The formats, in order of preference.
    static let all = [safetensors, pytorch]

    /// Whether a name has the suffix of a file of weights, in any format that is read.
    package static func isWeights(_ name: String) -> Bool {
        let suffixes = all.flatMap(\.suffixes) + [GGUFFile.suffix, NumPyFile.suffix, NumPyArchive.suffix]
        return suffixes.contains { TensorName.hasSuffix(name, $0) }
    }

    /// Whether a name may be that of a file of weights in this format.
    func includes(_ name: String) -> Bool {
        suffixes.contains { TensorName.hasSuffix(name, $0) }
            && !excludedPrefixes.contains { name.utf8.starts(with: $0.utf8) } && name.utf8.first != UInt8(ascii: ".")
    }
}

/// The files of a directory that make up the checkpoint, and those left out.
struct DirectoryListing {
    /// The format of its files.
    let kind: WeightFiles
    /// The index file; nil if there is none.
    let indexName: String?
    /// The only file of a checkpoint without index; empty if there is an index.
    let singleFile: String
    /// All files of the format, sorted: regular files and links to them.
    let files: [String]
    /// Files of other formats, which probably hold the same checkpoint.
    let others: [String]

    /// Reads a directory and finds the files of its checkpoint.
    ///
    /// - Throws: `indexInvalid` if more than one checkpoint could be meant, `unsupportedSource` if there is none.
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
            let singleFile = indexes.isEmpty ? try kind.singleFile(of: files, in: path) : ""
            return DirectoryListing(
                kind: kind, indexName: indexes.first, singleFile: singleFile, files: files, others: others)
        }
        let parts = try entries.filter { entry in
            guard entry.target == .directory, entry.isText else { return false }
            return try Directory.entries(path.appending(entry.name)).contains { WeightFiles.isWeights($0.name) }
        }.map(\.name).sorted()
        guard parts.isEmpty else {
            let isPipeline = entries.contains { $0.name == "model_index.json" }
            throw IngotError(
                .unsupportedSource, file: path.string,
                found: (isPipeline ? "a diffusers pipeline" : "a directory") + " whose weights are in \(listed(parts))",
                expected: "the directory of one model",
                remedy: .text("convert each part by itself, such as \(path.appending(parts[0]))"))
        }
        throw IngotError(
            .unsupportedSource, file: path.string, found: "a directory without weights in a format that is read",
            expected: "a checkpoint in safetensors, PyTorch's zip format or GGUF",
            remedy: "check the path; name a NumPy file itself")
    }

    /// Whether a name is that of a shard in transformers' naming.
    private static func isShard(_ name: String, _ suffix: String) -> Bool {
        name.utf8.starts(with: "pytorch_model-".utf8) && TensorName.hasSuffix(name, suffix)
    }

    /// One warning for each file of weights that does not belong to the checkpoint, at most 20 for the format.
    func warnings(of path: FilePath, used: Set<String>) -> [IngotWarning] {
        let extra = files.filter { !used.contains($0) }
        let reason = indexName.map { "\($0) does not name it" } ?? "\(singleFile) beside it is the checkpoint"
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

    /// At most three of the names, for messages.
    static func listed(_ names: [String]) -> String {
        names.prefix(3).joined(separator: ", ") + (names.count > 3 ? ", ..." : "")
    }
}

extension WeightFiles {
    /// The only file of a checkpoint without index.
    fileprivate func singleFile(of files: [String], in path: FilePath) throws -> String {
        if files.contains(usualName) { return usualName }
        guard files.count == 1, let singleFile = files.first else {
            throw IngotError(
                .indexInvalid, file: path.string,
                found: "\(files.count) \(suffixes.joined(separator: ", ")) files and no index: "
                    + DirectoryListing.listed(files),
                expected: "\(usualName).index.json, \(usualName), or one file",
                remedy: "add the index of the checkpoint, or name one of the files")
        }
        if let count = ShardName.count(statedBy: singleFile), count > 1 {
            throw IngotError(
                .indexInvalid, file: path.string, found: "\(singleFile), one of \(count) shards, and no index",
                expected: "the index of the checkpoint",
                remedy: "fetch the index (*.index.json), or name the file itself")
        }
        return singleFile
    }
}
