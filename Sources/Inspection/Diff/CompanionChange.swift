import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// A file beside the weights that differs between two checkpoints: configuration, tokenizer and the like.
package struct CompanionChange: Sendable, Hashable {
    /// Its name, relative to the directory.
    package let name: String
    /// Its bytes in the old and in the new checkpoint; nil if it is missing there.
    package let old: UInt64?, new: UInt64?

    /// Compares the files of two checkpoints; empty if one of them is a single file.
    ///
    /// Weight files, shard indexes and manifests are not compared. Files of the same size are compared by their hash.
    static func all(_ old: OpenedCheckpoint, _ new: OpenedCheckpoint) throws -> [CompanionChange] {
        guard let before = try files(of: old), let after = try files(of: new) else { return [] }
        return try Set(before.keys).union(after.keys).sorted().compactMap { name in
            let (a, b) = (before[name], after[name])
            if let a, let b, try a.byteCount == b.byteCount && a.hash() == b.hash() { return nil }
            return CompanionChange(name: name.text, old: a?.byteCount, new: b?.byteCount)
        }
    }

    private struct Companion {
        let path: FilePath
        let byteCount: UInt64

        func hash() throws -> ContentHash {
            let file = try MappedFile.open(path)
            defer { file.finishReading() }
            return try file.hash(of: file.wholeRange)
        }
    }

    /// The files of a directory by name; nil for a checkpoint that is a file.
    private static func files(of checkpoint: OpenedCheckpoint) throws -> [TensorName: Companion]? {
        guard try Directory.kind(checkpoint.path) == .directory else { return nil }
        let weights = Set(checkpoint.weightFiles.map { TensorName($0) })
        var files: [TensorName: Companion] = [:]
        for (name, isText) in try Directory.tree(checkpoint.path) where isText {
            let path = checkpoint.path.appending(FilePath(name).components)
            guard !weights.contains(TensorName(name)), !WeightFiles.isWeights(name), name != Manifest.fileName,
                !TensorName.hasSuffix(name, ".index.json"), try Directory.kind(path) == .file,
                let identity = FileIdentity(path)
            else { continue }
            files[TensorName(name)] = Companion(path: path, byteCount: identity.byteCount)
        }
        return files
    }

    /// The change as JSON (Specs/json.md, `companions`).
    var json: JSONValue {
        .object([
            .init("name", .string(name)), .init("old_bytes", old.map(JSONValue.unsigned) ?? .null),
            .init("new_bytes", new.map(JSONValue.unsigned) ?? .null),
        ])
    }
}
