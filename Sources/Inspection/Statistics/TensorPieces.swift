import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// Cuts a tensor into pieces to read: its chunks, or about half a million neighbouring weights.
///
/// No piece has weights of two experts: where a chunk has, its parts are pieces, and it is decoded for each of them.
struct TensorPieces: Sendable {
    let tensor: StoredWeights
    /// Number of pieces; 0 for a tensor that is not read.
    let count: Int
    /// Shape of the tensor as a matrix; one row if the tensor is treated as a vector.
    let rows: Int, columns: Int
    /// Whether to sum squares per row and per column.
    let hasEnergies: Bool
    /// Type of the counted elements: as stored, or F32 for decoded weights.
    let countedFormat: CountedFormat
    /// Chunk table of a payload; nil for a tensor that is not encoded.
    let table: ChunkTable?
    /// Number of slices of experts; nil if the tensor has none.
    let slices: Int?
    private let pieceRows: Int, pieceColumns: Int
    /// Rows of a slice; all rows without slices.
    private let sliceRows: Int
    /// The parts of the chunks, slice by slice; empty if chunks are not cut.
    private let parts: [ChunkPart]

    /// Weights per piece: small enough for small buffers, large enough that the fixed cost of a piece is negligible.
    static let pieceWeights = 1 << 19
    /// Bytes of a piece at most.
    private static let pieceBytes = 1 << 21
    /// Rows, and columns, of a piece with sums of squares in binary64 at most.
    private static let maximumLines = 1 << 17

    /// Cuts a tensor into pieces; reads the chunk table of a payload.
    init(_ tensor: StoredWeights) throws {
        self.tensor = tensor
        let shape = tensor.shape
        let isMatrix = TensorSums.keepsEnergies(of: shape)
        slices = ExpertPlace(tensor).slices
        switch tensor.form {
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            let table = try shard.chunkTable(of: payload)
            self.table = table
            sliceRows = shape.rows / (slices ?? 1)
            parts = slices == nil ? [] : ChunkPart.parts(of: payload.prologue.grid, sliceRows: sliceRows)
            count = slices == nil ? table.count : parts.count
            let elementType = payload.descriptor.scheme == .lossless ? payload.descriptor.elementType : .f32
            countedFormat = CountedFormat(of: elementType) ?? CountedFormat(.f32)
            hasEnergies = isMatrix
            (rows, columns) = (shape.rows, shape.columns)
            (pieceRows, pieceColumns) = (0, 0)
        case .plain:
            table = nil
            let elements = shape.elementCount
            let format = tensor.isReadable ? CountedFormat(of: tensor.elementType) : nil
            countedFormat = format ?? CountedFormat(.f32)
            hasEnergies = isMatrix
            (rows, columns) =
                isMatrix || slices != nil ? (shape.rows, shape.columns) : (min(1, elements), elements)
            sliceRows = rows / (slices ?? 1)
            parts = []
            let weights = min(TensorPieces.pieceWeights, TensorPieces.pieceBytes / countedFormat.byteWidth)
            let lines = isMatrix && tensor.format == nil ? TensorPieces.maximumLines : weights
            pieceColumns = max(1, min(columns, weights, lines))
            // A piece is read in one run: whole rows, or a part of one.
            pieceRows = pieceColumns < columns ? 1 : max(1, min(sliceRows, weights / pieceColumns, lines))
            // A tensor without elements has one empty piece.
            count =
                format == nil
                ? 0 : max(1, (slices ?? 1) * ceilingDivide(sliceRows, pieceRows) * ceilingDivide(columns, pieceColumns))
        }
    }

    /// The slice that a piece is of; nil without slices. Pieces of a slice are neighbours.
    func slice(of piece: Int) -> Int? {
        slices.map { _ in place(of: piece).row / sliceRows }
    }

    /// The chunk that a piece of a payload is of, and the rows of the chunk before the piece.
    func chunk(of piece: Int) -> (index: Int, skippedRows: Int) {
        guard slices != nil, let grid = tensor.payload?.payload.prologue.grid else { return (piece, 0) }
        let part = parts[piece]
        return (part.chunk, part.row - grid.place(of: part.chunk).row)
    }

    /// Rectangle of a piece.
    func place(of piece: Int) -> PiecePlace {
        if let payload = tensor.payload?.payload {
            guard slices != nil else { return PiecePlace(payload.prologue.grid.place(of: piece)) }
            let whole = PiecePlace(payload.prologue.grid.place(of: parts[piece].chunk))
            return PiecePlace(
                row: parts[piece].row, column: whole.column, rows: parts[piece].rows, columns: whole.columns)
        }
        guard columns > 0 else { return PiecePlace(row: 0, column: 0, rows: 0, columns: 0) }
        let piecesPerBand = ceilingDivide(columns, pieceColumns)
        let piecesPerSlice = max(1, ceilingDivide(sliceRows, pieceRows) * piecesPerBand)
        let (start, inside) = (piece / piecesPerSlice * sliceRows, piece % piecesPerSlice)
        let (row, column) = (inside / piecesPerBand * pieceRows, inside % piecesPerBand * pieceColumns)
        return PiecePlace(
            row: start + row, column: column, rows: min(pieceRows, sliceRows - row),
            columns: min(pieceColumns, columns - column))
    }
}

/// Some rows of a chunk: those of one expert.
private struct ChunkPart: Sendable {
    /// The chunk, the first row in the tensor, and number of rows.
    let chunk: Int, row: Int, rows: Int

    /// The parts of all chunks of a grid, so that those of one slice are neighbours.
    static func parts(of grid: ChunkGrid, sliceRows: Int) -> [ChunkPart] {
        var parts: [ChunkPart] = []
        for band in stride(from: 0, to: grid.count, by: grid.chunksPerBand) {
            let place = grid.place(of: band)
            var row = place.row
            while row < place.row + place.rows {
                let end = min(place.row + place.rows, (row / sliceRows + 1) * sliceRows)
                parts += (band..<band + grid.chunksPerBand).map { ChunkPart(chunk: $0, row: row, rows: end - row) }
                row = end
            }
        }
        return parts
    }
}

/// A rectangle of a matrix; empty for a tensor without elements.
struct PiecePlace {
    /// First row, first column, number of rows, number of columns.
    let row: Int, column: Int, rows: Int, columns: Int

    init(row: Int, column: Int, rows: Int, columns: Int) {
        (self.row, self.column, self.rows, self.columns) = (row, column, rows, columns)
    }

    init(_ place: ChunkPlace) {
        self.init(row: place.row, column: place.column, rows: place.rows, columns: place.columns)
    }

    /// Number of weights.
    var count: Int { rows * columns }
}

/// Counts of a piece, in reusable buffers.
struct CountedPiece: Sendable {
    var counts = PieceCounts()
    /// Counts of the codes; valid if `hasCodes`.
    var codes = CodeCounts()
    var hasCodes = false
    /// Codes and scales of another quantizer: those of a share of the tensor, as large as the piece's.
    var histogram = CodeHistogram(), scales = ScaleHistogram()
}

/// Reads pieces and counts their weights; the buffers of one worker.
struct PieceReader {
    private var decoder = ChunkDecoder()
    private var decoded = DecodedChunk()
    private var bytes: [UInt8] = []
    /// The tensor and the chunk that `decoded` holds.
    private var held: (tensor: Int, chunk: Int)?

    /// Reads a piece and counts its weights.
    ///
    /// - Parameter tensor: a number of the tensor that no other tensor has.
    mutating func count(
        _ piece: Int, of work: TensorPieces, tensor: Int, into output: inout CountedPiece
    ) throws {
        let place = work.place(of: piece)
        switch work.tensor.form {
        case .plain(let bytes):
            try read(place, of: work, bytes)
            output.hasCodes = false
            let size = place.count * work.countedFormat.byteWidth
            output.counts.count(
                self.bytes.span.extracting(0..<size), work.countedFormat, rows: place.rows, columns: place.columns,
                wantsEnergies: work.hasEnergies)
            if let form = work.tensor.quantized {
                try output.histogram.count(piece, of: work.count, form)
                try output.scales.take(piece, of: work.count, form)
            }
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            let (chunk, skippedRows) = work.chunk(of: piece)
            guard let entry = try work.table?.entry(chunk) else { preconditionFailure("a payload has a chunk table") }
            if held?.tensor != tensor || held?.chunk != chunk {
                held = nil
                try decoder.decode(chunk, entry, of: payload, in: shard.file, into: &decoded)
                held = (tensor, chunk)
            }
            // The codes of the whole chunk, with its first part.
            output.hasCodes =
                skippedRows == 0 && decoded.count(as: payload.descriptor.scheme, into: &output.codes)
            let skipped = skippedRows * place.columns
            if payload.descriptor.scheme == .lossless {
                let width = work.countedFormat.byteWidth
                output.counts.count(
                    decoded.elements.span.extracting(skipped * width..<(skipped + place.count) * width),
                    work.countedFormat, rows: place.rows, columns: place.columns, wantsEnergies: work.hasEnergies)
            } else {
                output.counts.count(
                    decoded.weights.span.extracting(skipped..<skipped + place.count), rows: place.rows,
                    columns: place.columns,
                    wantsEnergies: work.hasEnergies)
            }
        }
    }

    private mutating func read(_ place: PiecePlace, of work: TensorPieces, _ tensor: TensorBytes) throws {
        let width = work.countedFormat.byteWidth
        let size = place.count * width
        bytes.grow(to: size)
        guard size > 0 else { return }
        let start = UInt64((place.row * work.columns + place.column) * width)
        tensor.prefetch(behind: start, count: size)
        try tensor.read(start, count: size, into: &bytes)
    }
}
