import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel

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

/// All that one piece needs: buffers that are reused.
///
/// One task at a time uses a workspace (`OrderedPipeline` sees to that), hence the unchecked conformance.
final class PieceWorkspace: @unchecked Sendable {
    private let chunk = ChunkWorkspace()
    private var bytes: [UInt8] = []
    /// What was counted of the last piece.
    private(set) var counts = PieceCounts()
    /// Its codes, if `hasCodes`.
    private(set) var codes = CodeCounts()
    private(set) var hasCodes = false

    /// Reads a piece and counts it.
    func count(_ piece: Int, of work: TensorPieces) throws {
        let place = work.place(of: piece)
        switch work.tensor.form {
        case .plain(let file, let range): try countPlain(place, of: work, file, range)
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            guard let entry = try work.table?.entry(piece) else { preconditionFailure("a payload has a chunk table") }
            try chunk.decode(chunk: piece, entry: entry, of: payload, in: shard.file)
            hasCodes = chunk.count(entry, of: payload, into: &codes)
            if payload.descriptor.scheme == .lossless {
                let source = chunk.source
                counts.count(
                    source.span.extracting(0..<chunk.sourceCount), work.countedFormat, rows: place.rows,
                    columns: place.columns, wantsEnergies: work.hasEnergies)
            } else {
                let restored = chunk.restored
                counts.count(
                    restored.span.extracting(0..<place.count), rows: place.rows, columns: place.columns,
                    wantsEnergies: work.hasEnergies)
            }
        }
    }

    private func countPlain(
        _ place: PiecePlace, of work: TensorPieces, _ file: MappedFile, _ range: ByteRange
    ) throws {
        let width = work.countedFormat.byteWidth
        let size = place.count * width
        hasCodes = false
        if bytes.count < size { bytes = [UInt8](repeating: 0, count: size) }
        let first = range.start + UInt64((place.row * work.columns + place.column) * width)
        if size > 0, let run = ByteRange(start: first, count: UInt64(size)) {
            file.prefetch(behind: run)
            // Read, not mapped: no page becomes resident, and faults would cost more than half of the time.
            try file.read(run, rows: 1, stride: 0, into: &bytes)
        }
        let source = bytes
        counts.count(
            source.span.extracting(0..<size), work.countedFormat, rows: place.rows, columns: place.columns,
            wantsEnergies: work.hasEnergies)
    }
}
