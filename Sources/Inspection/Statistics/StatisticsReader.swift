import Checkpoints
import Container
import Conversion
import FileAccess
package import Quantization
import TensorModel

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
        let pipeline = OrderedPipeline(
            jobs: budget.jobs, workspaces: (0..<budget.workspaces).map { _ in PieceWorkspace() })
        var results: [WeightStatistics?] = []
        results.reserveCapacity(tensors.count)
        var done: UInt64 = 0
        var start = 0
        // Chunk tables are held for the tensors of one file only.
        while start < tensors.count {
            let file = tensors[start].file
            let end = tensors[start...].firstIndex { $0.file !== file } ?? tensors.count
            let works = try tensors[start..<end].map(TensorPieces.init)
            results += try await read(works, pipeline) { tensor, bytes in progress(tensor, done + bytes) }
            done += tensors[start..<end].reduce(0) { $0 + $1.byteCount }
            start = end
        }
        return results
    }

    /// Goes through the tensors of one file.
    private func read(
        _ works: [TensorPieces], _ pipeline: OrderedPipeline<PieceWorkspace>,
        _ progress: @escaping (StoredWeights, UInt64) -> Void
    ) async throws -> [WeightStatistics?] {
        let sums = FileSums(works.count)
        try await pipeline.run(PieceJob.all(works)) { job, workspace in
            try workspace.count(job.piece, of: works[job.tensor])
        } consume: { job, workspace in
            try Interruption.check()
            let work = works[job.tensor]
            if job.piece == 0 { sums.begin(work) }
            sums.add(workspace, job.piece, of: work)
            let tensor = work.tensor
            if job.piece == work.count - 1 {
                sums.results[job.tensor] = sums.finish(work)
                sums.doneBytes += tensor.byteCount
                progress(tensor, sums.doneBytes)
            } else {
                let share = Double(job.piece + 1) / Double(work.count)
                progress(tensor, sums.doneBytes + UInt64(Double(tensor.byteCount) * share))
            }
        }
        return sums.results
    }
}

/// One piece of one tensor: what the pipeline's workers take.
private struct PieceJob: Sendable {
    let tensor: Int, piece: Int

    static func all(_ works: [TensorPieces]) -> some Sequence<PieceJob> {
        works.indices.lazy.flatMap { tensor in
            (0..<works[tensor].count).lazy.map { PieceJob(tensor: tensor, piece: $0) }
        }
    }
}

/// What changes from piece to piece; used by one worker at a time.
private final class FileSums {
    var results: [WeightStatistics?]
    var doneBytes: UInt64 = 0
    private var sums = TensorSums(.f32, energies: nil)

    init(_ count: Int) { results = [WeightStatistics?](repeating: nil, count: count) }

    func begin(_ work: TensorPieces) {
        sums = TensorSums(work.countedFormat, energies: work.hasEnergies ? (work.rows, work.columns) : nil)
    }

    func add(_ workspace: PieceWorkspace, _ piece: Int, of work: TensorPieces) {
        let place = work.place(of: piece)
        sums.add(workspace.counts, row: place.row, column: place.column, workspace.hasCodes ? workspace.codes : nil)
    }

    func finish(_ work: TensorPieces) -> WeightStatistics {
        sums.finish(isLossless: work.tensor.descriptor?.scheme == .lossless)
    }
}
