import Container
import TensorModel
import Weights

/// Rows of a tensor that can be read as binary32.
struct ReadableRows: Sendable {
    /// The tensor, with its checked chunk table.
    let weights: ReadableWeights
    /// The first row, and the number of rows.
    let row: Int, rows: Int
    /// The order in which the rows are read; nil for that of the tensor.
    var arrangement: RowArrangement?

    /// The chunk grid of the tensor; nil for a plain tensor.
    var grid: ChunkGrid? { weights.grid }
    /// Whether these are rows of a payload that has more of them, so that its chunks may hold other rows too.
    var isCut: Bool { grid != nil && rows != weights.rows }

    /// The place in the tensor of a rectangle of these rows.
    func place(_ place: ChunkPlace) -> ChunkPlace {
        ChunkPlace(row: row + place.row, column: place.column, rows: place.rows, columns: place.columns)
    }

    /// Puts the rows of a piece that was read into their order.
    ///
    /// - Parameter place: the piece, relative to the first row.
    func arrange(_ read: inout ReadWeights, _ place: ChunkPlace) {
        guard let arrangement, place.count > 0 else { return }
        // A vector has a row per element.
        read.arrange(arrangement, rows: weights.tensor.shape.dimensions.count > 1 ? place.rows : place.count)
    }
}
