import Container
import TensorModel
import Weights

/// Cuts two tensors of the same shape, or as many rows of two tensors, into pieces to compare. Places are relative to the first row.
struct PieceGrid: Sendable, Hashable {
    /// Shape of the matrix, and of a piece; pieces at the lower and right edges may be smaller.
    let rows: Int, columns: Int, pieceRows: Int, pieceColumns: Int
    /// Whether pieces are assembled from chunks: both tensors are encoded in different grids, or the rows are a part of an encoded tensor.
    let isGathered: Bool

    /// Cuts along the chunks if one tensor is encoded, or both in the same grid. If the grids differ, or the rows are a part of an encoded
    /// tensor, cuts into pieces of the size of tiles, of at most `gatheredWeights` or of one tile. If no tensor is encoded, cuts into
    /// contiguous pieces.
    ///
    /// Rows in another order are cut into whole heads, of all columns if a head of them has at most `arrangedWeights`.
    init(_ a: ReadableRows, _ b: ReadableRows, gatheredWeights: Int, arrangedWeights: Int) {
        (rows, columns) = (a.rows, a.weights.columns)
        if let headRows = (a.arrangement ?? b.arrangement)?.headRows {
            isGathered = true
            guard a.weights.tensor.shape.dimensions.count > 1 else {
                (pieceRows, pieceColumns) = (rows, columns)
                return
            }
            // Blocks of other formats have up to 256 columns.
            let fitting = max(1, arrangedWeights / headRows)
            pieceColumns = columns <= fitting ? columns : fitting > 256 ? fitting / 256 * 256 : fitting
            // Chunks that two pieces touch are decoded twice.
            let wanted = max(
                ContainerFormat.chunkWeights / max(1, pieceColumns), a.grid?.chunkRows ?? 1, b.grid?.chunkRows ?? 1)
            let heads = min((wanted + headRows - 1) / headRows, arrangedWeights / max(1, headRows * pieceColumns))
            pieceRows = min(rows, headRows * max(1, heads))
            return
        }
        let grids = [a.grid, b.grid].compactMap(\.self)
        guard let first = grids.first else {
            let weights = ContainerFormat.chunkWeights
            pieceColumns = max(1, min(columns, weights))
            pieceRows = max(1, columns > weights ? 1 : min(rows, weights / max(1, columns)))
            isGathered = false
            return
        }
        guard let other = grids.last, other != first || a.isCut || b.isCut else {
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
        // A chunk that two pieces touch is decoded twice, so pieces should be higher than chunks.
        let wanted = max(1, (4 * bands.chunkRows + tiles.chunkRows - 1) / tiles.chunkRows)
        pieceRows = min(rows, tiles.chunkRows * max(1, min(wanted, gatheredWeights / (tiles.chunkRows * columns))))
    }

    /// Number of pieces per band, and of all pieces.
    var piecesPerBand: Int { columns == 0 ? 0 : (columns - 1) / pieceColumns + 1 }
    var count: Int { rows == 0 ? 0 : ((rows - 1) / pieceRows + 1) * piecesPerBand }

    /// Largest number of weights in a piece.
    var pieceWeights: Int { pieceRows * pieceColumns }

    /// Whether a piece is the first, or the last, of its band.
    func beginsBand(_ piece: Int) -> Bool { piece % piecesPerBand == 0 }
    func endsBand(_ piece: Int) -> Bool { piece % piecesPerBand == piecesPerBand - 1 }

    /// Rectangle of a piece.
    func place(of piece: Int) -> ChunkPlace {
        let row = piece / piecesPerBand * pieceRows
        let column = piece % piecesPerBand * pieceColumns
        return ChunkPlace(
            row: row, column: column, rows: min(pieceRows, rows - row), columns: min(pieceColumns, columns - column))
    }
}
