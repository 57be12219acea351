package import Checkpoints
package import Container
import FileAccess
package import SystemPackage
package import TensorModel

/// A checkpoint of any format we read, as the list of its tensors.
package struct OpenedCheckpoint: Sendable {
    /// What it is.
    package enum Content: Sendable {
        /// One of ours.
        case sealed(SealedCheckpoint)
        /// Any other.
        case plain(Checkpoint)
    }

    /// What it is.
    package let content: Content
    /// The path it was opened by.
    package let path: FilePath
    /// The tensors, in the order of the files, and in each in the order of their bytes.
    package let tensors: [StoredWeights]
    /// What is odd but stops nothing.
    package let warnings: [IngotWarning]

    /// Opens a checkpoint: a directory of ours, or a source. Headers are read, no weights.
    ///
    /// - Parameters:
    ///   - path: the file or directory.
    ///   - key: of PyTorch files, the keys that lead to the dict with the weights, joined by `.`; others have no use for it.
    package init(_ path: FilePath, key: String? = nil) throws {
        if try SealedCheckpoint.isOne(path) {
            self.init(try SealedCheckpoint(path))
        } else {
            self.init(try Checkpoint.open(path, key: key))
        }
    }

    /// A checkpoint of ours.
    package init(_ checkpoint: SealedCheckpoint) {
        content = .sealed(checkpoint)
        path = checkpoint.path
        tensors = checkpoint.shards.flatMap { shard in
            let name = shard.file.path.lastComponent?.string ?? ""
            let shared = StoredWeights.SharedShard(shard)
            let payloads = shard.payloads.indices.map { StoredWeights(payload: $0, of: shared, fileName: name) }
            let kept = shard.ordinary.map { StoredWeights($0, in: shard.file, fileName: name) }
            return (payloads + kept).sorted { $0.start < $1.start }
        }
        warnings = checkpoint.warnings
    }

    /// Any other checkpoint.
    package init(_ checkpoint: Checkpoint) {
        content = .plain(checkpoint)
        path = checkpoint.path
        tensors = checkpoint.shards.flatMap { shard in
            shard.header.tensors.map { StoredWeights($0, in: shard.file, fileName: shard.fileName) }
        }
        warnings = checkpoint.warnings
    }

    /// Requires that tensors of ours that are kept as they are have the bytes that were sealed, and the tensors of another
    /// checkpoint those of the checksums that its files state.
    ///
    /// - Throws: `sealInvalid`, naming the tensor; `checksum`.
    package func checkKept(_ isMeant: (TensorName) -> Bool) throws {
        guard case .sealed(let checkpoint) = content else { return try checkRecords(of: isMeant) }
        for shard in checkpoint.shards {
            for tensor in shard.ordinary where isMeant(tensor.name) {
                try Interruption.check()
                _ = try shard.checkOrdinary(tensor)
            }
        }
    }

    /// Compares tensors with the checksums that their files state, where the format has any.
    ///
    /// - Throws: `checksum`.
    package func checkRecords(of isMeant: (TensorName) -> Bool) throws {
        guard case .plain(let checkpoint) = content else { return }
        for shard in checkpoint.shards { try shard.checkRecords(of: isMeant) }
    }

    /// Requires that no weight file changed since it was opened, so that what was read of it is true of it.
    ///
    /// - Throws: `sourceChanged`.
    package func requireUnchanged() throws {
        switch content {
        case .sealed(let checkpoint): for shard in checkpoint.shards { try shard.file.checkUnchanged() }
        case .plain(let checkpoint): for shard in checkpoint.shards { try shard.file.checkUnchanged() }
        }
    }

    /// Whether it is one of ours.
    package var isSealed: Bool { if case .sealed = content { true } else { false } }

    /// Whether its files have dicts in dicts, one of which a key can name.
    package var hasKeys: Bool {
        guard case .plain(let checkpoint) = content else { return false }
        return checkpoint.shards.contains { $0.header.format == .pytorch }
    }

    /// The name of its format: `ingot`, or that of its files.
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

    /// Bytes of its weight files, headers and seals included.
    package var fileBytes: UInt64 {
        switch content {
        case .sealed(let checkpoint): checkpoint.shards.reduce(0) { $0 + $1.file.byteCount }
        case .plain(let checkpoint): checkpoint.shards.reduce(0) { $0 + $1.file.byteCount }
        }
    }
}
