import Checkpoints
import Container
import FileAccess
import TensorModel
package import Weights

/// Rows of a tensor as a matrix: the whole tensor, or one expert's part of a tensor that holds all experts of a layer.
package struct TensorRows: Sendable {
    /// The tensor.
    package let tensor: StoredWeights
    /// The first row, and the number of rows.
    package let row: Int, rows: Int

    /// All rows of a tensor.
    package init(_ tensor: StoredWeights) { self.init(tensor, row: 0, rows: tensor.shape.rows) }

    /// Rows of a tensor, from `row` on. Traps if the tensor has fewer rows.
    package init(_ tensor: StoredWeights, row: Int, rows: Int) {
        precondition(row >= 0 && rows >= 0 && row <= tensor.shape.rows - rows, "rows outside their tensor")
        (self.tensor, self.row, self.rows) = (tensor, row, rows)
    }

    /// Number of columns.
    package var columns: Int { tensor.shape.columns }
    /// Whether these are all rows of the tensor.
    package var isWhole: Bool { rows == tensor.shape.rows }

    /// The range of the rows in the tensor's elements, in bytes. Nil for a payload, and for elements narrower than a byte.
    var elementBytes: (start: UInt64, count: UInt64)? {
        guard tensor.descriptor == nil, tensor.elementType.bitWidth >= 8 else { return nil }
        let width = UInt64(columns) * UInt64(tensor.elementType.bitWidth / 8)
        return (UInt64(row) * width, UInt64(rows) * width)
    }

    /// Adds the elements to a hash, in pieces. Traps if `elementBytes` is nil.
    ///
    /// - Throws: errors of reading.
    func hash(into hasher: ContentHasher) throws {
        guard let (start, count) = elementBytes else { preconditionFailure("rows without elements of whole bytes") }
        let bytes = tensor.bytes
        var buffer = [UInt8](repeating: 0, count: Int(min(count, UInt64(MappedFile.pieceBytes))))
        var done: UInt64 = 0
        while done < count {
            try Interruption.check()
            let step = Int(min(UInt64(buffer.count), count - done))
            bytes.prefetch(behind: start + done, count: step)
            try bytes.read(start + done, count: step, into: &buffer)
            hasher.update(buffer.span.extracting(0..<step))
            done += UInt64(step)
        }
    }
}

/// Rows of a tensor that can be read as binary32.
struct ReadableRows: Sendable {
    /// The tensor, with its checked chunk table.
    let weights: ReadableWeights
    /// The first row, and the number of rows.
    let row: Int, rows: Int

    /// The chunk grid of the tensor; nil for a plain tensor.
    var grid: ChunkGrid? { weights.grid }
    /// Whether these are rows of a payload that has more of them, so that its chunks may hold other rows too.
    var isCut: Bool { grid != nil && rows != weights.rows }

    /// The place in the tensor of a rectangle of these rows.
    func place(_ place: ChunkPlace) -> ChunkPlace {
        ChunkPlace(row: row + place.row, column: place.column, rows: place.rows, columns: place.columns)
    }
}
