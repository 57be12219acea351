import Checkpoints
import Container
import FileAccess
package import Quantization
import TensorModel
package import Weights
import Work

/// Comparison of two tensors of the same shape, weight by weight.
package struct ComparedWeights: Sendable {
    /// Errors of the second tensor against the first, over pairs of finite weights.
    package internal(set) var errors = ErrorStatistics()
    /// Pairs with a NaN or infinity, not in `errors`: with the same bits, and with different bits.
    package internal(set) var sameNonFinite: UInt64 = 0, changedNonFinite: UInt64 = 0
    /// Statistics of the first and of the second tensor; nil if they were not requested.
    package internal(set) var first: WeightStatistics?, second: WeightStatistics?
    /// Weights of the second tensor in the bins of the first tensor's histogram; nil if statistics were not requested.
    package internal(set) var secondHistogram: Histogram?

    /// Number of weights that differ.
    package var changed: UInt64 { errors.changed + changedNonFinite }
    /// Whether all weights are the same; -0 equals 0.
    package var isSame: Bool { changed == 0 }
}

/// Compares tensors of any forms by their weights. The pieces of many pairs go through one pipeline, in bounded memory.
package struct TensorComparison: Sendable {
    /// Two floating-point tensors of the same shape.
    package struct Pair: Sendable {
        let first: StoredWeights, second: StoredWeights

        /// Pairs two tensors; nil if their shapes differ, or one of them is not F16, BF16 or F32.
        package init?(_ first: StoredWeights, _ second: StoredWeights) {
            guard first.shape == second.shape, first.format != nil, second.format != nil else { return nil }
            (self.first, self.second) = (first, second)
        }
    }

    private let jobs: Int
    private let memory: UInt64
    /// Bytes of the largest band that is read at once.
    private let bandBytes: Int
    private let wantsStatistics: Bool

    /// Prepares comparisons.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: pieces in work at the same time.
    ///   - wantsStatistics: whether to gather statistics of both tensors.
    /// - Throws: `usage` if `memory` is below the smallest budget.
    package init(memory: UInt64, jobs: Int, wantsStatistics: Bool) throws {
        _ = try MemoryBudget(bytes: memory, jobs: jobs)
        self.jobs = jobs
        self.wantsStatistics = wantsStatistics
        bandBytes = Int(min(memory / 16, 16 << 20))
        // Two bands of each tensor, and the statistics of the current pair, are outside the workers' share.
        self.memory = memory - 4 * UInt64(bandBytes) - (4 << 20)
    }

    /// Most weights of a piece that is assembled from chunks. Fits the smallest budget, and is the same for every budget, so that sums are
    /// taken in the same order in every run.
    private static let gatheredWeights = 2 << 20
    /// Bytes per weight of an assembled piece: F32 of both tensors, and stored elements of one if it is lossless.
    private static let gatheredBytes = 12
    /// Bytes of a reader for a tensor that is not encoded: elements and weights.
    private static let plainReaderBytes = 5 << 20
    /// Bytes of the counts of one piece.
    private static let resultBytes = 5 << 18
    /// A batch of pairs ends when it has this many pieces; chunk tables are kept per batch.
    private static let batchPieces = 2048

    /// A pair, its readers and its pieces.
    fileprivate struct Planned: Sendable {
        let index: Int
        let first: ReadableWeights, second: ReadableWeights
        let grid: PieceGrid

        /// Bytes of a workspace for its pieces.
        var workspaceBytes: Int {
            if grid.isGathered {
                return 2 * ChunkDecoder.maximumBytes + grid.pieceWeights * TensorComparison.gatheredBytes
            }
            return [first, second].reduce(0) {
                $0 + ($1.grid == nil ? TensorComparison.plainReaderBytes : ChunkDecoder.maximumBytes + (3 << 20))
            }
        }
    }

    /// Compares all pairs; calls `body` for each, in order, with the index of the pair and its result.
    ///
    /// - Throws: errors of reading; damage of an encoded tensor names the tensor.
    package func run(_ pairs: [Pair], _ body: (Int, ComparedWeights) throws -> Void) async throws {
        var batch: [Planned] = []
        var pieces = 0
        for (index, pair) in pairs.enumerated() {
            let planned = try plan(index, pair)
            if let last = batch.last,
                pieces >= TensorComparison.batchPieces || last.grid.isGathered != planned.grid.isGathered
            {
                for (index, result) in try await compare(batch) { try body(index, result) }
                (batch, pieces) = ([], 0)
            }
            batch.append(planned)
            pieces += max(1, planned.grid.count)
        }
        for (index, result) in try await compare(batch) { try body(index, result) }
    }

    private func plan(_ index: Int, _ pair: Pair) throws -> Planned {
        guard let first = try ReadableWeights(pair.first), let second = try ReadableWeights(pair.second) else {
            preconditionFailure("a pair has floating-point numbers")
        }
        return Planned(
            index: index, first: first, second: second,
            grid: PieceGrid(first, second, gatheredWeights: TensorComparison.gatheredWeights))
    }

    // MARK: - Pieces

    /// Counts of a piece, in reusable buffers.
    fileprivate struct ComparedPiece: Sendable {
        var comparison = PieceComparison()
        var same: UInt64 = 0, changed: UInt64 = 0
        var firstCounts = PieceCounts(), secondCounts = PieceCounts()
    }

    /// Reads pieces of both tensors and compares them; the buffers of one worker.
    private struct PieceComparer {
        private var firstReader = RowReader(), secondReader = RowReader()
        private var first = ReadWeights(), second = ReadWeights()

        mutating func compare(
            _ place: ChunkPlace, _ pair: Planned, _ read: PieceInput, wantsStatistics: Bool,
            into output: inout ComparedPiece
        ) throws {
            try firstReader.read(place, of: pair.first, read.first, into: &first)
            try secondReader.read(place, of: pair.second, read.second, into: &second)
            (output.same, output.changed) = (0, 0)
            var (original, restored) = (first.weights, second.weights)
            if first.hasNonFinite || second.hasNonFinite {
                PieceComparer.takeOut(&original, &restored, place.count, &output.same, &output.changed)
            }
            output.comparison.compare(
                original.span.extracting(first: place.count), restored.span.extracting(first: place.count))
            guard wantsStatistics else { return }
            PieceComparer.count(&output.firstCounts, first, place, pair.first)
            PieceComparer.count(&output.secondCounts, second, place, pair.second)
        }

        /// Counts pairs with a NaN or infinity and sets both weights to 0, so that sums over the other pairs stay finite.
        private static func takeOut(
            _ first: inout [Float], _ second: inout [Float], _ count: Int, _ same: inout UInt64,
            _ changed: inout UInt64
        ) {
            for index in 0..<count where !(first[index].isFinite && second[index].isFinite) {
                if first[index].bitPattern == second[index].bitPattern { same += 1 } else { changed += 1 }
                (first[index], second[index]) = (0, 0)
            }
        }

        private static func count(
            _ counts: inout PieceCounts, _ read: ReadWeights, _ place: ChunkPlace, _ tensor: ReadableWeights
        ) {
            let wantsEnergies = TensorSums.keepsEnergies(of: tensor.tensor.shape)
            if let format = read.elementFormat {
                counts.count(
                    read.elements.span.extracting(first: place.count * format.byteWidth), format, rows: place.rows,
                    columns: place.columns, wantsEnergies: wantsEnergies)
            } else {
                counts.count(
                    read.weights.span.extracting(first: place.count), rows: place.rows, columns: place.columns,
                    wantsEnergies: wantsEnergies)
            }
        }
    }

    /// Input that is read in order: elements of the tensors that are not encoded.
    private struct PieceInput: Sendable {
        var first: ReadChunk?, second: ReadChunk?
    }

    /// Sums over the pieces of the current pair.
    private struct PairSums {
        var result = ComparedWeights()
        var first: TensorSums?, second: TensorSums?

        init(_ pair: Planned, wantsStatistics: Bool) {
            guard wantsStatistics else { return }
            first = TensorSums(pair.first.countedFormat, pair.first.tensor.shape)
            second = TensorSums(pair.second.countedFormat, pair.second.tensor.shape)
        }

        mutating func add(_ piece: ComparedPiece, _ place: ChunkPlace) {
            result.errors.add(piece.comparison)
            result.sameNonFinite += piece.same
            result.changedNonFinite += piece.changed
            first?.add(piece.firstCounts, row: place.row, column: place.column)
            second?.add(piece.secondCounts, row: place.row, column: place.column)
        }

        /// Computes the result; the sums cannot be used afterwards.
        mutating func finish() -> ComparedWeights {
            result.first = first?.finish()
            result.secondHistogram = result.first.flatMap { second?.histogram(binnedAs: $0.histogram) }
            result.second = second?.finish()
            result.errors.settle()
            return result
        }
    }

    private struct Job: Sendable {
        let pair: Int, piece: Int
    }

    private func compare(_ batch: [Planned]) async throws -> [(Int, ComparedWeights)] {
        guard let maximum = batch.map(\.workspaceBytes).max() else { return [] }
        // Half of the memory for workers, half for results in the queue.
        let workers = max(1, min(jobs, Int(memory / 2) / maximum))
        let waiting = max(workers, min(2 * workers + 1, Int(memory / 2) / TensorComparison.resultBytes))
        let items = batch.indices.lazy.flatMap { pair in
            (0..<batch[pair].grid.count).lazy.map { Job(pair: pair, piece: $0) }
        }
        var readers = (
            BandReader(bandBytes: bandBytes, hashes: false), BandReader(bandBytes: bandBytes, hashes: false)
        )
        let wantsStatistics = wantsStatistics
        var sums: PairSums?
        var compared: [Int: ComparedWeights] = [:]
        try await Pipeline(jobs: workers, lookahead: waiting) { PieceComparer() }.run(
            items, makeOutput: { ComparedPiece() }
        ) { job -> PieceInput in
            let pair = batch[job.pair]
            return PieceInput(
                first: try pair.read(job.piece, of: pair.first, by: &readers.0),
                second: try pair.read(job.piece, of: pair.second, by: &readers.1))
        } work: { job, read, comparer, output in
            let pair = batch[job.pair]
            try comparer.compare(
                pair.grid.place(of: job.piece), pair, read, wantsStatistics: wantsStatistics, into: &output)
        } consume: { job, output in
            let pair = batch[job.pair]
            if job.piece == 0 { sums = PairSums(pair, wantsStatistics: wantsStatistics) }
            sums?.add(output, pair.grid.place(of: job.piece))
            if job.piece == pair.grid.count - 1 { compared[pair.index] = sums?.finish() }
            return .proceed
        }
        // A pair without weights has no pieces.
        return batch.map { pair in
            if let result = compared[pair.index] { return (pair.index, result) }
            var empty = PairSums(pair, wantsStatistics: wantsStatistics)
            return (pair.index, empty.finish())
        }
    }
}

extension TensorComparison.Planned {
    /// Reads the elements of a piece of a tensor that is not encoded; nil for an encoded one.
    func read(_ piece: Int, of tensor: ReadableWeights, by reader: inout BandReader) throws -> ReadChunk? {
        guard let bytes = tensor.plainBytes else { return nil }
        return try reader.read(
            grid.place(of: piece), of: bytes, columns: grid.columns, tensor.format,
            beginsBand: grid.beginsBand(piece), isLast: false)
    }
}
