import Container
import FileAccess
package import Quantization
import TensorModel
package import Weights
import Work

/// Reads weights, each once, and tells what there is to say of every tensor; in bounded memory, on all cores.
///
/// A tensor is cut into pieces that depend on it alone, and what is counted of them is added in their order: the result is the same for any
/// number of jobs.
package struct StatisticsReader: Sendable {
    private let budget: MemoryBudget

    /// Prepares a reading.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most, the program's own not counted.
    ///   - jobs: pieces worked on at the same time.
    package init(memory: UInt64, jobs: Int) throws {
        budget = try MemoryBudget(bytes: memory, jobs: jobs)
    }

    /// The statistics of tensors, in their order; nil for those of other element types than F16, BF16 and F32.
    ///
    /// - Parameters:
    ///   - tensors: those of one file next to each other.
    ///   - progress: called after each piece with the tensor it is of, and the bytes of all tensors that are done.
    package func read(
        _ tensors: [StoredWeights], progress: @escaping (StoredWeights, UInt64) -> Void = { _, _ in }
    ) async throws -> [WeightStatistics?] {
        var results: [WeightStatistics?] = []
        results.reserveCapacity(tensors.count)
        var done: UInt64 = 0
        var start = 0
        // Chunk tables are held for the tensors of one file only.
        while start < tensors.count {
            let file = tensors[start].file
            let end = tensors[start...].firstIndex { $0.file !== file } ?? tensors.count
            let works = try tensors[start..<end].map(TensorPieces.init)
            results += try await read(works) { tensor, bytes in progress(tensor, done + bytes) }
            done += tensors[start..<end].reduce(0) { $0 + $1.byteCount }
            file.finishReading()
            start = end
        }
        return results
    }

    /// Goes through the tensors of one file.
    private func read(
        _ works: [TensorPieces], _ progress: @escaping (StoredWeights, UInt64) -> Void
    ) async throws -> [WeightStatistics?] {
        var results = [WeightStatistics?](repeating: nil, count: works.count)
        var done: UInt64 = 0
        var sums = TensorSums(.f32, energies: nil)
        try await budget.pipeline { PieceReader() }.run(PieceJob.all(works), makeOutput: { CountedPiece() }) {
            job, reader, output in
            try reader.count(job.piece, of: works[job.tensor], into: &output)
        } consume: { job, output in
            let work = works[job.tensor]
            let tensor = work.tensor
            if job.piece == 0 {
                sums = TensorSums(work.countedFormat, energies: work.hasEnergies ? (work.rows, work.columns) : nil)
            }
            let place = work.place(of: job.piece)
            sums.add(output.counts, row: place.row, column: place.column, output.hasCodes ? output.codes : nil)
            if job.piece == work.count - 1 {
                results[job.tensor] = sums.finish(isLossless: tensor.descriptor?.scheme == .lossless)
                done += tensor.byteCount
                progress(tensor, done)
            } else {
                let share = Double(job.piece + 1) / Double(work.count)
                progress(tensor, done + UInt64(Double(tensor.byteCount) * share))
            }
        }
        return results
    }
}

/// One piece of one tensor: what a worker takes.
private struct PieceJob: Sendable {
    let tensor: Int, piece: Int

    static func all(_ works: [TensorPieces]) -> some Sequence<PieceJob> {
        works.indices.lazy.flatMap { tensor in
            (0..<works[tensor].count).lazy.map { PieceJob(tensor: tensor, piece: $0) }
        }
    }
}
