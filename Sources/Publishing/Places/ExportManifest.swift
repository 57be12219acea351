import Checkpoints
package import Container
package import FileAccess
package import SystemPackage
package import TensorModel

/// The manifest of an export: what was made, and the hash of every file (Specs/exports.md, "Manifest").
package struct ExportManifest: Sendable, Hashable {
    /// A file of the export.
    package struct File: Sendable, Hashable {
        /// Path relative to the manifest's directory, with `/` between components.
        package let name: String
        /// Its bytes, and their hash.
        package let byteCount: UInt64, hash: ContentHash

        /// A file.
        package init(name: String, byteCount: UInt64, hash: ContentHash) {
            (self.name, self.byteCount, self.hash) = (name, byteCount, hash)
        }
    }

    /// What was made: target, types, rounding.
    package let options: [JSONValue.Member]
    /// All files but the manifest, sorted by name.
    package let files: [File]

    /// Its name in a directory.
    package static let fileName = "ingot-export.json"
    /// What stands behind the name of a single file that it belongs to.
    package static let suffix = ".ingot-export.json"
    private static let maximumBytes: UInt64 = 64 << 20
    private static let kind = "ingot-export"

    /// A manifest.
    package init(options: [JSONValue.Member], files: [File]) {
        self.options = options
        self.files = files.sorted { TensorName($0.name) < TensorName($1.name) }
    }

    /// Where the manifest of an export stands: in its directory, or beside its file. The parts of a divided file have one.
    package static func path(of export: FilePath) throws -> FilePath {
        if try Directory.kind(export) == .directory { return export.appending(fileName) }
        let name = export.lastComponent?.string ?? ""
        return export.removingLastComponent().appending((undivided(name) ?? name) + suffix)
    }

    /// The name of the file that a name such as `model-00001-of-00003.gguf` is a part of; nil for other names.
    private static func undivided(_ name: String) -> String? {
        let digits = 5
        guard ShardName.count(statedBy: name) != nil, let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")) else {
            return nil
        }
        let marks = 2 * digits + "-of-".utf8.count + 1
        let stem = name.utf8[..<dot]
        guard stem.count > marks else { return nil }
        return String(decoding: stem.dropLast(marks), as: UTF8.self)
            + String(decoding: name.utf8[dot...], as: UTF8.self)
    }

    /// XXH3-128 of the manifest of an export.
    ///
    /// - Throws: `noInput` if it has none; errors of reading.
    package static func hash(of export: FilePath) throws -> ContentHash {
        let file = try MappedFile.open(path(of: export))
        return try file.hash(of: file.wholeRange)
    }

    /// The text.
    package var bytes: [UInt8] {
        let list = files.map { file in
            JSONValue.object([
                .init("name", .string(file.name)), .init("bytes", .unsigned(file.byteCount)),
                .init("xxh3_128", .string(file.hash.description)),
            ])
        }
        let document = JSONValue.object([
            .init("format", .string(ExportManifest.kind)), .init("version", .unsigned(1)),
            .init("writer", .string(ContainerFormat.writer)), .init("options", .object(options)),
            .init("files", .array(list)),
        ])
        return Array((document.text(indented: true) + "\n").utf8)
    }

    /// Reads the manifest of an export.
    ///
    /// - Returns: nil if there is none.
    /// - Throws: `manifestInvalid`; errors of reading.
    package init?(of export: FilePath) throws {
        let path = try ExportManifest.path(of: export)
        guard try Directory.kind(path) == .file else { return nil }
        func failure(_ found: String) -> IngotError {
            IngotError(
                .manifestInvalid, file: path.string, found: found,
                expected: "the manifest of an export: format `\(ExportManifest.kind)`, version 1, options and files")
        }
        let document: JSONValue
        do {
            document = try JSONValue.parse(WholeFile.read(path, limit: ExportManifest.maximumBytes))
        } catch let error as IngotError where error.code.kind == .badData {
            throw failure("no JSON document: \(error.found)")
        }
        guard document["format"]?.string == ExportManifest.kind, document["version"]?.unsigned == 1,
            let options = document["options"]?.object, let list = document["files"]?.array
        else { throw failure("another document") }
        self.options = options
        files = try list.map { entry in
            guard let name = entry["name"]?.string, let count = entry["bytes"]?.unsigned,
                let hash = entry["xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) }),
                CheckpointNames.isContained(name)
            else { throw failure("an entry without a name in the directory, a size or a hash") }
            return File(name: name, byteCount: count, hash: hash)
        }
    }

    /// Requires that all files are there and have their hashes.
    ///
    /// - Throws: `fileHash`, naming the file; `noInput` if a file is missing; errors of reading.
    package func check(in directory: FilePath, _ progress: (String, UInt64) -> Void = { _, _ in }) throws {
        for file in files {
            try Interruption.check()
            let path = directory.pushing(FilePath(file.name))
            let mapped = try MappedFile.open(path)
            let hash = try mapped.hash(of: mapped.wholeRange)
            guard hash == file.hash else {
                throw IngotError(
                    .fileHash, file: path.string, found: "bytes with the hash \(hash)",
                    expected: "\(file.hash), as the manifest of the export has it",
                    remedy: "the export is damaged or was changed: fetch it again, or export again")
            }
            progress(file.name, file.byteCount)
        }
    }

    /// Requires that a directory is empty or holds an export and nothing else, so that it may be replaced.
    ///
    /// - Returns: the files of the directory, listed before they are hashed.
    /// - Throws: `cannotCreate` for any other directory.
    package static func requireReplaceable(_ path: FilePath) throws -> DirectorySnapshot {
        let snapshot = try DirectorySnapshot(of: path)
        if snapshot.entries.isEmpty { return snapshot }
        func failure(_ found: String, _ file: String? = nil) -> IngotError {
            IngotError(
                .cannotCreate, file: file ?? path.string, found: found,
                expected: "an earlier export, which may be replaced",
                remedy: "choose another place for the output, or move this one away")
        }
        guard let manifest = try? ExportManifest(of: path) else {
            throw failure("a directory that no export made, or with other files in it")
        }
        let known = Set(manifest.files.map { TensorName($0.name) } + [TensorName(fileName)])
        if let other = snapshot.entries.first(where: { !$0.isText || !known.contains(TensorName($0.name)) }) {
            throw failure("a directory with the file `\(other.name)`, which its export does not have")
        }
        do {
            try manifest.check(in: path)
        } catch let error as IngotError where error.code == .noInput {
            throw failure("no such file, which the export had", error.file)
        } catch let error as IngotError where error.code == .fileHash {
            throw failure("a file that was changed since it was exported", error.file)
        }
        return snapshot
    }
}
