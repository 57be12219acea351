package import Checkpoints
package import Container
package import FileAccess
package import Quantization
import SystemPackage
package import TensorModel
import Work

/// Verifies one sealed shard: every byte, and, with the source tensors, certificates and hashes.
///
/// Damaged bytes throw an error. Certificates and hashes that do not hold are reported per tensor.
package struct ShardVerification {
    /// The result for a tensor.
    package struct Tensor: Sendable {
        /// The tensor's name.
        package let name: TensorName
        /// The scheme with parameters, as `TensorScheme.summary`; `kept` for a kept tensor.
        package let scheme: String
        /// The error sums in the certificate, and those measured against the source tensor; nil without one.
        package let certificate: ErrorSums, measured: ErrorSums?
        /// Whether the source has the tensor; whether its hash is the recorded one; whether the certificate equals the measured sums.
        package let isFound: Bool, hashMatches: Bool, certificateHolds: Bool
        /// Number of elements; bytes in the shard; bytes in the source, nil without a source tensor.
        package let elements: Int, byteCount: UInt64, sourceByteCount: UInt64?
        /// The source hash recorded in the shard, and the hash of the source tensor; nil without one.
        package let sealedHash: ContentHash, sourceHash: ContentHash?
        /// Statistics of a floating-point tensor; nil unless requested.
        package var measurement: TensorMeasurement?

        /// Whether the source has the tensor and both hash and certificate hold.
        package var holds: Bool { isFound && hashMatches && certificateHolds }
    }

    private let shard: SealedShard
    private let originals: [TensorBytes?]
    private let originalOf: (TensorName, ElementType, Shape) -> TensorBytes?
    private let measures: Bool

    /// Prepares a verification.
    ///
    /// - Parameters:
    ///   - measures: whether to gather statistics of weights and errors too, which doubles the time.
    ///   - original: returns the source tensor with a name, type and shape; nil if there is none.
    package init(
        _ shard: SealedShard, measures: Bool = false,
        original: @escaping (TensorName, ElementType, Shape) -> TensorBytes?
    ) {
        self.shard = shard
        self.measures = measures
        originalOf = original
        originals = shard.payloads.map { original($0.name, $0.descriptor.elementType, $0.descriptor.shape) }
    }

    /// Prepares a verification against the source shard that was converted.
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

    /// Verifies the shard. Returns its payload tensors in file order, then its kept tensors. Throws if bytes are damaged.
    ///
    /// - Parameter progress: called with a tensor and the bytes of it that were verified since the last call.
    package func run(
        _ budget: MemoryBudget, progress: @escaping (TensorName, UInt64) -> Void = { _, _ in }
    ) async throws -> [Tensor] {
        try shard.checkSealPadding()
        let verification = PayloadVerification(
            shard.payloads, try shard.payloads.map { try shard.chunkTable(of: $0) }, in: shard.file, measures: measures,
            originals: originals)
        var tensors = try await verification.run(budget, progress: progress)
        tensors.reserveCapacity(tensors.count + shard.kept.count)
        var kept = try shard.kept.map { tensor in
            defer { progress(tensor.name, tensor.byteCount) }
            return try verify(tensor)
        }
        if measures { try await measure(&kept, budget) }
        return tensors + kept
    }

    // MARK: - Tensors kept as they were

    private func verify(_ tensor: StoredTensor) throws -> Tensor {
        try Interruption.check()
        let sealed = try shard.checkKept(tensor)
        let original = originalOf(tensor.name, tensor.elementType, tensor.shape)
        let hash = try original?.hash()
        return Tensor(
            name: tensor.name, scheme: "kept", certificate: .zero, measured: nil, isFound: original != nil,
            hashMatches: hash == sealed, certificateHolds: true, elements: tensor.shape.elementCount,
            byteCount: tensor.byteCount, sourceByteCount: original?.byteCount, sealedHash: sealed, sourceHash: hash)
    }

    /// A piece of a kept tensor.
    private struct Piece: Sendable {
        let tensor: Int
        /// Offset of its first byte in the tensor, and number of bytes.
        let start: UInt64, count: Int
        /// First row and number of rows. Pieces that are not whole rows have row 0 and count as one row, from `column` on.
        let row: Int, rows: Int, column: Int
        let isFirst: Bool, isLast: Bool
    }

    /// Bytes per piece: a chunk of 2^18 weights in binary32.
    private static let pieceBytes: UInt64 = 1 << 20

    /// Gathers statistics of kept floating-point tensors, and compares those that differ from the source.
    private func measure(_ kept: inout [Tensor], _ budget: MemoryBudget) async throws {
        let file = shard.file
        let tensors = shard.kept
        // Equal hashes mean equal bytes: count them, but do not compare them.
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
            sums?.add(output, row: piece.row, column: piece.column)
            if piece.isLast { found[piece.tensor] = sums?.measurement() }
        }
        for (index, measurement) in found { kept[index].measurement = measurement }
    }

    /// Cuts a tensor into pieces: of whole rows if energies of rows and columns are kept, otherwise of equal numbers of bytes.
    private static func pieces(_ index: Int, _ tensor: StoredTensor) -> [Piece] {
        let total = tensor.byteCount
        guard total > 0 else { return [] }
        let rowBytes = TensorSums.keepsEnergies(of: tensor.shape) ? total / UInt64(tensor.shape.rows) : nil
        let step = rowBytes.map { max(1, pieceBytes / $0) * $0 } ?? pieceBytes
        return stride(from: 0, to: total, by: Int(step)).map { start in
            let count = min(step, total - start)
            return Piece(
                tensor: index, start: start, count: Int(count), row: rowBytes.map { Int(start / $0) } ?? 0,
                rows: rowBytes.map { Int(count / $0) } ?? 1,
                column: rowBytes == nil ? Int(start * 8 / UInt64(tensor.elementType.bitWidth)) : 0,
                isFirst: start == 0, isLast: start + count == total)
        }
    }
}
