import Container
import Conversion
import FileAccess
package import Quantization
import TensorModel

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
    private let mappedBand: Int
    private let wantsStatistics: Bool

    /// Prepares comparisons within a budget.
    ///
    /// - Parameter wantsStatistics: whether the weights of both are described too.
    /// - Throws: `usage` below the smallest budget.
    package init(memory: UInt64, jobs: Int, wantsStatistics: Bool) throws {
        _ = try MemoryBudget(bytes: memory, jobs: jobs)
        self.jobs = jobs
        self.wantsStatistics = wantsStatistics
        mappedBand = Int(min(memory / 8, 16 << 20))
        // Two bands of mapped pages, and the statistics of the pairs under way, are not the workspaces'.
        self.memory = memory - 2 * UInt64(mappedBand) - (4 << 20)
    }

    /// Weights of a piece that is put together of chunks, at most: as many as the smallest budget has room for, whatever the
    /// budget, so that sums are taken in the same order in every run.
    private static let gatheredWeights = 2 << 20
    /// Bytes a weight of a gathered piece takes: both in binary32, one of them, if lossless, as it is stored too.
    private static let gatheredBytes = 12
    /// Bytes of a reader of plain pieces, with the pages it reads from.
    private static let plainReaderBytes = 4 << 20
    /// Pieces of pairs whose chunk tables are at hand at the same time, but for the last pair.
    private static let batchPieces = 2048

    /// A pair with its pieces.
    fileprivate struct Planned: Sendable {
        let index: Int
        let first: ReadableWeights, second: ReadableWeights
        let grid: PieceGrid
        let access: WeightReader.Access

        /// Bytes a workspace takes for its pieces.
        var workspaceBytes: Int {
            if grid.isGathered {
                return 2 * ChunkWorkspace.maximumBytes + grid.pieceWeights * TensorComparison.gatheredBytes
            }
            return [first, second].reduce(0) {
                $0 + ($1.grid == nil ? TensorComparison.plainReaderBytes : ChunkWorkspace.maximumBytes)
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
        let grid = PieceGrid(first, second, gatheredWeights: TensorComparison.gatheredWeights)
        let bandBytes = grid.pieceRows * grid.columns * max(first.format.byteWidth, second.format.byteWidth)
        return Planned(
            index: index, first: first, second: second, grid: grid,
            access: bandBytes <= mappedBand ? .mapped : .copied)
    }

    // MARK: - Pieces

    /// What one worker works in.
    private final class Workspace: @unchecked Sendable {
        let first = WeightReader(), second = WeightReader()
        var comparison = PieceComparison()
        var same: UInt64 = 0, changed: UInt64 = 0
        var firstCounts = PieceCounts(), secondCounts = PieceCounts()

        func compare(_ place: ChunkPlace, _ pair: Planned, wantsStatistics: Bool) throws {
            try first.read(place, of: pair.first, pair.access)
            try second.read(place, of: pair.second, pair.access)
            (same, changed) = (0, 0)
            var (original, restored) = (first.weights, second.weights)
            if first.hasNonFinite || second.hasNonFinite {
                Workspace.takeOut(&original, &restored, place.count, &same, &changed)
            }
            comparison.compare(
                original.span.extracting(first: place.count), restored.span.extracting(first: place.count))
            guard wantsStatistics else { return }
            Workspace.count(&firstCounts, first, place, pair.first)
            Workspace.count(&secondCounts, second, place, pair.second)
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
            _ counts: inout PieceCounts, _ reader: WeightReader, _ place: ChunkPlace, _ tensor: ReadableWeights
        ) {
            if let format = reader.elementFormat {
                let bytes = reader.storedElements
                counts.count(
                    bytes.span.extracting(first: place.count * format.byteWidth), format, rows: place.rows,
                    columns: place.columns, wantsEnergies: tensor.hasEnergies)
            } else {
                let weights = reader.weights
                counts.count(
                    weights.span.extracting(first: place.count), rows: place.rows, columns: place.columns,
                    wantsEnergies: tensor.hasEnergies)
            }
        }
    }

    /// What is summed up over the pieces of the pair under way.
    private final class Sums {
        var result = ComparedWeights()
        var first: TensorSums?, second: TensorSums?
        var results: [(Int, ComparedWeights)] = []

        func describe() {
            result.first = first?.finish()
            result.secondHistogram = result.first.flatMap { second?.histogram(binnedAs: $0.histogram) }
            result.second = second?.finish()
        }
    }

    private struct Job: Sendable {
        let pair: Int, piece: Int
    }

    private func compare(_ batch: [Planned]) async throws -> [(Int, ComparedWeights)] {
        guard let most = batch.map(\.workspaceBytes).max() else { return [] }
        let number = max(1, min(2 * jobs + 1, Int(memory) / most))
        let pipeline = OrderedPipeline(jobs: min(jobs, number), workspaces: (0..<number).map { _ in Workspace() })
        let items = batch.indices.lazy.flatMap { pair in
            (0..<batch[pair].grid.count).lazy.map { Job(pair: pair, piece: $0) }
        }
        let sums = Sums()
        let wantsStatistics = wantsStatistics
        try await pipeline.run(items) { job, workspace in
            let pair = batch[job.pair]
            if pair.grid.beginsBand(job.piece) { pair.prefetch(job.piece) }
            try workspace.compare(pair.grid.place(of: job.piece), pair, wantsStatistics: wantsStatistics)
        } consume: { job, workspace in
            try Interruption.check()
            let pair = batch[job.pair]
            if job.piece == 0 {
                sums.result = ComparedWeights()
                if wantsStatistics {
                    sums.first = TensorSums(pair.first.countedFormat, pair.first.tensor.shape)
                    sums.second = TensorSums(pair.second.countedFormat, pair.second.tensor.shape)
                }
            }
            sums.result.errors.add(workspace.comparison)
            sums.result.sameNonFinite += workspace.same
            sums.result.changedNonFinite += workspace.changed
            let place = pair.grid.place(of: job.piece)
            sums.first?.add(workspace.firstCounts, row: place.row, column: place.column)
            sums.second?.add(workspace.secondCounts, row: place.row, column: place.column)
            if pair.grid.endsBand(job.piece) { pair.release(job.piece) }
            guard job.piece == pair.grid.count - 1 else { return }
            sums.describe()
            sums.result.errors.settle()
            sums.results.append((pair.index, sums.result))
        }
        // A pair without weights has no pieces.
        let compared = Dictionary(sums.results, uniquingKeysWith: { first, _ in first })
        return batch.map { pair in
            if let result = compared[pair.index] { return (pair.index, result) }
            var empty = ComparedWeights()
            empty.errors.settle()
            if wantsStatistics {
                var (first, second) = (
                    TensorSums(pair.first.countedFormat, pair.first.tensor.shape),
                    TensorSums(pair.second.countedFormat, pair.second.tensor.shape)
                )
                (empty.first, empty.second) = (first.finish(), second.finish())
            }
            return (pair.index, empty)
        }
    }
}

extension TensorComparison.Planned {
    /// Whether pieces beside each other share pages of a tensor that is stored as it is.
    private var sharesPages: Bool { access == .mapped && grid.across > 1 }

    private func forEachBand(_ piece: Int, _ body: (MappedFile, ByteRange) -> Void) {
        guard sharesPages else { return }
        let place = grid.place(of: piece)
        for tensor in [first, second] {
            if let bytes = tensor.bytes(ofRows: place.row, count: place.rows) { body(tensor.tensor.file, bytes) }
        }
    }

    func prefetch(_ piece: Int) { forEachBand(piece) { $0.prefetch(behind: $1) } }
    func release(_ piece: Int) { forEachBand(piece) { $0.release($1) } }
}
