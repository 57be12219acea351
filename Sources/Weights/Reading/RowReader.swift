package import Checkpoints
package import Container
import FileAccess
import Quantization
package import TensorModel

/// A tensor that can be read as binary32, plain or encoded, with its checked chunk table if it has one.
package struct ReadableWeights: Sendable {
    /// The tensor.
    package let tensor: StoredWeights
    /// The element type; for an encoded tensor, that of the source tensor.
    package let format: FloatFormat
    /// The chunk grid of a payload; nil for a plain tensor.
    package let grid: ChunkGrid?
    let table: ChunkTable?

    /// Reads and checks the chunk table of a payload. Nil if the elements are not floating-point numbers of 16 or 32 bits.
    ///
    /// - Throws: `payloadInvalid` if the table is damaged.
    package init?(_ tensor: StoredWeights) throws {
        guard let format = tensor.format else { return nil }
        self.tensor = tensor
        self.format = format
        if let (payload, shard) = tensor.payload {
            grid = payload.prologue.grid
            table = try shard.chunkTable(of: payload)
        } else {
            grid = nil
            table = nil
        }
    }

    /// Number of rows of the tensor as a matrix.
    package var rows: Int { tensor.shape.rows }
    /// Number of columns of the tensor as a matrix.
    package var columns: Int { tensor.shape.columns }

    /// The format in which weights are counted: binary32 if they are restored from codes, otherwise the element type.
    package var countedFormat: FloatFormat {
        switch tensor.descriptor?.scheme {
        case .uniform, .trellis: .f32
        case .lossless, nil: format
        }
    }

    /// The elements of a plain tensor; nil for a payload.
    package var plainBytes: TensorBytes? { if case .plain(let bytes) = tensor.form { bytes } else { nil } }
}

/// The weights of a rectangle of a tensor. The buffers are reused.
package struct ReadWeights: Sendable {
    /// Number of weights.
    package fileprivate(set) var count = 0
    /// The weights, row by row, in the first `count` elements.
    package fileprivate(set) var weights: [Float] = []
    /// The stored elements, row by row, in the first `count` * width bytes; undefined if `elementFormat` is nil.
    package fileprivate(set) var elements: [UInt8] = []
    /// The format of `elements`; nil if the weights were restored from codes.
    package fileprivate(set) var elementFormat: FloatFormat?
    /// Whether a weight is NaN or infinite.
    package fileprivate(set) var hasNonFinite = false

    /// No weights; buffers grow when they are filled.
    package init() {}

    /// Puts the rows of whole heads, which were read in the order of their tensor, into another order.
    ///
    /// - Parameter rows: number of rows that were read; the weights of a vector count as rows of one column. Traps unless they make whole heads.
    package mutating func arrange(_ arrangement: RowArrangement, rows: Int) {
        precondition(rows > 0 && rows % arrangement.headRows == 0 && count % rows == 0, "no whole heads")
        let length = count / rows
        ReadWeights.arrange(&weights, arrangement, rows: rows, length: length)
        if let width = elementFormat?.byteWidth {
            ReadWeights.arrange(&elements, arrangement, rows: rows, length: length * width)
        }
    }

    private static func arrange<Value>(
        _ values: inout [Value], _ arrangement: RowArrangement, rows: Int, length: Int
    ) {
        let size = arrangement.headRows
        for start in stride(from: 0, to: rows, by: size) {
            let head = Array(values[start * length..<(start + size) * length])
            for row in 0..<size {
                let (from, to) = (arrangement.row(readAs: row) * length, (start + row) * length)
                values.replaceSubrange(to..<to + length, with: head[from..<from + length])
            }
        }
    }
}

/// Reads rectangles of any tensor: weights in binary32, and the stored elements if there are any.
///
/// The reader keeps the last decoded chunk or, when it reads whole rows of a tile band in parts, the last band. So reading row by
/// row decodes each chunk once.
package struct RowReader {
    private var decoder = ChunkDecoder()
    private var chunk = DecodedChunk()
    /// The payload and chunk that `chunk` holds; nil if it holds none.
    private var decoded: (file: MappedFile, start: UInt64, number: Int)?
    /// The weights of a band of tiles, at most 32 MiB, and the band's place; used when rows are read in parts of a band.
    private var band: [Float] = []
    private var bandPlace: (file: MappedFile, start: UInt64, row: Int)?
    private var scratch: [UInt8] = []

    /// Makes a reader; buffers grow when first used.
    package init() {}

    /// Reads a rectangle. Traps if it extends beyond the tensor.
    ///
    /// - Parameters:
    ///   - read: the elements, if a `BandReader` has already read them.
    ///   - result: receives the weights.
    /// - Throws: `checksum` or `chunkInvalid`, naming the tensor, if an encoded tensor is damaged.
    package mutating func read(
        _ place: ChunkPlace, of tensor: ReadableWeights, _ read: ReadChunk? = nil, into result: inout ReadWeights
    ) throws {
        precondition(
            place.row >= 0 && place.column >= 0 && place.row + place.rows <= tensor.rows
                && place.column + place.columns <= tensor.columns, "a rectangle outside its tensor")
        result.count = place.count
        result.elementFormat = nil
        result.hasNonFinite = false
        switch tensor.tensor.form {
        case .plain(let bytes):
            let format = tensor.format
            let elements =
                try read?.elements(place, of: bytes, columns: tensor.columns, format.elementType, scratch: &scratch)
                ?? bytes.elements(place, tensor.columns, format.elementType, scratch: &scratch)
            result.hasNonFinite = !elements.expand(into: &result.weights).isZero
            elements.gather(into: &result.elements)
            result.elementFormat = format
        case .payload(let index, let shared):
            try decode(place, of: tensor, shared.shard.payloads[index], shared.shard.file, into: &result)
        }
    }

    /// Decodes the chunks that overlap a rectangle, and copies the overlaps.
    private mutating func decode(
        _ place: ChunkPlace, of tensor: ReadableWeights, _ payload: SealedShard.Payload, _ file: MappedFile,
        into result: inout ReadWeights
    ) throws {
        guard place.count > 0, let table = tensor.table else { return }
        let grid = payload.prologue.grid
        let isLossless = payload.descriptor.scheme == .lossless
        let width = tensor.format.byteWidth
        if isLossless { result.elements.grow(to: place.count * width) }
        result.weights.grow(to: place.count)
        if !isLossless, place.columns == grid.columns, grid.chunksPerBand > 1, place.rows < grid.chunkRows {
            return try decodeRows(place, table, payload, file, into: &result)
        }
        for band in place.row / grid.chunkRows...(place.row + place.rows - 1) / grid.chunkRows {
            for strip in place.column / grid.chunkColumns...(place.column + place.columns - 1) / grid.chunkColumns {
                let number = band * grid.chunksPerBand + strip
                try decode(number, table, of: payload, in: file)
                let own = grid.place(of: number)
                if isLossless {
                    RowReader.gather(chunk.elements, own, into: &result.elements, place, width: width)
                } else if own == place {
                    // The rectangle is the whole chunk: swap buffers instead of copying. `chunk` then no longer holds it.
                    chunk.exchangeWeights(with: &result.weights)
                    decoded = nil
                } else {
                    RowReader.gather(chunk.weights, own, into: &result.weights, place, width: 1)
                }
            }
        }
        guard isLossless else { return }
        let elements = ElementRectangle(
            result.elements, stride: place.columns * width, rows: place.rows, columns: place.columns,
            tensor.format.elementType)
        result.hasNonFinite = !elements.expand(into: &result.weights).isZero
        result.elementFormat = tensor.format
    }

    /// Copies whole rows from bands of tiles. A band is decoded once if its rows are read one after the other.
    private mutating func decodeRows(
        _ place: ChunkPlace, _ table: ChunkTable, _ payload: SealedShard.Payload, _ file: MappedFile,
        into result: inout ReadWeights
    ) throws {
        let grid = payload.prologue.grid
        for number in place.row / grid.chunkRows...(place.row + place.rows - 1) / grid.chunkRows {
            let row = number * grid.chunkRows
            let own = ChunkPlace(
                row: row, column: 0, rows: min(grid.chunkRows, grid.rows - row), columns: grid.columns)
            if bandPlace.map({ $0.file === file && $0.start == payload.range.start && $0.row == row }) != true {
                bandPlace = nil
                band.grow(to: own.count)
                for strip in 0..<grid.chunksPerBand {
                    let tile = number * grid.chunksPerBand + strip
                    try decode(tile, table, of: payload, in: file)
                    RowReader.gather(chunk.weights, grid.place(of: tile), into: &band, own, width: 1)
                }
                bandPlace = (file, payload.range.start, row)
            }
            RowReader.gather(band, own, into: &result.weights, place, width: 1)
        }
    }

    /// Decodes a chunk, unless `chunk` already holds it.
    private mutating func decode(
        _ number: Int, _ table: ChunkTable, of payload: SealedShard.Payload, in file: MappedFile
    ) throws {
        if let decoded, decoded.file === file, decoded.start == payload.range.start, decoded.number == number { return }
        decoded = nil
        try decoder.decode(number, table.entry(number), of: payload, in: file, into: &chunk)
        decoded = (file, payload.range.start, number)
    }

    /// Copies the overlap of two rectangles. An element has `width` values.
    private static func gather<Value>(
        _ from: [Value], _ own: ChunkPlace, into target: inout [Value], _ place: ChunkPlace, width: Int
    ) {
        let rows = max(own.row, place.row)..<min(own.row + own.rows, place.row + place.rows)
        let columns = max(own.column, place.column)..<min(own.column + own.columns, place.column + place.columns)
        let length = columns.count * width
        for row in rows {
            let start = ((row - own.row) * own.columns + columns.lowerBound - own.column) * width
            let end = ((row - place.row) * place.columns + columns.lowerBound - place.column) * width
            target.replaceSubrange(end..<end + length, with: from[start..<start + length])
        }
    }
}
