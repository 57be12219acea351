package import Container
import FileAccess
package import SystemPackage
import TensorModel

extension SealedCheckpoint {
    /// Requires that a directory is empty, or is an output of `convert` without added or changed files.
    ///
    /// A shard is compared by its size and seal, any other file by its hash. A missing file is ignored.
    ///
    /// - Returns: the list of its files, taken before the comparison.
    /// - Throws: `cannotCreate`, which names the file.
    package static func requireReplaceable(_ path: FilePath) throws -> DirectorySnapshot {
        func failure(_ found: String, _ name: String? = nil) -> IngotError {
            IngotError(
                .cannotCreate, file: (name.map { path.appending($0) } ?? path).string, found: found,
                expected: "an Ingot checkpoint and nothing else, which may be replaced",
                remedy: "choose another place for the output, or move this one away")
        }
        guard try !Directory.entries(path).isEmpty else { return try DirectorySnapshot(of: path) }
        guard let manifest = try? Manifest.read(path) else { throw failure("a directory that no conversion made") }
        let snapshot = try DirectorySnapshot(of: path)
        let files = Dictionary(
            manifest.files.map { (TensorName($0.name), $0) }, uniquingKeysWith: { first, _ in first })
        for entry in snapshot.entries where TensorName(entry.name) != TensorName(Manifest.fileName) {
            guard entry.isText, let file = files[TensorName(entry.name)] else {
                throw failure("a checkpoint with a file that no conversion made: \(entry.name)")
            }
            try Interruption.check()
            guard try isAsWritten(path.pushing(FilePath(file.name)), file) else {
                throw failure("a file that was changed since it was converted", file.name)
            }
        }
        return snapshot
    }

    /// Whether a file is as the manifest describes it.
    private static func isAsWritten(_ path: FilePath, _ entry: Manifest.File) throws -> Bool {
        // A file that cannot be read counts as changed.
        guard let file = try? MappedFile.open(path), file.byteCount == entry.byteCount else { return false }
        if entry.isShard { return (try? Seal.read(file))?.hash == entry.hash }
        return try file.hash(of: file.wholeRange) == entry.hash
    }
}
