package import Checkpoints
package import Container
package import FileAccess
package import Quantization
import SystemPackage
package import TensorModel

/// Checks one shard of ours: every byte, and, with the original tensors, every claim.
///
/// Broken bytes are thrown; claims that do not hold are told tensor by tensor.
package struct ShardVerification {
    /// A tensor's bytes in a source.
    package typealias Original = (range: ByteRange, file: MappedFile)

    /// What was found for a tensor.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// Its scheme in words; `kept` for one that is as it was.
        package let scheme: String
        /// What the shard says was lost, and, with an original, what was.
        package let certificate: ErrorSums, measured: ErrorSums?
        /// Whether there was an original, whether it is the one that was converted, and whether the certificate holds.
        package let isFound: Bool, hashMatches: Bool, certificateHolds: Bool

        /// Whether all claims hold.
        package var holds: Bool { isFound && hashMatches && certificateHolds }
    }

    private let shard: SealedShard
    private let originals: [Original?]
    private let originalOf: (TensorName, ElementType, Shape) -> Original?

    /// Prepares a verification.
    ///
    /// - Parameter original: finds the tensor of a name, type and shape in the source.
    package init(_ shard: SealedShard, original: @escaping (TensorName, ElementType, Shape) -> Original?) {
        self.shard = shard
        originalOf = original
        originals = shard.payloads.map { original($0.name, $0.descriptor.format.elementType, $0.descriptor.shape) }
    }

    /// Prepares a verification against the shard that was converted.
    package init(_ shard: SealedShard, against source: Shard) {
        let tensors = Dictionary(
            source.header.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.init(shard) { name, elementType, shape in
            guard let tensor = tensors[name], tensor.elementType == elementType, tensor.shape == shape else {
                return nil
            }
            return (tensor.range, source.file)
        }
    }

    /// What changes from chunk to chunk.
    private final class Sums {
        var stored = ErrorSums.zero, measured = ErrorSums.zero
        var agrees = true
        var hasher = ContentHasher()
        var tensors: [Tensor] = []
    }

    /// Checks the shard; its tensors in the order of the file.
    package func run(_ pipeline: OrderedPipeline<ChunkWorkspace>) async throws -> [Tensor] {
        try shard.checkSealPadding()
        let shard = shard
        let originals = originals
        let payloads = shard.payloads
        let fronts = try payloads.map { try shard.front(of: $0) }
        let sums = Sums()
        try await pipeline.run(ChunkJob.all(fronts.map(\.count))) { job, workspace in
            let payload = payloads[job.payload]
            try workspace.decode(
                chunk: job.chunk, entry: fronts[job.payload][job.chunk], of: payload, in: shard.file)
            if let (range, file) = originals[job.payload] {
                try workspace.compare(chunk: job.chunk, of: range, in: file, as: payload.prologue)
            }
        } consume: { job, workspace in
            try Interruption.check()
            let payload = payloads[job.payload]
            let entry = fronts[job.payload][job.chunk]
            if job.chunk == 0 {
                (sums.stored, sums.measured, sums.agrees) = (.zero, .zero, true)
                sums.hasher = ContentHasher()
            }
            sums.stored = sums.stored + entry.sums
            if let (range, file) = originals[job.payload] {
                try workspace.hashSource(
                    into: sums.hasher, chunk: job.chunk, of: range, in: file, as: payload.prologue)
                sums.measured = sums.measured + workspace.measured
                sums.agrees = sums.agrees && workspace.measured == entry.sums
            }
            guard job.chunk == fronts[job.payload].count - 1 else { return }
            guard sums.stored == payload.descriptor.sums else {
                throw IngotError(
                    .payloadInvalid, file: shard.file.path.string, tensor: payload.name, offset: payload.range.start,
                    found: "error sums of the chunks that do not add up to the certificate")
            }
            let isFound = originals[job.payload] != nil
            sums.tensors.append(
                Tensor(
                    name: payload.name, scheme: payload.descriptor.scheme.summary,
                    certificate: payload.descriptor.sums, measured: isFound ? sums.measured : nil, isFound: isFound,
                    hashMatches: isFound && sums.hasher.finish() == payload.descriptor.sourceHash,
                    certificateHolds: sums.agrees))
        }
        return try sums.tensors + shard.ordinary.map(verify)
    }

    private func verify(_ tensor: StoredTensor) throws -> Tensor {
        try Interruption.check()
        let sealed = try shard.checkOrdinary(tensor)
        let original = originalOf(tensor.name, tensor.elementType, tensor.shape)
        let hash = try original.map { try $0.file.hash(of: $0.range) }
        return Tensor(
            name: tensor.name, scheme: "kept", certificate: .zero, measured: nil, isFound: original != nil,
            hashMatches: hash == sealed, certificateHolds: true)
    }
}
