import FileAccess
import SystemPackage
import TensorModel

/// Finds a GGUF checkpoint in a directory.
enum GGUFDirectory {
    /// The files whose names are those of GGUF files, and links to such files. A file with metadata alone is none of them.
    static func files(_ entries: [Directory.Entry]) -> [String] {
        // Skip names with a leading dot: other systems leave such files beside the real ones.
        entries.filter { entry in
            entry.target == .file && TensorName.hasSuffix(entry.name, GGUFFile.suffix)
                && entry.name.utf8.first != UInt8(ascii: ".") && entry.name != GGUFMetadataBytes.fileName
        }.map(\.name)
    }

    /// The parts of the directory's only GGUF checkpoint; nil if it has none, or has a checkpoint in a preferred format.
    ///
    /// - Throws: `indexInvalid` if it has several, because any of them could be meant.
    static func shardNames(in path: FilePath) throws -> [String]? {
        let entries = try Directory.entries(path)
        let files = files(entries)
        guard let first = files.first, !entries.contains(where: hasPrecedence) else { return nil }
        let names = GGUFSplit.all(of: first)
        guard files.allSatisfy(Set(names).contains) else {
            throw IngotError(
                .indexInvalid, file: path.string,
                found: "\(files.count) GGUF files that are not parts of one: " + files.prefix(3).joined(separator: ", ")
                    + (files.count > 3 ? ", ..." : ""),
                expected: "one file, or the parts of one", remedy: "name one of the files")
        }
        return names
    }

    private static func hasPrecedence(_ entry: Directory.Entry) -> Bool {
        if WeightFiles.all.contains(where: { TensorName.hasSuffix(entry.name, $0.indexSuffix) }) { return true }
        guard entry.target == .file else { return false }
        return WeightFiles.safetensors.includes(entry.name) || entry.name == WeightFiles.pytorch.usualName
    }
}
