import Checkpoints
import Container
import FileAccess
package import Quantization
import TensorModel
package import Weights
import Work

/// What became of one tensor in another of the same shape, measured weight by weight.
package struct ComparedWeights: Sendable {
    /// The second against the first, over the pairs of finite weights.
    package internal(set) var errors = ErrorStatistics()
    /// Pairs that are left out of the error sums because one of them is NaN or infinite: of equal bits, and of different ones.
    package internal(set) var sameNonFinite: UInt64 = 0, changedNonFinite: UInt64 = 0
    /// The weights of the first and of the second; nil where they were not asked for.
    package internal(set) var first: WeightStatistics?, second: WeightStatistics?
    /// The second's weights in the bins of the first's histogram; nil where statistics were not asked for.
    package internal(set) var secondHistogram: Histogram?

    /// Weights that are not what they were.
    package var changed: UInt64 { errors.changed + changedNonFinite }
    /// Whether both restore to the same weights; zeros of either sign are the same.
    package var isSame: Bool { changed == 0 }
}

/// Compares tensors of any forms by their weights: all pieces of many pairs through one pipeline, in bounded memory.
package struct TensorComparison: Sendable {
    /// Two tensors of the same shape, both of floating-point numbers.
    package struct Pair: Sendable {
        let first: StoredWeights, second: StoredWeights

        /// Pairs two tensors; nil where their shapes differ or one holds no floating-point numbers of 16 or 32 bits.
        package init?(_ first: StoredWeights, _ second: StoredWeights) {
            guard first.shape == second.shape, first.format != nil, second.format != nil else { return nil }
            (self.first, self.second) = (first, second)
        }
    }

    private let jobs: Int
    private let memory: UInt64
    /// Bytes of a band at most that is read as a whole.
    private let bandBytes: Int
    private let wantsStatistics: Bool

    /// Prepares comparisons within a budget.
    ///
    /// - Parameter wantsStatistics: whether the weights of both are described too.
    /// - Throws: `usage` below the smallest budget.
    package init(memory: UInt64, jobs: Int, wantsStatistics: Bool) throws {
        _ = try MemoryBudget(bytes: memory, jobs: jobs)
        self.jobs = jobs
        self.wantsStatistics = wantsStatistics
        bandBytes = Int(min(memory / 16, 16 << 20))
        // Two bands of both tensors, and the statistics of the pair under way, are not the workers'.
        self.memory = memory - 4 * UInt64(bandBytes) - (4 << 20)
    }

    /// Weights of a piece that is put together of chunks, at most: as many as the smallest budget has room for, whatever the
    /// budget, so that sums are taken in the same order in every run.
    private static let gatheredWeights = 2 << 20
    /// Bytes a weight of a gathered piece takes: both in binary32, one of them, if lossless, as it is stored too.
    private static let gatheredBytes = 12
    /// Bytes of a reader of plain pieces: elements, and weights.
    private static let plainReaderBytes = 5 << 20
    /// Bytes of what was found of a piece.
    private static let resultBytes = 5 << 18
    /// Pieces of pairs whose chunk tables are at hand at the same time, but for the last pair.
    private static let batchPieces = 2048

    /// A pair with its pieces.
    fileprivate struct Planned: Sendable {
        let index: Int
        let first: ReadableWeights, second: ReadableWeights
        let grid: PieceGrid

        /// Bytes a workspace takes for its pieces.
        var workspaceBytes: Int {
            if grid.isGathered {
                return 2 * ChunkDecoder.maximumBytes + grid.pieceWeights * TensorComparison.gatheredBytes
            }
            return [first, second].reduce(0) {
                $0 + ($1.grid == nil ? TensorComparison.plainReaderBytes : ChunkDecoder.maximumBytes + (3 << 20))
            }
        }
    }

    /// Compares all pairs; `body` gets each result, with the index of its pair, in order.
    ///
    /// - Throws: what reading throws; a damaged tensor is named.
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

    /// What was found of a piece, in buffers that are reused.
    fileprivate struct ComparedPiece: Sendable {
        var comparison = PieceComparison()
        var same: UInt64 = 0, changed: UInt64 = 0
        var firstCounts = PieceCounts(), secondCounts = PieceCounts()
    }

    /// Reads pieces of both tensors and compares them: what one worker needs.
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

        /// Sets pairs with NaN or infinity to zero, so that sums over the others stay finite; counts them.
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

    /// What was read of a piece in order: the elements of tensors that are stored as they are.
    private struct PieceInput: Sendable {
        var first: ReadChunk?, second: ReadChunk?
    }

    /// What is summed up over the pieces of the pair under way.
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

        /// What they come to; used up by it.
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
        guard let most = batch.map(\.workspaceBytes).max() else { return [] }
        // Half of the memory for the workers, half for results that wait.
        let workers = max(1, min(jobs, Int(memory / 2) / most))
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
    /// Reads the elements of a piece of a tensor that is stored as it is; nil for an encoded one.
    func read(_ piece: Int, of tensor: ReadableWeights, by reader: inout BandReader) throws -> ReadChunk? {
        guard let bytes = tensor.plainBytes else { return nil }
        return try reader.read(
            grid.place(of: piece), of: bytes, columns: grid.columns, tensor.format,
            beginsBand: grid.beginsBand(piece), isLast: false)
    }
}
