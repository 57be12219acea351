package import Checkpoints
package import Container
package import FileAccess
package import Quantization
import SystemPackage
package import TensorModel
import Work

/// Checks one shard of ours: every byte, and, with the original tensors, every claim.
///
/// Broken bytes are thrown; claims that do not hold are told tensor by tensor.
package struct ShardVerification {
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
    private let originals: [TensorBytes?]
    private let originalOf: (TensorName, ElementType, Shape) -> TensorBytes?
    private let measures: Bool

    /// Prepares a verification.
    ///
    /// - Parameters:
    ///   - measures: whether statistics of the weights and their errors are gathered too, which costs as much again.
    ///   - original: finds the tensor of a name, type and shape in the source.
    package init(
        _ shard: SealedShard, measures: Bool = false,
        original: @escaping (TensorName, ElementType, Shape) -> TensorBytes?
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
            return source.bytes(of: tensor)
        }
    }

    /// Checks the shard; its tensors in the order of the file, those that are kept as they were behind the others.
    package func run(_ budget: MemoryBudget) async throws -> [Tensor] {
        try shard.checkSealPadding()
        var tensors = try await verifyPayloads(budget)
        tensors.reserveCapacity(tensors.count + shard.ordinary.count)
        var kept = try shard.ordinary.map(verify)
        if measures { try await measure(&kept, budget) }
        return tensors + kept
    }

    // MARK: - Payloads

    private func verifyPayloads(_ budget: MemoryBudget) async throws -> [Tensor] {
        let (shard, originals, measures) = (shard, originals, measures)
        let payloads = shard.payloads
        let tables = try payloads.map { try shard.front(of: $0) }
        var reader = budget.bandReader()
        var sums = PayloadSums()
        var tensors: [Tensor] = []
        try await budget.pipeline { ChunkVerifier() }.run(
            ChunkRun.all(tables.map(\.count)), makeOutput: { VerifiedChunk(measures: measures) }
        ) { run -> ReadChunk? in
            guard let original = originals[run.payload] else { return nil }
            let prologue = payloads[run.payload].prologue
            return try reader.read(run.chunks.lowerBound, of: original, prologue.grid, prologue.format)
        } work: { run, read, verifier, output in
            let (payload, chunk) = (payloads[run.payload], run.chunks.lowerBound)
            let entry = try tables[run.payload].entry(chunk)
            try verifier.verify(
                chunk, entry, of: payload, in: shard.file, read, originals[run.payload], into: &output)
        } consume: { run, output in
            let (payload, chunk) = (payloads[run.payload], run.chunks.lowerBound)
            let hasOriginal = originals[run.payload] != nil
            if chunk == 0 { sums = PayloadSums(payload, measures: measures, isCompared: hasOriginal) }
            sums.add(output, chunk, of: payload)
            if chunk == tables[run.payload].count - 1 {
                tensors.append(
                    try finish(&sums, payload, originals[run.payload]?.byteCount, output.sourceHash))
            }
            return .proceed
        }
        return tensors
    }

    private func finish(
        _ sums: inout PayloadSums, _ payload: SealedShard.Payload, _ sourceBytes: UInt64?, _ hash: ContentHash?
    ) throws -> Tensor {
        let descriptor = payload.descriptor
        guard sums.stored == descriptor.sums else {
            throw IngotError(
                .payloadInvalid, file: shard.file.path.string, tensor: payload.name, offset: payload.range.start,
                found: "error sums of the chunks that do not add up to the certificate")
        }
        if descriptor.scheme == .lossless { try shard.requireHash(sums.decoded.finish(), of: payload) }
        return Tensor(
            name: payload.name, scheme: descriptor.scheme.summary, certificate: descriptor.sums,
            measured: sourceBytes == nil ? nil : sums.measured, isFound: sourceBytes != nil,
            hashMatches: hash == descriptor.sourceHash, certificateHolds: sums.agrees,
            elements: descriptor.shape.elementCount, byteCount: payload.range.count, sourceByteCount: sourceBytes,
            sealedHash: descriptor.sourceHash, sourceHash: hash, measurement: sums.measurement())
    }

    // MARK: - Tensors kept as they were

    private func verify(_ tensor: StoredTensor) throws -> Tensor {
        try Interruption.check()
        let sealed = try shard.checkOrdinary(tensor)
        let original = originalOf(tensor.name, tensor.elementType, tensor.shape)
        let hash = try original?.hash()
        return Tensor(
            name: tensor.name, scheme: "kept", certificate: .zero, measured: nil, isFound: original != nil,
            hashMatches: hash == sealed, certificateHolds: true, elements: tensor.shape.elementCount,
            byteCount: tensor.byteCount, sourceByteCount: original?.byteCount, sealedHash: sealed, sourceHash: hash)
    }

    /// A piece of a tensor that is kept as it was.
    private struct Piece: Sendable {
        let tensor: Int
        /// The place of its first byte in the tensor, and how many it has.
        let start: UInt64, count: Int
        /// The first of its rows, and how many it has: more than one where it is whole rows.
        let row: Int, rows: Int
        let isFirst: Bool, isLast: Bool
    }

    /// Bytes of a piece: those of a chunk of binary32.
    private static let pieceBytes: UInt64 = 1 << 20

    /// Counts the floating-point numbers of kept tensors, and compares those that are not the source's.
    private func measure(_ kept: inout [Tensor], _ budget: MemoryBudget) async throws {
        let file = shard.file
        let tensors = shard.ordinary
        // The bytes of equal hashes are equal: they are counted, and not compared.
        let differing = zip(tensors, kept).map { tensor, found in
            found.isFound && !found.hashMatches ? originalOf(tensor.name, tensor.elementType, tensor.shape) : nil
        }
        let pieces = tensors.indices.lazy.flatMap { index in
            tensors[index].elementType.quantizable == nil ? [] : ShardVerification.pieces(index, tensors[index])
        }
        let matches = kept.map { $0.isFound && $0.hashMatches }
        var sums: MeasurementSums?
        var found: [Int: TensorMeasurement] = [:]
        try await budget.pipeline { PieceVerifier() }.run(pieces, makeOutput: { ChunkMeasurement() }) {
            piece, verifier, output in
            let tensor = tensors[piece.tensor]
            guard let format = tensor.elementType.quantizable else { return }
            try verifier.measure(
                tensor.bytes(in: file), piece.start, piece.count, format, rows: piece.rows,
                against: differing[piece.tensor], isIdentical: matches[piece.tensor], into: &output)
        } consume: { piece, output in
            guard let format = tensors[piece.tensor].elementType.quantizable else { return }
            if piece.isFirst {
                sums = MeasurementSums(
                    format, tensors[piece.tensor].shape, isLossy: false,
                    isCompared: matches[piece.tensor] || differing[piece.tensor] != nil)
            }
            sums?.add(output, row: piece.row, column: 0)
            if piece.isLast { found[piece.tensor] = sums?.measurement() }
        }
        for (index, measurement) in found { kept[index].measurement = measurement }
    }

    /// Pieces of whole rows where energies of rows and columns are kept, else of equal numbers of bytes.
    private static func pieces(_ index: Int, _ tensor: StoredTensor) -> [Piece] {
        let total = tensor.byteCount
        guard total > 0 else { return [] }
        let rowBytes = TensorSums.keepsEnergies(of: tensor.shape) ? total / UInt64(tensor.shape.rows) : nil
        let step = rowBytes.map { max(1, pieceBytes / $0) * $0 } ?? pieceBytes
        return stride(from: 0, to: total, by: Int(step)).map { start in
            let count = min(step, total - start)
            return Piece(
                tensor: index, start: start, count: Int(count), row: rowBytes.map { Int(start / $0) } ?? 0,
                rows: rowBytes.map { Int(count / $0) } ?? 1, isFirst: start == 0, isLast: start + count == total)
        }
    }
}
