import Container
import TensorModel
import Weights

/// How two tensors of one shape are cut into the pieces that are compared.
struct PieceGrid: Sendable, Hashable {
    /// The matrix, and a piece of it but for the lower and right edges.
    let rows: Int, columns: Int, pieceRows: Int, pieceColumns: Int
    /// Whether the two are encoded in different grids, so that chunks are put together to pieces.
    let isGathered: Bool

    /// Cuts along the chunks of the encoded one, or of both where those are the same; else in whole bands of the tiled one, as
    /// far as `gatheredWeights` reach; two tensors that are stored as they are in pieces that are contiguous.
    init(_ a: ReadableWeights, _ b: ReadableWeights, gatheredWeights: Int) {
        (rows, columns) = (a.rows, a.columns)
        let grids = [a.grid, b.grid].compactMap(\.self)
        guard let first = grids.first else {
            let weights = ContainerFormat.chunkWeights
            pieceColumns = max(1, min(columns, weights))
            pieceRows = max(1, columns > weights ? 1 : min(rows, weights / max(1, columns)))
            isGathered = false
            return
        }
        guard let other = grids.last, other != first else {
            (pieceRows, pieceColumns) = (first.chunkRows, first.chunkColumns)
            isGathered = false
            return
        }
        isGathered = true
        let (tiles, bands) = first.isTiled ? (first, other) : (other, first)
        let fitting = max(1, gatheredWeights / (tiles.chunkRows * tiles.chunkColumns))
        pieceColumns = min(columns, fitting * tiles.chunkColumns)
        guard pieceColumns == columns else {
            pieceRows = tiles.chunkRows
            return
        }
        // Chunks that two pieces meet are decoded twice: pieces are to be higher than those.
        let wanted = max(1, (4 * bands.chunkRows + tiles.chunkRows - 1) / tiles.chunkRows)
        pieceRows = min(rows, tiles.chunkRows * max(1, min(wanted, gatheredWeights / (tiles.chunkRows * columns))))
    }

    /// Pieces beside each other, and all of them.
    var across: Int { columns == 0 ? 0 : (columns - 1) / pieceColumns + 1 }
    var count: Int { rows == 0 ? 0 : ((rows - 1) / pieceRows + 1) * across }

    /// Weights of a piece at most.
    var pieceWeights: Int { pieceRows * pieceColumns }

    /// Whether a piece is the first, or the last, of those beside each other.
    func beginsBand(_ piece: Int) -> Bool { piece % across == 0 }
    func endsBand(_ piece: Int) -> Bool { piece % across == across - 1 }

    /// The place of a piece.
    func place(of piece: Int) -> ChunkPlace {
        let row = piece / across * pieceRows
        let column = piece % across * pieceColumns
        return ChunkPlace(
            row: row, column: column, rows: min(pieceRows, rows - row), columns: min(pieceColumns, columns - column))
    }
}
