package import Checkpoints
package import Container
import FileAccess
import Quantization
package import TensorModel

/// A tensor of numbers that can be read as binary32, whatever its form; its chunk table, where it has one, is at hand.
package struct ReadableWeights: Sendable {
    /// The tensor.
    package let tensor: StoredWeights
    /// What its elements are; of an encoded tensor, those of its original.
    package let format: FloatFormat
    /// How an encoded tensor is cut; nil for one that is stored as it is.
    package let grid: ChunkGrid?
    let table: ChunkTable?

    /// Reads the chunk table, where there is one; nil for elements that are no floating-point numbers of 16 or 32 bits.
    ///
    /// - Throws: `payloadInvalid` where the table is damaged.
    package init?(_ tensor: StoredWeights) throws {
        guard let format = tensor.format else { return nil }
        self.tensor = tensor
        self.format = format
        if let (payload, shard) = tensor.payload {
            grid = payload.prologue.grid
            table = try shard.front(of: payload)
        } else {
            grid = nil
            table = nil
        }
    }

    /// The tensor as a matrix.
    package var rows: Int { tensor.shape.rows }
    /// The tensor as a matrix.
    package var columns: Int { tensor.shape.columns }

    /// What is counted of the weights: the elements themselves, or, where they are restored from codes, binary32.
    package var countedFormat: FloatFormat {
        switch tensor.descriptor?.scheme {
        case .uniform, .trellis: .f32
        case .lossless, nil: format
        }
    }

    /// Its elements; nil for an encoded tensor.
    package var plainBytes: TensorBytes? { if case .plain(let bytes) = tensor.form { bytes } else { nil } }
}

/// Weights of a rectangle of a tensor.
package struct ReadWeights: Sendable {
    /// Number of weights.
    package fileprivate(set) var count = 0
    /// The weights, row by row, in the first `count` elements.
    package fileprivate(set) var weights: [Float] = []
    /// Their elements, where `elementFormat` says what they are, in the first `count` times its width bytes.
    package fileprivate(set) var elements: [UInt8] = []
    /// The elements' format where they were read as they are stored; nil where they were restored from codes.
    package fileprivate(set) var elementFormat: FloatFormat?
    /// Whether one of the weights is NaN or infinite.
    package fileprivate(set) var hasNonFinite = false

    /// No weights; buffers grow when they are filled.
    package init() {}
}

/// Reads rectangles of tensors of any form: as binary32, and as stored elements where there are such.
///
/// What was decoded last is kept: a chunk, or, where less than a band of whole rows is read, the band. Rows can be read one by one.
package struct RowReader {
    private var decoder = ChunkDecoder()
    private var chunk = DecodedChunk()
    /// Which chunk of which payload `chunk` holds; nil where it holds none.
    private var decoded: (file: MappedFile, start: UInt64, number: Int)?
    /// The weights of a whole band of tiles, and which one it is: at most 32 MiB, used where rows are read by themselves.
    private var band: [Float] = []
    private var bandPlace: (file: MappedFile, start: UInt64, row: Int)?
    private var scratch: [UInt8] = []

    /// Makes a reader; buffers grow when first used.
    package init() {}

    /// Reads a rectangle, which must lie in the tensor.
    ///
    /// - Parameters:
    ///   - read: the elements, where a `BandReader` has read them.
    ///   - result: filled.
    /// - Throws: `checksum` or `chunkInvalid` where an encoded tensor is damaged, naming it.
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
                try read?.elements(place, of: bytes, columns: tensor.columns, format, scratch: &scratch)
                ?? bytes.elements(place, tensor.columns, format, scratch: &scratch)
            result.hasNonFinite = !elements.expand(into: &result.weights).isZero
            elements.gather(into: &result.elements)
            result.elementFormat = format
        case .payload(let index, let shared):
            try decode(place, of: tensor, shared.shard.payloads[index], shared.shard.file, into: &result)
        }
    }

    /// Decodes the chunks that meet a rectangle, and takes from each what is in it.
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
        if !isLossless, place.columns == grid.columns, grid.across > 1, place.rows < grid.chunkRows {
            return try decodeRows(place, table, payload, file, into: &result)
        }
        for band in place.row / grid.chunkRows...(place.row + place.rows - 1) / grid.chunkRows {
            for strip in place.column / grid.chunkColumns...(place.column + place.columns - 1) / grid.chunkColumns {
                let number = band * grid.across + strip
                try decode(number, table, of: payload, in: file)
                let own = grid.place(of: number)
                if isLossless {
                    RowReader.gather(chunk.elements, own, into: &result.elements, place, width: width)
                } else if own == place {
                    // The buffers are exchanged: this rectangle is the chunk, and the next one is another.
                    chunk.exchangeWeights(with: &result.weights)
                    decoded = nil
                } else {
                    RowReader.gather(chunk.weights, own, into: &result.weights, place, width: 1)
                }
            }
        }
        guard isLossless else { return }
        let elements = ElementRectangle(
            result.elements, stride: place.columns * width, rows: place.rows, columns: place.columns, tensor.format)
        result.hasNonFinite = !elements.expand(into: &result.weights).isZero
        result.elementFormat = tensor.format
    }

    /// Takes whole rows from bands, each of which is decoded once as long as its rows are asked for one after the other.
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
                for strip in 0..<grid.across {
                    let tile = number * grid.across + strip
                    try decode(tile, table, of: payload, in: file)
                    RowReader.gather(chunk.weights, grid.place(of: tile), into: &band, own, width: 1)
                }
                bandPlace = (file, payload.range.start, row)
            }
            RowReader.gather(band, own, into: &result.weights, place, width: 1)
        }
    }

    /// Decodes a chunk, unless it is the one that was decoded last.
    private mutating func decode(
        _ number: Int, _ table: ChunkTable, of payload: SealedShard.Payload, in file: MappedFile
    ) throws {
        if let decoded, decoded.file === file, decoded.start == payload.range.start, decoded.number == number { return }
        decoded = nil
        try decoder.decode(number, table.entry(number), of: payload, in: file, into: &chunk)
        decoded = (file, payload.range.start, number)
    }

    /// Copies what two rectangles have in common, of elements of `width` values each.
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
