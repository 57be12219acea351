import Checkpoints
import FileAccess
package import SystemPackage
package import TensorModel

/// A checkpoint that `convert` published: its manifest and its opened shards.
package struct SealedCheckpoint: Sendable {
    /// The directory of the checkpoint.
    package let path: FilePath
    /// The manifest, which lists all files.
    package let manifest: Manifest
    /// The shards, in the order of their names.
    package let shards: [SealedShard]
    /// Findings that do not prevent reading.
    package let warnings: [IngotWarning]

    /// Whether a path is a directory with a manifest.
    package static func isOne(_ path: FilePath) throws -> Bool {
        guard try Directory.kind(path) == .directory else { return false }
        return try Directory.kind(path.appending(Manifest.fileName)) != nil
    }

    /// Opens the manifest and every shard, and checks file names, seals and the index. `checkFiles()` checks the bytes of the other
    /// files.
    package init(_ path: FilePath, limits: Limits = .standard) throws {
        self.path = path
        let manifest = try Manifest.read(path)
        self.manifest = manifest
        var shards: [SealedShard] = []
        var warnings: [IngotWarning] = []
        for file in manifest.files where file.isShard {
            let shard = try SealedShard(SealedCheckpoint.existing(path.appending(file.name)), limits: limits)
            guard shard.seal.fileBytes == file.byteCount, shard.seal.hash == file.hash else {
                throw IngotError(
                    .fileHash, file: shard.file.path.string, found: "a shard of another conversion",
                    expected: "the shard whose seal the manifest names")
            }
            shards.append(shard)
            warnings += shard.warnings
        }
        var unlistedCount = 0
        for name in try SealedCheckpoint.unlistedFiles(in: path, manifest) {
            guard !TensorName.hasSuffix(name, ShardName.suffix) else {
                throw IngotError(
                    .manifestInvalid, file: path.appending(name).string,
                    found: "a shard the manifest does not name",
                    remedy: "remove the file if it does not belong here")
            }
            unlistedCount += 1
            guard unlistedCount <= SealedCheckpoint.namedUnlistedFiles else { continue }
            warnings.append(IngotWarning(file: path.appending(name).string, "not named in the manifest: not checked"))
        }
        if unlistedCount > SealedCheckpoint.namedUnlistedFiles {
            warnings.append(
                IngotWarning(
                    file: path.string,
                    "\(unlistedCount - SealedCheckpoint.namedUnlistedFiles) more files not named in the manifest: not checked"
                ))
        }
        try SealedIndex.check(shards, path, limits: limits)
        self.shards = shards
        self.warnings = warnings
    }

    /// The number of unlisted files that get a warning of their own.
    private static let namedUnlistedFiles = 20

    /// Files in the directory, at any depth, that the manifest does not name.
    private static func unlistedFiles(in path: FilePath, _ manifest: Manifest) throws -> [String] {
        let known = Set(manifest.files.map { TensorName($0.name) } + [TensorName(Manifest.fileName)])
        // A name that is not UTF-8 was read with replacements, so it could equal a listed name by mistake.
        return try Directory.tree(path).filter { !$0.isText || !known.contains(TensorName($0.name)) }.map(\.name)
    }

    /// Requires that each file other than a shard has the size and hash in the manifest.
    package func checkFiles() throws {
        for entry in manifest.files where !entry.isShard {
            let file = try MappedFile.open(SealedCheckpoint.existing(path.appending(entry.name)))
            guard file.byteCount == entry.byteCount, try file.hash(of: file.wholeRange) == entry.hash else {
                throw IngotError(
                    .fileHash, file: file.path.string,
                    found: "\(file.byteCount) bytes whose hash differs from the manifest's",
                    expected: "\(entry.byteCount) bytes, as they were written")
            }
        }
    }

    /// Throws `missingShard` if a listed file does not exist, because that is damage and not a wrong path of the user.
    static func existing(_ path: FilePath) throws -> FilePath {
        guard try Directory.kind(path) != nil else {
            throw IngotError(
                .missingShard, file: path.string, found: "no such file", expected: "a file the manifest names")
        }
        return path
    }
}

extension SealedCheckpoint {
    /// Whether it was made by scheme `lossless`, which keeps the codes of a quantized source as they are.
    package var keepsCodes: Bool {
        manifest.options.contains { $0.key == "scheme" && $0.value.string == TensorScheme.lossless.name }
    }
}
