import FileAccess
import SystemPackage
import TensorModel

/// Which files of a directory make the checkpoint.
struct DirectoryListing {
    /// The index file, if there is one.
    let indexName: String?
    /// Without index: the one file.
    let lone: String
    /// All `.safetensors` files that are regular files or lead to one, sorted.
    let safetensors: [String]
    /// All `.gguf` files.
    var gguf: [String] = []

    /// The file that is the checkpoint, whatever stands beside it, where there is no index.
    private static let usualName = "model.safetensors"

    static func read(_ path: FilePath) throws -> DirectoryListing {
        let entries = try Directory.entries(path)
        let indexes = entries.map(\.name).filter { TensorName.hasSuffix($0, ShardIndex.suffix) }
        let files = entries.filter { $0.target == .file }.map(\.name)
            .filter { TensorName.hasSuffix($0, ShardName.suffix) }
        guard indexes.count <= 1 else {
            throw IngotError(
                .indexInvalid, file: path.string, found: "\(indexes.count) index files: " + listed(indexes),
                expected: "one", remedy: "leave one index in the directory, or name a single .safetensors file")
        }
        let gguf = GGUFDirectory.files(entries)
        if let indexName = indexes.first {
            return DirectoryListing(indexName: indexName, lone: "", safetensors: files, gguf: gguf)
        }
        if files.contains(usualName) {
            return DirectoryListing(indexName: nil, lone: usualName, safetensors: files, gguf: gguf)
        }
        guard let lone = files.first else {
            throw IngotError(
                .unsupportedSource, file: path.string, found: "a directory without a checkpoint",
                expected: "a .safetensors or .gguf file", remedy: "check the path; name a .npy file itself")
        }
        guard files.count == 1 else {
            throw IngotError(
                .indexInvalid, file: path.string,
                found: "\(files.count) .safetensors files and no index: " + listed(files),
                expected: "model.safetensors.index.json, model.safetensors, or one file",
                remedy: "add the index of the checkpoint, or name one of the files")
        }
        return DirectoryListing(indexName: nil, lone: lone, safetensors: files, gguf: gguf)
    }

    /// One warning for each `.safetensors` file that is not part of the checkpoint, 20 at most.
    func warnings(of path: FilePath, used: Set<String>) -> [IngotWarning] {
        let extra = safetensors.filter { !used.contains($0) }
        let reason = indexName.map { "\($0) does not name it" } ?? "\(lone) beside it is the checkpoint"
        var list = extra.prefix(20).map { IngotWarning(file: path.appending($0).string, "left out: \(reason)") }
        if extra.count > list.count {
            list.append(IngotWarning(file: path.string, "\(extra.count - list.count) more files left out: \(reason)"))
        }
        if let first = gguf.first {
            list.append(
                IngotWarning(
                    file: path.appending(first).string,
                    "left out\(gguf.count > 1 ? ", as \(gguf.count - 1) other GGUF files" : ""): "
                        + "safetensors beside it are the checkpoint"))
        }
        return list
    }

    private static func listed(_ names: [String]) -> String {
        names.prefix(3).joined(separator: ", ") + (names.count > 3 ? ", ..." : "")
    }
}
