import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel

/// A complete output shard, written by this run or by an earlier one.
struct FinishedShard: Sendable {
    /// Name of the file.
    let name: String
    /// Bytes of the file, and the hash in its seal.
    let byteCount: UInt64, seal: ContentHash
    /// Bytes of the source's shard; 0 if unknown.
    let sourceBytes: UInt64
    /// The encoded tensors.
    let payloads: [ConversionReport.Tensor]
    /// The kept tensors.
    let kept: [ConversionReport.KeptTensor]
    /// Warnings that an earlier run gave about its tensors; empty for a shard of this run, whose warnings are in the plan.
    let warnings: [IngotWarning]
    /// Whether an earlier run wrote it.
    let isResumed: Bool

    /// A shard that this run wrote.
    init(_ layout: ShardLayout, _ summary: ShardWriter.Summary, name: String, sourceBytes: UInt64) {
        self.name = name
        byteCount = summary.byteCount
        seal = summary.seal
        self.sourceBytes = sourceBytes
        payloads = zip(layout.payloads, summary.payloads).map { plan, payload in
            ConversionReport.Tensor(
                name: plan.tensor.name, descriptor: payload.descriptor, byteCount: payload.byteCount)
        }
        kept = layout.kept.map { ConversionReport.KeptTensor($0.tensor) }
        warnings = []
        isResumed = false
    }

    /// A shard that an earlier run wrote.
    init(_ shard: SealedShard, sourceBytes: UInt64, warnings: [IngotWarning] = []) {
        name = shard.file.path.lastComponent?.string ?? ""
        byteCount = shard.file.byteCount
        seal = shard.seal.hash
        self.sourceBytes = sourceBytes
        payloads = shard.payloads.map {
            ConversionReport.Tensor(name: $0.name, descriptor: $0.descriptor, byteCount: $0.range.count)
        }
        kept = shard.kept.map { ConversionReport.KeptTensor($0) }
        self.warnings = warnings
        isResumed = true
    }

    /// File name and tensor names, for the index.
    var contents: (fileName: String, tensors: [TensorName]) { (name, payloads.map(\.name) + kept.map(\.name)) }

    /// Bytes of its tensors in the source.
    var dataBytes: UInt64 {
        payloads.reduce(kept.reduce(0) { $0 + $1.byteCount }) { sum, tensor in
            sum + tensor.descriptor.sourceBytes
        }
    }
}
