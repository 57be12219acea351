import FileAccess
import SystemPackage
import TensorModel

/// Directories whose checkpoint is in GGUF.
enum GGUFDirectory {
    /// The files that are, or lead to, GGUF files by their names.
    static func files(_ entries: [Directory.Entry]) -> [String] {
        // Names that begin with a dot are what other systems leave beside a file.
        entries.filter { entry in
            entry.target == .file && TensorName.hasSuffix(entry.name, GGUFFile.suffix)
                && entry.name.utf8.first != UInt8(ascii: ".")
        }.map(\.name)
    }

    /// The parts of the only checkpoint in GGUF; nil where the directory has none, or has one in a format that goes before it.
    ///
    /// - Throws: `indexInvalid` where there are several: which one is meant is not for us to guess.
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
