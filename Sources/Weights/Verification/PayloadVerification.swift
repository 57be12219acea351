import Checkpoints
package import Container
import FileAccess
import Quantization
import SystemPackage
package import TensorModel
import Work

/// Verifies payloads of one file: checksums, that every chunk decodes, and certificates; with source tensors also the measured error.
package struct PayloadVerification {
    private let file: MappedFile
    private let payloads: [SealedShard.Payload], tables: [ChunkTable]
    private let originals: [TensorBytes?]
    private let measures: Bool

    /// Prepares a verification.
    ///
    /// - Parameters:
    ///   - tables: the checked chunk table of each payload.
    ///   - measures: whether to gather statistics of weights and errors too.
    ///   - originals: the source tensor of each payload; nil if there is none.
    init(
        _ payloads: [SealedShard.Payload], _ tables: [ChunkTable], in file: MappedFile, measures: Bool,
        originals: [TensorBytes?]
    ) {
        (self.payloads, self.tables, self.file) = (payloads, tables, file)
        (self.measures, self.originals) = (measures, originals)
    }

    /// Prepares to verify the payloads of an unfinished shard, without their source.
    package init(_ unfinished: UnfinishedShard) {
        self.init(
            unfinished.payloads, unfinished.tables, in: unfinished.file, measures: false,
            originals: unfinished.payloads.map { _ in nil })
    }

    /// Verifies the payloads. Returns one result for each, in order.
    ///
    /// - Parameter progress: called with a tensor and the bytes of it that were verified since the last call.
    /// - Throws: `payloadInvalid` and other errors of damaged bytes; they name the tensor.
    @discardableResult
    package func run(
        _ budget: MemoryBudget, progress: @escaping (TensorName, UInt64) -> Void = { _, _ in }
    ) async throws -> [ShardVerification.Tensor] {
        let (file, payloads, tables) = (file, payloads, tables)
        let (originals, measures) = (originals, measures)
        var reader = budget.bandReader()
        var sums = PayloadSums()
        var tensors: [ShardVerification.Tensor] = []
        try await budget.pipeline { ChunkVerifier() }.run(
            ChunkRun.all(tables.map(\.count)), makeOutput: { VerifiedChunk(measures: measures) }
        ) { run -> ReadChunk? in
            guard let original = originals[run.payload] else { return nil }
            let prologue = payloads[run.payload].prologue
            return try reader.read(run.chunks.lowerBound, of: original, prologue.grid, prologue.elementType)
        } work: { run, read, verifier, output in
            let (payload, chunk) = (payloads[run.payload], run.chunks.lowerBound)
            let entry = try tables[run.payload].entry(chunk)
            try verifier.verify(chunk, entry, of: payload, in: file, read, originals[run.payload], into: &output)
        } consume: { run, output in
            let (payload, chunk) = (payloads[run.payload], run.chunks.lowerBound)
            let hasOriginal = originals[run.payload] != nil
            if chunk == 0 { sums = PayloadSums(payload, measures: measures, isCompared: hasOriginal) }
            sums.add(output, chunk, of: payload)
            progress(payload.name, payload.range.count / UInt64(max(1, tables[run.payload].count)))
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
    ) throws -> ShardVerification.Tensor {
        let descriptor = payload.descriptor
        guard sums.stored == descriptor.sums else {
            throw IngotError(
                .payloadInvalid, file: file.path.string, tensor: payload.name, offset: payload.range.start,
                found: "error sums of the chunks that do not add up to the certificate")
        }
        if descriptor.scheme == .lossless { try payload.requireHash(sums.decoded.finish(), in: file) }
        return ShardVerification.Tensor(
            name: payload.name, scheme: descriptor.scheme.summary, certificate: descriptor.sums,
            measured: sourceBytes == nil ? nil : sums.measured, isFound: sourceBytes != nil,
            hashMatches: hash == descriptor.sourceHash, certificateHolds: sums.agrees,
            elements: descriptor.shape.elementCount, byteCount: payload.range.count, sourceByteCount: sourceBytes,
            sealedHash: descriptor.sourceHash, sourceHash: hash, measurement: sums.measurement())
    }
}
