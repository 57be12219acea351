package import Quantization
import TensorModel

/// How a calibrated tensor is encoded: the factors of its input, its scale bytes, and the hash of the file of moments.
package struct CalibratedEncoding: Sendable {
    /// The factors of its input.
    package let factors: FeedbackFactors
    /// A scale byte for each column, and for each row; no bytes if rows have none.
    package let columnBytes: [UInt8], rowBytes: [UInt8]
    /// Of each block of the factors, what is added to the weights before the search (`TargetCorrection`); nil for nothing.
    package let correction: [[Float]]?
    /// How strongly targets are shrunk toward zero (`FeedbackSearch`).
    package var shrinkage: Float = 0

    /// An encoding of a tensor.
    package init(
        factors: FeedbackFactors, columnBytes: [UInt8], rowBytes: [UInt8], correction: [[Float]]? = nil
    ) {
        self.factors = factors
        (self.columnBytes, self.rowBytes, self.correction) = (columnBytes, rowBytes, correction)
    }

    /// The side information of the payload.
    package var sideInformation: [UInt8] { columnBytes + rowBytes }
    /// Which rows and columns have bytes.
    package var scaleBytes: ScaleBytes { rowBytes.isEmpty ? .columns : .columnsAndRows }
}

/// Encodes bands of rows of a calibrated tensor: the tiles of a band one after the other, with error feedback. Its buffers are reused.
package struct BandEncoder {
    private var weights: [Float] = [], restored: [Float] = []
    private var stream = TrellisEncoder()
    private let writer = StreamWriter()
    /// The time that error feedback took in the bands that were encoded since `takeTimes`.
    private var times = FeedbackTimes()

    /// Makes an encoder; buffers grow when first used.
    package init() {}

    /// Encodes the tiles of a band.
    ///
    /// - Parameters:
    ///   - count: number of its tiles.
    ///   - firstRow: the row of the tensor that the band begins with.
    ///   - rule: the step of all tiles; dead zone and shrink do not count.
    ///   - measures: whether the sums over activations are wanted.
    ///   - chunks: receives the encoded tiles in its first `count` elements.
    ///   - tile: the elements of a tile; called once for each, from left to right.
    /// - Returns: the sums over activations. If a weight is NaN or infinite, the streams are empty and the sums mean nothing.
    package mutating func encode(
        _ count: Int, firstRow: Int, as prologue: PayloadPrologue, by rule: TrellisRule,
        _ encoding: CalibratedEncoding, measures: Bool, into chunks: inout [EncodedChunk],
        _ tile: (Int) throws -> ElementRectangle
    ) rethrows -> ActivationSums {
        guard case .trellis(let parameters) = prologue.scheme else { return ActivationSums() }
        let rows = min(prologue.grid.chunkRows, prologue.grid.rows - firstRow)
        let rowBytes = encoding.rowBytes.isEmpty ? [] : Array(encoding.rowBytes[firstRow..<firstRow + rows])
        let steps = ChunkSteps(step: rule.step, rowCount: rows, rows: rowBytes, columns: encoding.columnBytes)
        var tiles: [(columns: Range<Int>, weights: [Float])] = []
        var isFinite = true
        var column = 0
        if encoding.correction != nil {
            // A correction needs all columns of a block before its first one is searched.
            for index in 0..<count {
                let elements = try tile(index)
                chunks[index].clear()
                chunks[index].nonFinite = elements.expand(into: &weights)
                isFinite = isFinite && chunks[index].nonFinite.isZero
                tiles.append((column..<column + elements.columns, Array(weights[..<elements.count])))
                column += elements.columns
            }
        }
        var search = FeedbackSearch(
            encoding.factors, rows: rows, steps, parameters, shrinkage: encoding.shrinkage, prologue.format,
            encoding.correction.map { TargetCorrection(blocks: $0, tiles: tiles) },
            measures: measures)
        column = 0
        for index in 0..<count {
            let tileColumns: Int
            if tiles.isEmpty {
                let elements = try tile(index)
                tileColumns = elements.columns
                chunks[index].clear()
                chunks[index].nonFinite = elements.expand(into: &weights)
                isFinite = isFinite && chunks[index].nonFinite.isZero
            } else {
                weights = tiles[index].weights
                tileColumns = tiles[index].columns.count
            }
            guard isFinite else {
                writer.appendEmpty(
                    prologue.scheme.streamCount(prologue.elementType, prologue.codec), to: &chunks[index])
                chunks[index].setChecksum()
                continue
            }
            let columns = column..<column + tileColumns
            var own = steps
            own.columnScales = Array(steps.columnScales[columns])
            chunks[index].entry.step = rule.step
            chunks[index].entry.sums = stream.search(
                &search, weights, rows: rows, columns: columns, own, prologue.format)
            stream.appendStreams(
                weights, rows: rows, columns: tileColumns, parameters, prologue.format, prologue.codec, writer,
                to: &chunks[index])
            chunks[index].setChecksum()
            column = columns.upperBound
        }
        times.add(search.times)
        return search.sums
    }

    /// Returns the time that error feedback took in the bands that were encoded since the last call.
    package mutating func takeTimes() -> FeedbackTimes {
        defer { times = FeedbackTimes() }
        return times
    }
}
