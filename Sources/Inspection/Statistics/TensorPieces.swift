import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// How a tensor is cut into pieces to be read: its chunks, or about half a million weights that lie next to each other.
struct TensorPieces: Sendable {
    let tensor: StoredWeights
    /// How many pieces there are; none where nothing is read.
    let count: Int
    /// The tensor as a matrix; one row where rows and columns do not matter.
    let rows: Int, columns: Int
    /// Whether the energies of rows and columns are kept.
    let hasEnergies: Bool
    /// What is counted: elements as they are stored, or restored weights in binary32.
    let countedFormat: FloatFormat
    /// The chunk table of a payload; nil for a tensor that is stored as it is.
    let table: ChunkTable?
    private let pieceRows: Int, pieceColumns: Int

    /// Weights of a piece: few enough that buffers and pages stay small, many enough that what a piece costs by itself does not count.
    static let pieceWeights = 1 << 19

    /// Plans the reading of a tensor; reads the chunk table of a payload.
    init(_ tensor: StoredWeights) throws {
        self.tensor = tensor
        let shape = tensor.shape
        let isMatrix = TensorSums.keepsEnergies(of: shape)
        switch tensor.form {
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            let table = try shard.front(of: payload)
            self.table = table
            count = table.count
            countedFormat = payload.descriptor.scheme == .lossless ? payload.descriptor.format : .f32
            hasEnergies = isMatrix
            (rows, columns) = (shape.rows, shape.columns)
            (pieceRows, pieceColumns) = (0, 0)
        case .plain:
            table = nil
            let elements = shape.elementCount
            countedFormat = tensor.format ?? .f32
            hasEnergies = isMatrix
            (rows, columns) = isMatrix ? (shape.rows, shape.columns) : (min(1, elements), elements)
            pieceColumns = max(1, min(columns, TensorPieces.pieceWeights))
            pieceRows = max(1, min(rows, TensorPieces.pieceWeights / pieceColumns))
            // A tensor without elements is one piece without elements.
            count =
                tensor.format == nil
                ? 0 : max(1, ceilingDivide(rows, pieceRows) * ceilingDivide(columns, pieceColumns))
        }
    }

    /// The rectangle of a piece.
    func place(of piece: Int) -> PiecePlace {
        if let payload = tensor.payload?.payload { return PiecePlace(payload.prologue.grid.place(of: piece)) }
        guard columns > 0 else { return PiecePlace(row: 0, column: 0, rows: 0, columns: 0) }
        let across = ceilingDivide(columns, pieceColumns)
        let (row, column) = (piece / across * pieceRows, piece % across * pieceColumns)
        return PiecePlace(
            row: row, column: column, rows: min(pieceRows, rows - row), columns: min(pieceColumns, columns - column))
    }
}

/// A rectangle of a matrix; of no elements where a tensor has none.
struct PiecePlace {
    /// First row and column, and how many of each.
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

/// What was counted of a piece, in buffers that are reused.
struct CountedPiece: Sendable {
    var counts = PieceCounts()
    /// Its codes, if `hasCodes`.
    var codes = CodeCounts()
    var hasCodes = false
}

/// Reads pieces and counts their weights: what one worker needs.
struct PieceReader {
    private var decoder = ChunkDecoder()
    private var decoded = DecodedChunk()
    private var bytes: [UInt8] = []

    /// Reads a piece and counts it.
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
