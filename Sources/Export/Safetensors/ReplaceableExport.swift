import Checkpoints
import FileAccess
import Publishing
import SystemPackage
import TensorModel

extension SafetensorsExporter {
    /// Requires that a directory is empty or an output of `export`: its manifest names all its files, and they have their hashes. Before
    /// version 0.3 the list in the shards did, without hashes of the shards and the index.
    ///
    /// - Returns: the files of the directory, listed before they are hashed.
    /// - Throws: `cannotCreate` for any other directory.
    static func requireReplaceable(_ path: FilePath) throws -> DirectorySnapshot {
        if try Directory.kind(path.appending(ExportManifest.fileName)) == .file {
            return try ExportManifest.requireReplaceable(path)
        }
        func failure(_ found: String, _ name: String? = nil) -> IngotError {
            IngotError(
                .cannotCreate, file: (name.map { path.appending($0) } ?? path).string, found: found,
                expected: "an earlier export, which may be replaced",
                remedy: "choose another place for the output, or move this one away")
        }
        let snapshot = try DirectorySnapshot(of: path)
        if snapshot.entries.isEmpty { return snapshot }
        let lists = ((try? Checkpoint.open(path, quantized: .asStored))?.shards ?? []).map { shard in
            fileList(shard.header.metadata.value(of: filesKey) ?? "")
        }
        guard let known = lists.first, lists.allSatisfy({ $0 == known }),
            snapshot.entries.allSatisfy({ $0.isText && known[TensorName($0.name)] != nil })
        else { throw failure("a directory that no export made, or with other files in it") }
        for entry in snapshot.entries {
            guard let hash = known[TensorName(entry.name)] ?? nil else { continue }
            try Interruption.check()
            let file = try? MappedFile.open(path.pushing(FilePath(entry.name)))
            guard let file, try file.hash(of: file.wholeRange) == hash else {
                throw failure("a file that was changed since it was exported", entry.name)
            }
        }
        return snapshot
    }

    /// The list of an export: an object of names and hashes. Version 0.1.0 wrote an array of names.
    private static func fileList(_ text: String) -> [TensorName: ContentHash?] {
        switch try? JSONValue.parse(Array(text.utf8)) {
        case .object(let members):
            Dictionary(
                members.map { (TensorName($0.key), $0.value.string.flatMap { ContentHash(hexadecimal: $0) }) },
                uniquingKeysWith: { first, _ in first })
        case .array(let names):
            Dictionary(
                names.compactMap { $0.string.map { (TensorName($0), nil) } }, uniquingKeysWith: { first, _ in first })
        default: [:]
        }
    }
}
