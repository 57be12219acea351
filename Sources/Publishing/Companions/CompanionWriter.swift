package import Container
package import FileAccess
package import SystemPackage
package import TensorModel

/// Writes the files of a converted checkpoint other than its shards and manifest: copies, configuration, the metadata of a
/// GGUF source, index.
package struct CompanionWriter {
    private let companions: CompanionFiles
    private let metadata: SourceMetadataFile?
    private let options: [JSONValue.Member]
    private let keepsQuantization: Bool

    /// Makes a writer.
    ///
    /// - Parameters:
    ///   - companions: the files to copy.
    ///   - metadata: the metadata of a GGUF source; nil if there is none.
    ///   - options: the conversion's options, as the manifest and `config.json` record them.
    ///   - keepsQuantization: whether the `quantization_config` of a quantized source stays in `config.json`.
    package init(
        _ companions: CompanionFiles, _ metadata: SourceMetadataFile?, options: [JSONValue.Member],
        keepsQuantization: Bool
    ) {
        self.keepsQuantization = keepsQuantization
        self.companions = companions
        self.metadata = metadata
        self.options = options
    }

    /// The mode of index and manifest: the permissions that all shards have in common, because both describe all shards. The usual mode if
    /// there are no shards.
    package static func mode(beside shards: [String], in directory: FilePath) throws -> NewFileMode {
        let permissions = try shards.compactMap { try Directory.permissions(directory.appending($0)) }
        return permissions.reduce(nil) { $0?.intersection($1) ?? $1 }.map { .within($0) } ?? .usual
    }

    /// Writes the files.
    ///
    /// - Parameters:
    ///   - directory: the directory that holds the shards.
    ///   - shards: the names of the shards, with the tensors in each.
    ///   - dataBytes: bytes of the data of all tensors, for the index.
    /// - Returns: the manifest's entries for the files.
    package func write(
        into directory: FilePath, beside shards: [(fileName: String, tensors: [TensorName])], dataBytes: UInt64
    ) throws -> [Manifest.File] {
        var files: [Manifest.File] = []
        func record(_ name: String, _ bytes: [UInt8], _ mode: NewFileMode) throws {
            let hash = try WholeFile.write(bytes, to: directory.appending(name), mode: mode)
            files.append(Manifest.File(name: name, byteCount: UInt64(bytes.count), hash: hash, isShard: false))
        }
        for file in companions.copied {
            try Interruption.check()
            if file.name == CompanionFiles.configuration {
                var configuration = try ConfigurationFile(reading: file.path)
                try configuration.addQuantization(options, keepsSource: keepsQuantization)
                let permissions = try Directory.permissions(file.path)
                try record(file.name, configuration.bytes, permissions.map { .copied(from: $0) } ?? .usual)
            } else {
                let (hash, count) = try CompanionFiles.copy(file, into: directory)
                files.append(Manifest.File(name: file.name, byteCount: count, hash: hash, isShard: false))
            }
        }
        if let metadata { files.append(try metadata.write(into: directory)) }
        if let index = CheckpointNames.index(of: shards.map(\.fileName)) {
            try record(
                index, ShardIndexWriter.text(totalBytes: dataBytes, shards: shards),
                CompanionWriter.mode(beside: shards.map(\.fileName), in: directory))
        }
        return files
    }
}
