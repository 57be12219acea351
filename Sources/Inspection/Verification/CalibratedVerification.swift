import Architectures
import Checkpoints
package import Container
import FileAccess
package import Moments
package import Quantization
import SystemPackage
package import TensorModel
package import Weights
import Work

/// Computes the certificates over activations of a calibrated checkpoint again, from the source, the restored weights and the file of moments.
package struct CalibratedVerification: Sendable {
    private let checkpoint: SealedCheckpoint
    private let source: OpenedCheckpoint
    private let moments: MomentsFile
    private let jobs: Int

    /// Prepares a verification.
    ///
    /// - Throws: `momentsInvalid` if no tensor was calibrated with these moments.
    package init(
        _ checkpoint: SealedCheckpoint, against source: OpenedCheckpoint, _ moments: MomentsFile, jobs: Int
    ) throws {
        (self.checkpoint, self.source, self.moments, self.jobs) = (checkpoint, source, moments, jobs)
        let hash = try moments.file.hash(of: moments.file.wholeRange)
        let hashes = Set(checkpoint.shards.flatMap(\.payloads).compactMap(\.descriptor.calibrated?.calibration))
        guard hashes.contains(hash) else {
            throw IngotError(
                .momentsInvalid, file: moments.path.string, found: "moments with the hash \(hash)",
                expected: hashes.first.map { "\($0), with which the checkpoint was calibrated" }
                    ?? "a calibrated checkpoint")
        }
    }

    /// A calibrated tensor, its certificate, and what was measured.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// The sums of its certificate, and those that were measured.
        package let certificate: ActivationSums, measured: ActivationSums

        /// Whether they have the same bits.
        package var holds: Bool { certificate == measured }
    }

    /// Measures all calibrated tensors.
    ///
    /// - Returns: one entry for each, in the order of the files.
    /// - Throws: `sourceMismatch` if the source has no such tensor; damage; errors of reading.
    package func run() async throws -> [Tensor] {
        let originals = Dictionary(source.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let items = checkpoint.shards.flatMap { shard in
            shard.payloads.filter { $0.descriptor.calibrated != nil }.map { (shard: shard, payload: $0) }
        }
        var tensors: [Tensor] = []
        try await Pipeline(jobs: jobs, lookahead: 2 * jobs) { ChunkDecoder() }.run(items.indices) {
            index, decoder -> Tensor in
            let (shard, payload) = items[index]
            guard let original = originals[payload.name], let certificate = payload.descriptor.calibrated?.sums else {
                throw IngotError(
                    .sourceMismatch, file: shard.file.path.string, tensor: payload.name,
                    found: "a tensor that the source does not have", expected: "the source of the conversion")
            }
            let measured = try measure(payload, shard, ReadableWeights(original), &decoder)
            return Tensor(name: payload.name, certificate: certificate, measured: measured)
        } consume: {
            tensors.append($1)
        }
        return tensors
    }

    private func measure(
        _ payload: SealedShard.Payload, _ shard: SealedShard, _ original: ReadableWeights?,
        _ decoder: inout ChunkDecoder
    ) throws -> ActivationSums {
        guard case .one(let input) = TensorInputs(payload.name), let entry = moments[input], let original,
            entry.blocks.columns == payload.prologue.grid.columns,
            let factors = try FeedbackFactors(
                columns: entry.blocks.columns, width: entry.blocks.width, diagonal: moments.diagonal(of: entry),
                shrinkage: entry.shrinkage, triangle: { try moments.triangle($0, of: entry) })
        else {
            throw IngotError(
                .momentsInvalid, file: moments.path.string, tensor: payload.name, found: "no moments of its input",
                expected: "those that it was calibrated with")
        }
        let (grid, table) = (payload.prologue.grid, try shard.chunkTable(of: payload))
        var reader = RowReader()
        var (read, chunk) = (ReadWeights(), DecodedChunk())
        var sums = ActivationSums()
        for band in stride(from: 0, to: grid.count, by: grid.chunksPerBand) {
            try Interruption.check()
            var measure = ActivationMeasure(factors, rows: grid.place(of: band).rows)
            for number in band..<band + grid.chunksPerBand {
                let place = grid.place(of: number)
                try decoder.decode(number, table.entry(number), of: payload, in: shard.file, into: &chunk)
                try reader.read(place, of: original, into: &read)
                measure.add(
                    read.weights, chunk.weights, columns: place.column..<place.column + place.columns)
            }
            sums = sums + measure.sums
        }
        return sums
    }
}
