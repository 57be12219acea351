package import Checkpoints
package import FileAccess
package import SystemPackage
import TensorModel

/// The files in a checkpoint's directory other than its shards: tokenizer, configuration, model code, licence.
package struct CompanionFiles: Sendable {
    /// A file to copy.
    package struct File: Sendable, Hashable {
        /// Path relative to the directory, with `/` between components.
        package let name: String
        /// Path of the file itself.
        package let path: FilePath
    }

    /// The files to copy, sorted by name.
    package private(set) var copied: [File] = []
    /// The files and directories that are not copied, with the reason.
    package private(set) var skipped: [(name: String, reason: String)] = []

    /// Name of the model's configuration.
    package static let configuration = "config.json"
    private static let weightExtensions: Set<String> = [
        "safetensors", "bin", "pt", "pth", "ckpt", "gguf", "ggml", "onnx", "onnx_data", "h5", "msgpack", "npz", "ot",
        "tflite", "mlmodel", "pkl", "pickle", "tar", "zip", "nemo",
    ]
    private static let weightDirectories: Set<String> = ["original", "onnx", "openvino", "coreml", "metal", "gguf"]
    private static let maximumDepth = 4

    /// Lists the companions of a checkpoint; none if the checkpoint is a single file.
    package init(of checkpoint: CheckpointLayout) throws {
        guard let directory = checkpoint.directory else { return }
        let weights = Set((checkpoint.shardNames + [checkpoint.indexName].compactMap { $0 }).map { TensorName($0) })
        try collect(directory, prefix: "", depth: 0, weights: weights)
    }

    /// Lists the companions of an Ingot checkpoint: the files that its manifest names.
    package init(names: [String], in directory: FilePath) {
        copied = names.map { File(name: $0, path: directory.appending($0)) }
    }

    private mutating func collect(_ directory: FilePath, prefix: String, depth: Int, weights: Set<TensorName>) throws {
        for entry in try Directory.entries(directory) {
            let name = prefix + entry.name
            let path = directory.appending(entry.name)
            guard entry.isText else {
                skipped.append((name, "its name is not UTF-8"))
                continue
            }
            switch entry.target {
            case .file:
                if depth == 0, weights.contains(TensorName(entry.name)) || entry.name == ShardName.index {
                    continue
                }
                if depth == 0, entry.name == GGUFMetadataBytes.fileName {
                    skipped.append((name, "a name that Ingot uses itself"))
                } else if let reason = reasonToSkip(entry.name) {
                    skipped.append((name, reason))
                } else {
                    copied.append(File(name: name, path: path))
                }
            case .directory:
                if entry.isLink {
                    skipped.append((name + "/", "a symbolic link to a directory"))
                } else if entry.name.hasPrefix(".") {
                    skipped.append((name + "/", "hidden"))
                } else if CompanionFiles.weightDirectories.contains(entry.name) {
                    skipped.append((name + "/", "holds weights in another format"))
                } else if depth + 1 >= CompanionFiles.maximumDepth {
                    skipped.append((name + "/", "nested too deep"))
                } else {
                    try collect(path, prefix: name + "/", depth: depth + 1, weights: weights)
                }
            case .other: skipped.append((name, "not a regular file"))
            case nil: skipped.append((name, "a symbolic link that leads nowhere"))
            }
        }
    }

    private func reasonToSkip(_ name: String) -> String? {
        if name.hasPrefix(".") { return "hidden" }
        if name == "ingot-manifest.json" { return "the manifest of another conversion" }
        if name == ExportManifest.fileName || name.hasSuffix(ExportManifest.suffix) {
            return "the manifest of an export"
        }
        let parts = name.lowercased().split(separator: ".")
        if parts.count > 1, let last = parts.last, CompanionFiles.weightExtensions.contains(String(last)) {
            return "holds weights"
        }
        if name.hasSuffix(".index.json") { return "an index of weights" }
        return nil
    }

    /// Refuses a source if its configuration says that it is quantized by a method that Ingot does not decode, unless its codes are kept.
    ///
    /// - Throws: `unsupportedSource`; `headerSyntax` or a similar code if the configuration is not a JSON object.
    package func refuseQuantizedSource(keepsCodes: Bool = false) throws {
        guard let file = copied.first(where: { $0.name == CompanionFiles.configuration }) else { return }
        let configuration = try ConfigurationFile(reading: file.path)
        guard let method = configuration.quantizationMethod, !keepsCodes,
            QuantizationMethod.methods(named: method) == nil
        else { return }
        throw IngotError(
            .unsupportedSource, file: file.path.string,
            found: "a checkpoint that is quantized already (\(method.prefix(80)))",
            expected: "F32, F16 or BF16 weights, or codes of a method that ingot decodes: "
                + QuantizationMethod.allCases.map(\.rawValue).joined(separator: ", "),
            remedy: "convert the original checkpoint")
    }
}

extension CompanionFiles {
    /// Copies a companion into a directory under its own name, and makes the folders in between.
    ///
    /// A file keeps its permissions. A folder gets the permissions of the source's folder minus the umask, and its owner may write into it.
    package static func copy(_ file: File, into directory: FilePath) throws -> (hash: ContentHash, byteCount: UInt64) {
        let parts = file.name.split(separator: "/").dropLast()
        var place = directory
        var original = file.path
        for _ in 0...parts.count { original.removeLastComponent() }
        for part in parts {
            let parent = place
            place.append(String(part))
            original.append(String(part))
            guard try Directory.kind(place) == nil else { continue }
            let permissions = try Directory.permissions(original)?.rawValue ?? 0o777
            try Directory.create(place, FilePermissions(rawValue: permissions & 0o777 | 0o700))
            try Directory.synchronize(parent)
        }
        return try WholeFile.copy(file.path, to: directory.appending(file.name))
    }
}
