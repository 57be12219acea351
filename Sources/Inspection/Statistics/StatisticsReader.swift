import Checkpoints
import Container
import FileAccess
package import Quantization
import TensorModel
package import Weights
import Work

/// Statistics of a tensor, and of its slices.
package struct ReadStatistics: Sendable {
    /// Statistics of the tensor; nil for F4, F6 and C64.
    package internal(set) var whole: WeightStatistics?
    /// Statistics of the slice of each expert, without rows and columns; empty if there are none or they were not requested.
    package internal(set) var slices: [WeightStatistics] = []
}

/// Reads every weight once and gathers statistics of each tensor, in bounded memory, with several jobs.
///
/// A tensor is cut into pieces that depend on the tensor only, and counts are added in the order of the pieces. So the result does not
/// depend on the number of jobs.
package struct StatisticsReader: Sendable {
    private let budget: MemoryBudget

    /// Prepares reading.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: pieces in work at the same time.
    package init(memory: UInt64, jobs: Int) throws {
        budget = try MemoryBudget(bytes: memory, jobs: jobs)
    }

    /// Statistics of each tensor, in the order given.
    ///
    /// - Parameters:
    ///   - tensors: tensors to read; those of one file must be neighbours.
    ///   - slicesExperts: whether to take statistics of the slices of experts too (`ExpertPlace`).
    ///   - progress: called after each piece with its tensor, and the bytes of all finished tensors.
    package func read(
        _ tensors: [StoredWeights], slicesExperts: Bool = false,
        progress: @escaping (StoredWeights, UInt64) -> Void = { _, _ in }
    ) async throws -> [ReadStatistics] {
        var results: [ReadStatistics] = []
        results.reserveCapacity(tensors.count)
        var done: UInt64 = 0
        var start = 0
        // Keep the chunk tables of one file only.
        while start < tensors.count {
            let file = tensors[start].file
            let end = tensors[start...].firstIndex { $0.file !== file } ?? tensors.count
            let works = try tensors[start..<end].map(TensorPieces.init)
            results += try await read(works, slicesExperts) { tensor, bytes in progress(tensor, done + bytes) }
            done += tensors[start..<end].reduce(0) { $0 + $1.byteCount }
            file.finishReading()
            start = end
        }
        return results
    }

    /// Reads the tensors of one file.
    private func read(
        _ works: [TensorPieces], _ slicesExperts: Bool, _ progress: @escaping (StoredWeights, UInt64) -> Void
    ) async throws -> [ReadStatistics] {
        var results = [ReadStatistics](repeating: ReadStatistics(), count: works.count)
        var done: UInt64 = 0
        var sums = TensorSums(CountedFormat(.f32), energies: nil)
        var slice = sums
        var (histogram, scales) = (CodeHistogram(), ScaleHistogram())
        try await budget.pipeline { PieceReader() }.run(PieceJob.all(works), makeOutput: { CountedPiece() }) {
            job, reader, output in
            try reader.count(job.piece, of: works[job.tensor], tensor: job.tensor, into: &output)
        } consume: { job, output in
            let work = works[job.tensor]
            let tensor = work.tensor
            if job.piece == 0 {
                sums = TensorSums(work.countedFormat, energies: work.hasEnergies ? (work.rows, work.columns) : nil)
            }
            if tensor.quantized != nil {
                if job.piece == 0 {
                    (histogram, scales) = (output.histogram, output.scales)
                } else {
                    histogram.add(output.histogram)
                    scales.add(output.scales)
                }
            }
            let place = work.place(of: job.piece)
            sums.add(output.counts, row: place.row, column: place.column, output.hasCodes ? output.codes : nil)
            if slicesExperts, let number = work.slice(of: job.piece) {
                if job.piece == 0 || work.slice(of: job.piece - 1) != number {
                    slice = TensorSums(work.countedFormat, energies: nil)
                }
                slice.add(output.counts, row: 0, column: 0)
                if job.piece == work.count - 1 || work.slice(of: job.piece + 1) != number {
                    results[job.tensor].slices.append(slice.finish())
                }
            }
            if job.piece == work.count - 1 {
                results[job.tensor].whole = sums.finish(isLossless: tensor.descriptor?.scheme == .lossless)
                if let form = tensor.quantized {
                    let coded = CodedStatistics(histogram, scales, form)
                    let codes = Double(histogram.counts.reduce(0, +))
                    results[job.tensor].whole?.coded = coded
                    results[job.tensor].whole?.codeEntropy =
                        coded.entropy * codes / Double(max(1, tensor.shape.elementCount))
                }
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

/// One piece of one tensor: the unit of work.
private struct PieceJob: Sendable {
    let tensor: Int, piece: Int

    /// All pieces of all tensors, in order.
    static func all(_ works: [TensorPieces]) -> some Sequence<PieceJob> {
        works.indices.lazy.flatMap { tensor in
            (0..<works[tensor].count).lazy.map { PieceJob(tensor: tensor, piece: $0) }
        }
    }
}

extension CodedStatistics {
    /// The statistics of a whole tensor.
    init(_ histogram: CodeHistogram, _ scales: ScaleHistogram, _ form: QuantizedForm) {
        self.init(
            histogram.counts, bits: form.codeBits, scales: scales.count, zeros: scales.zeros,
            negative: scales.negative, notFinite: scales.notFinite, smallest: scales.smallest.map(Double.init),
            median: scales.median.map(Double.init), largest: scales.largest.map(Double.init))
    }
}
