package import Checkpoints
package import Container
import FileAccess
package import SystemPackage
package import TensorModel

/// An opened checkpoint of any supported format, as a list of tensors.
package struct OpenedCheckpoint: Sendable {
    /// The kinds of checkpoints.
    package enum Content: Sendable {
        /// A sealed checkpoint, as `convert` writes it.
        case sealed(SealedCheckpoint)
        /// A checkpoint of another format.
        case plain(Checkpoint)
    }

    /// The checkpoint as it was opened.
    package let content: Content
    /// The path that it was opened with.
    package let path: FilePath
    /// The tensors, file by file, in a file by offset.
    package let tensors: [StoredWeights]
    /// Findings that do not prevent reading.
    package let warnings: [IngotWarning]

    /// Opens a sealed checkpoint or a source. Reads headers, no weights.
    ///
    /// - Parameters:
    ///   - path: the file or directory.
    ///   - key: for PyTorch files, the keys that lead to the dict of weights, joined by `.`; other formats ignore it.
    ///   - undecodable: what becomes of tensors that Ingot cannot decode.
    ///   - quantized: what becomes of codes of other quantizers, in a source.
    package init(
        _ path: FilePath, key: String? = nil, undecodable: UndecodableTensors = .refused,
        quantized: QuantizedSources = .decoded
    ) throws {
        if try SealedCheckpoint.isOne(path) {
            self.init(try SealedCheckpoint(path))
        } else {
            self.init(try Checkpoint.open(path, key: key, undecodable: undecodable, quantized: quantized))
        }
    }

    /// The tensors of a sealed checkpoint.
    package init(_ checkpoint: SealedCheckpoint) {
        content = .sealed(checkpoint)
        path = checkpoint.path
        let decoders = ElementDecoders()
        tensors = checkpoint.shards.flatMap { shard in
            let name = shard.file.path.lastComponent?.string ?? ""
            let shared = StoredWeights.SharedShard(shard, decoders)
            let payloads = shard.payloads.indices.map { StoredWeights(payload: $0, of: shared, fileName: name) }
            let kept = shard.kept.map { StoredWeights($0, in: shard.file, fileName: name) }
            return (payloads + kept).sorted { $0.start < $1.start }
        }
        warnings = checkpoint.warnings
    }

    /// The tensors of a checkpoint of another format.
    package init(_ checkpoint: Checkpoint) {
        content = .plain(checkpoint)
        path = checkpoint.path
        tensors = checkpoint.shards.flatMap { shard in
            shard.header.tensors.map { StoredWeights($0, in: shard.file, fileName: shard.fileName) }
        }
        warnings = checkpoint.warnings
    }

    /// Checks the bytes of selected tensors: kept tensors of a sealed checkpoint against the seal, tensors of another format against
    /// the checksums in its files. `isSelected` selects tensors by name.
    ///
    /// - Throws: `sealInvalid`, naming the tensor; `checksum`.
    package func checkKept(_ isSelected: (TensorName) -> Bool) throws {
        guard case .sealed(let checkpoint) = content else { return try checkRecords(of: isSelected) }
        for shard in checkpoint.shards {
            for tensor in shard.kept where isSelected(tensor.name) {
                try Interruption.check()
                _ = try shard.checkKept(tensor)
            }
        }
    }

    /// Checks selected tensors against the checksums in their files, if the format has checksums.
    ///
    /// - Throws: `checksum`.
    package func checkRecords(of isSelected: (TensorName) -> Bool) throws {
        guard case .plain(let checkpoint) = content else { return }
        for shard in checkpoint.shards { try shard.checkRecords(of: isSelected) }
    }

    /// Requires that no weight file has changed since it was opened.
    ///
    /// - Throws: `sourceChanged`.
    package func requireUnchanged() throws {
        switch content {
        case .sealed(let checkpoint): for shard in checkpoint.shards { try shard.file.checkUnchanged() }
        case .plain(let checkpoint): for shard in checkpoint.shards { try shard.file.checkUnchanged() }
        }
    }

    /// The sealed checkpoint; nil for any other.
    package var sealed: SealedCheckpoint? { if case .sealed(let checkpoint) = content { checkpoint } else { nil } }

    /// Opens checkpoints that are compared with each other. If one of them keeps the codes of a quantized source, the codes of all others are
    /// read as they are stored.
    ///
    /// - Parameters:
    ///   - paths: the files or directories.
    ///   - key: for PyTorch files, the keys that lead to the dict of weights, joined by `.`; other formats ignore it.
    package static func open(together paths: [FilePath], key: String? = nil) throws -> [OpenedCheckpoint] {
        let sealed = try paths.map { try SealedCheckpoint.isOne($0) ? SealedCheckpoint($0) : nil }
        let form: QuantizedSources = sealed.contains { $0?.keepsCodes == true } ? .asStored : .decoded
        return try zip(paths, sealed).map { path, sealed in
            try sealed.map { OpenedCheckpoint($0) } ?? OpenedCheckpoint(path, key: key, quantized: form)
        }
    }

    /// Whether it is a sealed checkpoint.
    package var isSealed: Bool { if case .sealed = content { true } else { false } }

    /// Whether `key` can select a dict of weights: whether its files are PyTorch files.
    package var hasKeys: Bool {
        guard case .plain(let checkpoint) = content else { return false }
        return checkpoint.shards.contains { $0.header.format == .pytorch }
    }

    /// The name of its format: `ingot`, or that of its first file.
    package var formatName: String {
        switch content {
        case .sealed: "ingot"
        case .plain(let checkpoint): (checkpoint.shards.first?.header.format ?? .safetensors).rawValue
        }
    }

    /// Names of its weight files.
    package var weightFiles: [String] {
        switch content {
        case .sealed(let checkpoint): checkpoint.manifest.files.filter(\.isShard).map(\.name)
        case .plain(let checkpoint): checkpoint.shards.map(\.fileName)
        }
    }

    /// The size that a conversion of it is compared with (`Shard.sizeBefore`).
    package var sizeBefore: UInt64 {
        switch content {
        case .sealed: fileBytes
        case .plain(let checkpoint): checkpoint.shards.reduce(0) { $0 + $1.sizeBefore }
        }
    }

    /// Total bytes of its weight files, including headers and seals.
    package var fileBytes: UInt64 {
        switch content {
        case .sealed(let checkpoint): checkpoint.shards.reduce(0) { $0 + $1.file.byteCount }
        case .plain(let checkpoint): checkpoint.shards.reduce(0) { $0 + $1.file.byteCount }
        }
    }
}
