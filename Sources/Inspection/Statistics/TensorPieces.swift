import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// Cuts a tensor into pieces to read: its chunks, or about half a million neighbouring weights.
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
    private let pieceRows: Int, pieceColumns: Int

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
        switch tensor.form {
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            let table = try shard.chunkTable(of: payload)
            self.table = table
            count = table.count
            countedFormat = CountedFormat(
                payload.descriptor.scheme == .lossless ? payload.descriptor.format : .f32)
            hasEnergies = isMatrix
            (rows, columns) = (shape.rows, shape.columns)
            (pieceRows, pieceColumns) = (0, 0)
        case .plain:
            table = nil
            let elements = shape.elementCount
            let format = CountedFormat(of: tensor.elementType)
            countedFormat = format ?? CountedFormat(.f32)
            hasEnergies = isMatrix
            (rows, columns) = isMatrix ? (shape.rows, shape.columns) : (min(1, elements), elements)
            let weights = min(TensorPieces.pieceWeights, TensorPieces.pieceBytes / countedFormat.byteWidth)
            let lines = isMatrix && tensor.format == nil ? TensorPieces.maximumLines : weights
            pieceColumns = max(1, min(columns, weights, lines))
            // A piece is read in one run: whole rows, or a part of one.
            pieceRows = pieceColumns < columns ? 1 : max(1, min(rows, weights / pieceColumns, lines))
            // A tensor without elements has one empty piece.
            count =
                format == nil ? 0 : max(1, ceilingDivide(rows, pieceRows) * ceilingDivide(columns, pieceColumns))
        }
    }

    /// Rectangle of a piece.
    func place(of piece: Int) -> PiecePlace {
        if let payload = tensor.payload?.payload { return PiecePlace(payload.prologue.grid.place(of: piece)) }
        guard columns > 0 else { return PiecePlace(row: 0, column: 0, rows: 0, columns: 0) }
        let piecesPerBand = ceilingDivide(columns, pieceColumns)
        let (row, column) = (piece / piecesPerBand * pieceRows, piece % piecesPerBand * pieceColumns)
        return PiecePlace(
            row: row, column: column, rows: min(pieceRows, rows - row), columns: min(pieceColumns, columns - column))
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
}

/// Reads pieces and counts their weights; the buffers of one worker.
struct PieceReader {
    private var decoder = ChunkDecoder()
    private var decoded = DecodedChunk()
    private var bytes: [UInt8] = []

    /// Reads a piece and counts its weights.
    mutating func count(_ piece: Int, of work: TensorPieces, into output: inout CountedPiece) throws {
        let place = work.place(of: piece)
        switch work.tensor.form {
        case .plain(let bytes):
            try read(place, of: work, bytes)
            output.hasCodes = false
            let size = place.count * work.countedFormat.byteWidth
            output.counts.count(
                self.bytes.span.extracting(0..<size), work.countedFormat, rows: place.rows, columns: place.columns,
                wantsEnergies: work.hasEnergies)
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            guard let entry = try work.table?.entry(piece) else { preconditionFailure("a payload has a chunk table") }
            try decoder.decode(piece, entry, of: payload, in: shard.file, into: &decoded)
            output.hasCodes = decoded.count(as: payload.descriptor.scheme, into: &output.codes)
            if payload.descriptor.scheme == .lossless {
                output.counts.count(
                    decoded.elements.span.extracting(0..<decoded.elementBytes), work.countedFormat, rows: place.rows,
                    columns: place.columns, wantsEnergies: work.hasEnergies)
            } else {
                output.counts.count(
                    decoded.weights.span.extracting(0..<place.count), rows: place.rows, columns: place.columns,
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
