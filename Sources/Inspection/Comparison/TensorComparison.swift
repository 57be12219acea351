import Checkpoints
import Container
import FileAccess
package import Quantization
import TensorModel
package import Weights
import Work

/// Comparison of two tensors of the same shape, or of the parts of a pair, weight by weight.
package struct ComparedWeights: Sendable {
    /// Errors of the second tensor against the first, over pairs of finite weights.
    package internal(set) var errors = ErrorStatistics()
    /// Pairs with a NaN or infinity, not in `errors`: with the same bits, and with different bits.
    package internal(set) var sameNonFinite: UInt64 = 0, changedNonFinite: UInt64 = 0
    /// Those of `changedNonFinite` with different values: not two NaN.
    package internal(set) var unequalNonFinite: UInt64 = 0
    /// The weights of the second tensor whose values differ from the first's, by their places in it. If the parts have several second tensors,
    /// the place is that in the first of them that differs.
    package internal(set) var differences = ValueDifferences()
    /// Statistics of the first and of the second tensor; nil if they were not requested.
    package internal(set) var first: WeightStatistics?, second: WeightStatistics?
    /// Weights of the second tensor in the bins of the first tensor's histogram; nil if statistics were not requested.
    package internal(set) var secondHistogram: Histogram?
    /// Error sums of each part of the pair, in order, over pairs of finite weights.
    package internal(set) var parts: [ErrorSums] = []

    /// Number of weights that differ.
    package var changed: UInt64 { errors.changed + changedNonFinite }
    /// Whether all weights are the same; -0 equals 0.
    package var isSame: Bool { changed == 0 }
}

/// Compares tensors of any forms by their weights. The pieces of many pairs go through one pipeline, in bounded memory.
package struct TensorComparison: Sendable {
    /// Two floating-point tensors of the same shape; or a tensor of several experts and the tensors that hold the same experts.
    package struct Pair: Sendable {
        /// Rows of two tensors with the same numbers of rows and columns.
        struct Part: Sendable {
            let first: TensorRows, second: TensorRows
        }

        /// What is compared, in order. Sums and percentiles are those of all parts together.
        let parts: [Part]

        /// Whether rows of a part are read in another order than that of their tensor.
        var isArranged: Bool { parts.contains { $0.first.arrangement != nil || $0.second.arrangement != nil } }

        /// Pairs two tensors; nil if their shapes differ, or one of them is not F16, BF16 or F32.
        package init?(_ first: StoredWeights, _ second: StoredWeights) {
            guard first.shape == second.shape, first.format != nil, second.format != nil else { return nil }
            parts = [Part(first: TensorRows(first), second: TensorRows(second))]
        }

        /// Pairs the parts of two sides. Nil if there are none, if a part has no weights, if the numbers of rows or columns of a part differ,
        /// or if a tensor is not F16, BF16 or F32.
        init?(_ parts: [(first: TensorRows, second: TensorRows)]) {
            let fits = parts.allSatisfy { part in
                part.first.rows == part.second.rows && part.first.columns == part.second.columns
                    && part.first.rows * part.first.columns > 0 && part.first.tensor.format != nil
                    && part.second.tensor.format != nil
            }
            guard fits, !parts.isEmpty else { return nil }
            self.parts = parts.map { Part(first: $0.first, second: $0.second) }
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
    ///   - wantsStatistics: whether to gather statistics of both sides. Pairs with several second tensors get none.
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
    /// Most weights of a piece whose rows are put into another order. Fits the smallest budget, as above.
    private static let arrangedWeights = 1 << 20
    /// Bytes per weight of an assembled piece: F32 of both tensors, and stored elements of one if it is lossless.
    private static let gatheredBytes = 12
    /// Bytes of a reader for a tensor that is not encoded: elements and weights.
    private static let plainReaderBytes = 5 << 20
    /// Bytes of the counts of one piece.
    private static let resultBytes = 5 << 18
    /// A batch of pairs ends when it has this many pieces; chunk tables are kept per batch.
    private static let batchPieces = 2048

    /// A part of a pair, its readers and its pieces.
    fileprivate struct Planned: Sendable {
        /// Index of the pair, and whether this is its first and its last part.
        let index: Int, beginsPair: Bool, endsPair: Bool
        let first: ReadableRows, second: ReadableRows
        let grid: PieceGrid
        /// The shape of the one second tensor of all parts of the pair; nil if there are several.
        let shape: Shape?
        /// The format in which the weights of all first tensors of the pair are counted; nil if there are several formats.
        let firstFormat: FloatFormat?

        /// Bytes of a workspace for its pieces.
        var workspaceBytes: Int {
            if grid.isGathered {
                return 2 * ChunkDecoder.maximumBytes + grid.pieceWeights * TensorComparison.gatheredBytes
                    + [first, second].reduce(0) { $0 + cutBytes($1) + arrangedBytes($1) }
            }
            return [first, second].reduce(0) {
                $0 + ($1.grid == nil ? TensorComparison.plainReaderBytes : ChunkDecoder.maximumBytes + (3 << 20))
            }
        }

        /// Bytes for a copy of weights or elements while rows change places.
        private func arrangedBytes(_ rows: ReadableRows) -> Int {
            rows.arrangement == nil ? 0 : grid.pieceWeights * MemoryLayout<Float>.size
        }

        /// More bytes of a reader of an assembled piece: elements of a plain tensor before they are gathered; of a cut payload the band of
        /// tiles that a `RowReader` keeps, for a piece may be lower than a tile.
        private func cutBytes(_ rows: ReadableRows) -> Int {
            guard let tiles = rows.grid else { return grid.pieceWeights * MemoryLayout<Float>.size }
            guard rows.isCut, tiles.chunksPerBand > 1 else { return 0 }
            return tiles.chunkRows * tiles.columns * MemoryLayout<Float>.size
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
                pieces >= TensorComparison.batchPieces || last.grid.isGathered != planned[0].grid.isGathered
            {
                for (index, result) in try await compare(batch) { try body(index, result) }
                (batch, pieces) = ([], 0)
            }
            batch += planned
            pieces += planned.reduce(0) { $0 + max(1, $1.grid.count) }
        }
        for (index, result) in try await compare(batch) { try body(index, result) }
    }

    /// Plans the parts of a pair. Reads the chunk table of each tensor once.
    private func plan(_ index: Int, _ pair: Pair) throws -> [Planned] {
        var tables: (first: [TensorName: ReadableWeights], second: [TensorName: ReadableWeights]) = ([:], [:])
        let second = pair.parts[0].second.tensor
        let shape = pair.parts.allSatisfy { $0.second.tensor.name == second.name } ? second.shape : nil
        let sides = try pair.parts.map { part in
            (
                first: try TensorComparison.readable(part.first, &tables.first),
                second: try TensorComparison.readable(part.second, &tables.second)
            )
        }
        let formats = Set(sides.map(\.first.weights.countedFormat))
        return sides.enumerated().map { number, side in
            Planned(
                index: index, beginsPair: number == 0, endsPair: number == pair.parts.count - 1, first: side.first,
                second: side.second,
                grid: PieceGrid(
                    side.first, side.second, gatheredWeights: TensorComparison.gatheredWeights,
                    arrangedWeights: TensorComparison.arrangedWeights),
                shape: shape, firstFormat: formats.count == 1 ? formats.first : nil)
        }
    }

    private static func readable(
        _ rows: TensorRows, _ tables: inout [TensorName: ReadableWeights]
    ) throws -> ReadableRows {
        guard let weights = try tables[rows.tensor.name] ?? ReadableWeights(rows.tensor) else {
            preconditionFailure("a pair has floating-point numbers")
        }
        tables[rows.tensor.name] = weights
        return ReadableRows(weights: weights, row: rows.row, rows: rows.rows, arrangement: rows.arrangement)
    }

    // MARK: - Pieces

    /// Counts of a piece, in reusable buffers.
    fileprivate struct ComparedPiece: Sendable {
        var comparison = PieceComparison()
        var same: UInt64 = 0, changed: UInt64 = 0, unequal: UInt64 = 0
        var difference: PieceDifference?
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
            try firstReader.read(pair.first.place(place), of: pair.first.weights, read.first, into: &first)
            try secondReader.read(pair.second.place(place), of: pair.second.weights, read.second, into: &second)
            pair.first.arrange(&first, place)
            pair.second.arrange(&second, place)
            (output.same, output.changed, output.unequal) = (0, 0, 0)
            var (original, restored) = (first.weights, second.weights)
            let hasNonFinite = first.hasNonFinite || second.hasNonFinite
            if hasNonFinite { PieceComparer.takeOut(&original, &restored, place.count, &output) }
            output.comparison.compare(
                original.span.extracting(first: place.count), restored.span.extracting(first: place.count))
            output.difference =
                hasNonFinite
                ? PieceDifference(
                    first.weights.span.extracting(first: place.count),
                    second.weights.span.extracting(first: place.count)) : output.comparison.difference
            guard wantsStatistics, let shape = pair.shape else { return }
            PieceComparer.count(&output.firstCounts, first, place, shape)
            PieceComparer.count(&output.secondCounts, second, place, shape)
        }

        /// Counts pairs with a NaN or infinity and sets both weights to 0, so that sums over the other pairs stay finite.
        private static func takeOut(
            _ first: inout [Float], _ second: inout [Float], _ count: Int, _ output: inout ComparedPiece
        ) {
            for index in 0..<count where !(first[index].isFinite && second[index].isFinite) {
                if first[index].bitPattern == second[index].bitPattern { output.same += 1 } else { output.changed += 1 }
                if first[index] != second[index], !(first[index].isNaN && second[index].isNaN) { output.unequal += 1 }
                (first[index], second[index]) = (0, 0)
            }
        }

        private static func count(
            _ counts: inout PieceCounts, _ read: ReadWeights, _ place: ChunkPlace, _ shape: Shape
        ) {
            let wantsEnergies = TensorSums.keepsEnergies(of: shape)
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
            guard wantsStatistics, let shape = pair.shape else { return }
            first = pair.firstFormat.map { TensorSums($0, shape) }
            second = TensorSums(pair.second.weights.countedFormat, shape)
        }

        mutating func beginPart() { result.parts.append(.zero) }

        /// Adds a piece at its place in the second tensor.
        mutating func add(_ piece: ComparedPiece, _ place: ChunkPlace) {
            result.errors.add(piece.comparison)
            result.parts[result.parts.count - 1] = result.parts[result.parts.count - 1] + piece.comparison.sums
            result.sameNonFinite += piece.same
            result.changedNonFinite += piece.changed
            result.unequalNonFinite += piece.unequal
            result.differences.add(piece.difference, row: place.row, column: place.column, columns: place.columns)
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
        /// Index of the part in its batch, and number of the piece.
        let part: Int, piece: Int
    }

    /// Compares whole pairs; returns the index of each pair and its result, in order.
    private func compare(_ batch: [Planned]) async throws -> [(Int, ComparedWeights)] {
        guard let maximum = batch.map(\.workspaceBytes).max() else { return [] }
        // Half of the memory for workers, half for results in the queue.
        let workers = max(1, min(jobs, Int(memory / 2) / maximum))
        let waiting = max(workers, min(2 * workers + 1, Int(memory / 2) / TensorComparison.resultBytes))
        let items = batch.indices.lazy.flatMap { part in
            (0..<batch[part].grid.count).lazy.map { Job(part: part, piece: $0) }
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
            let part = batch[job.part]
            return PieceInput(
                first: try part.read(job.piece, of: part.first, by: &readers.0),
                second: try part.read(job.piece, of: part.second, by: &readers.1))
        } work: { job, read, comparer, output in
            let part = batch[job.part]
            try comparer.compare(
                part.grid.place(of: job.piece), part, read, wantsStatistics: wantsStatistics, into: &output)
        } consume: { job, output in
            let part = batch[job.part]
            if job.piece == 0 {
                if part.beginsPair { sums = PairSums(part, wantsStatistics: wantsStatistics) }
                sums?.beginPart()
            }
            sums?.add(output, part.second.place(part.grid.place(of: job.piece)))
            if part.endsPair, job.piece == part.grid.count - 1 { compared[part.index] = sums?.finish() }
            return .proceed
        }
        // A pair without weights has no pieces.
        return batch.filter(\.endsPair).map { part in
            if let result = compared[part.index] { return (part.index, result) }
            var empty = PairSums(part, wantsStatistics: wantsStatistics)
            return (part.index, empty.finish())
        }
    }
}

extension TensorComparison.Planned {
    /// Reads the elements of a piece of a tensor that is not encoded; nil for an encoded one.
    func read(_ piece: Int, of rows: ReadableRows, by reader: inout BandReader) throws -> ReadChunk? {
        guard let bytes = rows.weights.plainBytes else { return nil }
        return try reader.read(
            rows.place(grid.place(of: piece)), of: bytes, columns: grid.columns, rows.weights.format.elementType,
            beginsBand: grid.beginsBand(piece), isLast: false)
    }
}
