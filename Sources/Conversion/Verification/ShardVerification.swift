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
        /// How many elements it has, and bytes in its file and in the source's.
        package let elements: Int, byteCount: UInt64, sourceByteCount: UInt64?
        /// The hash the shard has of the original, and the one the source's tensor has.
        package let sealedHash: ContentHash, sourceHash: ContentHash?
        /// What was gathered, where that was asked for, of floating-point numbers.
        package var measurement: TensorMeasurement?

        /// Whether all claims hold.
        package var holds: Bool { isFound && hashMatches && certificateHolds }
    }

    private let shard: SealedShard
    private let originals: [Original?]
    private let originalOf: (TensorName, ElementType, Shape) -> Original?
    private let measures: Bool

    /// Prepares a verification.
    ///
    /// - Parameters:
    ///   - measures: whether statistics of the weights and their errors are gathered too, which costs as much again.
    ///   - original: finds the tensor of a name, type and shape in the source.
    package init(
        _ shard: SealedShard, measures: Bool = false,
        original: @escaping (TensorName, ElementType, Shape) -> Original?
    ) {
        self.shard = shard
        self.measures = measures
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
        /// Hashes of the source, and of what was decoded without loss.
        var hasher = ContentHasher(), decoded = ContentHasher()
        var tensors: [Tensor] = []
        var gathered: MeasurementSums?
    }

    /// Checks the shard; its tensors in the order of the file, those that are kept as they were behind the others.
    package func run(_ pipeline: OrderedPipeline<ChunkWorkspace>) async throws -> [Tensor] {
        try shard.checkSealPadding()
        let shard = shard
        let originals = originals
        let measures = measures
        let payloads = shard.payloads
        let fronts = try payloads.map { try shard.front(of: $0) }
        let sums = Sums()
        sums.tensors.reserveCapacity(payloads.count + shard.ordinary.count)
        try await pipeline.run(ChunkJob.all(fronts.map(\.count))) { job, workspace in
            let payload = payloads[job.payload]
            try workspace.decode(
                chunk: job.chunk, entry: fronts[job.payload].entry(job.chunk), of: payload, in: shard.file)
            if let (range, file) = originals[job.payload] {
                try workspace.compare(
                    chunk: job.chunk, of: range, in: file, as: payload.prologue, gathers: measures)
            } else if measures {
                workspace.countRestored(job.chunk, as: payload.prologue)
            }
        } consume: { job, workspace in
            try Interruption.check()
            let payload = payloads[job.payload]
            let entry = try fronts[job.payload].entry(job.chunk)
            let original = originals[job.payload]
            if job.chunk == 0 {
                (sums.stored, sums.measured, sums.agrees) = (.zero, .zero, true)
                sums.hasher = ContentHasher()
                sums.decoded = ContentHasher()
                if measures {
                    sums.gathered = MeasurementSums(
                        payload.descriptor.format, payload.descriptor.shape,
                        isLossy: payload.descriptor.scheme != .lossless,
                        isCompared: original != nil)
                }
            }
            sums.stored = sums.stored + entry.sums
            if payload.descriptor.scheme == .lossless {
                workspace.hashDecoded(into: sums.decoded, isCompared: original != nil)
            }
            if let (range, file) = original {
                try workspace.hashSource(
                    into: sums.hasher, chunk: job.chunk, of: range, in: file, as: payload.prologue)
                sums.measured = sums.measured + workspace.measured
                sums.agrees = sums.agrees && workspace.measured == entry.sums
            }
            if measures, let measurement = workspace.measurement {
                let place = payload.prologue.grid.place(of: job.chunk)
                sums.gathered?.add(measurement, row: place.row, column: place.column)
            }
            guard job.chunk == fronts[job.payload].count - 1 else { return }
            guard sums.stored == payload.descriptor.sums else {
                throw IngotError(
                    .payloadInvalid, file: shard.file.path.string, tensor: payload.name, offset: payload.range.start,
                    found: "error sums of the chunks that do not add up to the certificate")
            }
            if payload.descriptor.scheme == .lossless {
                try shard.requireHash(sums.decoded.finish(), of: payload)
            }
            let hash = original == nil ? nil : sums.hasher.finish()
            sums.tensors.append(
                Tensor(
                    name: payload.name, scheme: payload.descriptor.scheme.summary,
                    certificate: payload.descriptor.sums, measured: original == nil ? nil : sums.measured,
                    isFound: original != nil, hashMatches: hash == payload.descriptor.sourceHash,
                    certificateHolds: sums.agrees, elements: payload.descriptor.shape.elementCount,
                    byteCount: payload.range.count, sourceByteCount: original?.range.count,
                    sealedHash: payload.descriptor.sourceHash, sourceHash: hash,
                    measurement: measures ? sums.gathered?.measurement() : nil))
            sums.gathered = nil
        }
        var kept = try shard.ordinary.map(verify)
        if measures { try await measure(&kept, pipeline) }
        sums.tensors += kept
        return sums.tensors
    }

    private func verify(_ tensor: StoredTensor) throws -> Tensor {
        try Interruption.check()
        let sealed = try shard.checkOrdinary(tensor)
        let original = originalOf(tensor.name, tensor.elementType, tensor.shape)
        let hash = try original.map { try $0.file.hash(of: $0.range) }
        return Tensor(
            name: tensor.name, scheme: "kept", certificate: .zero, measured: nil, isFound: original != nil,
            hashMatches: hash == sealed, certificateHolds: true, elements: tensor.shape.elementCount,
            byteCount: tensor.range.count, sourceByteCount: original?.range.count, sealedHash: sealed, sourceHash: hash)
    }

    // MARK: - Tensors kept as they were

    /// A piece of a tensor that is kept as it was.
    private struct Piece: Sendable {
        let tensor: Int
        let range: ByteRange, original: ByteRange?
        /// The first of its rows, and how many it has: more than one where it is whole rows.
        let row: Int, rows: Int
        let isFirst: Bool, isLast: Bool
    }

    /// Bytes of a piece: those of a chunk of binary32.
    private static let pieceBytes: UInt64 = 1 << 20

    /// Counts the floating-point numbers of kept tensors, and compares those that are not the source's.
    private func measure(_ kept: inout [Tensor], _ pipeline: OrderedPipeline<ChunkWorkspace>) async throws {
        let file = shard.file
        let tensors = shard.ordinary
        // The bytes of equal hashes are equal: they are counted, and not compared.
        let differing = zip(tensors, kept).map { tensor, found in
            found.isFound && !found.hashMatches ? originalOf(tensor.name, tensor.elementType, tensor.shape) : nil
        }
        let pieces = tensors.indices.lazy.flatMap { index -> [Piece] in
            guard tensors[index].elementType.quantizable != nil else { return [] }
            return ShardVerification.pieces(index, tensors[index], differing[index]?.range)
        }
        let matches = kept.map { $0.isFound && $0.hashMatches }
        let sums = Sums()
        var found: [Int: TensorMeasurement] = [:]
        try await pipeline.run(pieces) { piece, workspace in
            guard let format = tensors[piece.tensor].elementType.quantizable else { return }
            var original: Original?
            if let range = piece.original, let source = differing[piece.tensor] { original = (range, source.file) }
            try workspace.measure(
                piece.range, in: file, format, rows: piece.rows, against: original, isIdentical: matches[piece.tensor])
        } consume: { piece, workspace in
            try Interruption.check()
            guard let format = tensors[piece.tensor].elementType.quantizable else { return }
            if piece.isFirst {
                sums.gathered = MeasurementSums(
                    format, tensors[piece.tensor].shape, isLossy: false,
                    isCompared: matches[piece.tensor] || piece.original != nil)
            }
            if let measurement = workspace.measurement {
                sums.gathered?.add(measurement, row: piece.row, column: 0)
            }
            if piece.isLast { found[piece.tensor] = sums.gathered?.measurement() }
        }
        for (index, measurement) in found { kept[index].measurement = measurement }
    }

    /// Pieces of whole rows where energies of rows and columns are kept, else of equal numbers of bytes.
    private static func pieces(_ index: Int, _ tensor: StoredTensor, _ original: ByteRange?) -> [Piece] {
        let range = tensor.range
        guard range.count > 0 else { return [] }
        let rowBytes = TensorSums.keepsEnergies(of: tensor.shape) ? range.count / UInt64(tensor.shape.rows) : nil
        let step = rowBytes.map { max(1, pieceBytes / $0) * $0 } ?? pieceBytes
        return stride(from: 0, to: range.count, by: Int(step)).compactMap { start in
            let count = min(step, range.count - start)
            guard let piece = ByteRange(start: range.start + start, count: count) else { return nil }
            return Piece(
                tensor: index, range: piece,
                original: original.flatMap { ByteRange(start: $0.start + start, count: count) },
                row: rowBytes.map { Int(start / $0) } ?? 0, rows: rowBytes.map { Int(count / $0) } ?? 1,
                isFirst: start == 0, isLast: start + count == range.count)
        }
    }
}
