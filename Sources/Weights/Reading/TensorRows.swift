import Checkpoints
import Container
package import FileAccess
import TensorModel

/// Rows of a tensor as a matrix: the whole tensor, or one expert's part of a tensor that holds all experts of a layer.
package struct TensorRows: Sendable {
    /// The tensor.
    package let tensor: StoredWeights
    /// The first row, and the number of rows.
    package let row: Int, rows: Int
    /// The order in which the rows are read, for all rows of a tensor only; nil for that of the tensor.
    package let arrangement: RowArrangement?

    /// All rows of a tensor.
    package init(_ tensor: StoredWeights, _ arrangement: RowArrangement? = nil) {
        (self.tensor, row, rows, self.arrangement) = (tensor, 0, tensor.shape.rows, arrangement)
    }

    /// Rows of a tensor, from `row` on. Traps if the tensor has fewer rows.
    package init(_ tensor: StoredWeights, row: Int, rows: Int) {
        precondition(row >= 0 && rows >= 0 && row <= tensor.shape.rows - rows, "rows outside their tensor")
        (self.tensor, self.row, self.rows, arrangement) = (tensor, row, rows, nil)
    }

    /// Number of columns.
    package var columns: Int { tensor.shape.columns }
    /// Whether these are all rows of the tensor.
    package var isWhole: Bool { rows == tensor.shape.rows }

    /// The bytes that these rows take in the tensor's file: their share if they are not all rows.
    package var byteCount: UInt64 {
        isWhole || tensor.shape.rows == 0
            ? tensor.byteCount
            : tensor.byteCount / UInt64(tensor.shape.rows) * UInt64(rows)
    }

    /// The range of the rows in the tensor's elements, in bytes. Nil for a payload, for elements narrower than a byte, and for rows in another
    /// order.
    package var elementBytes: (start: UInt64, count: UInt64)? {
        guard tensor.descriptor == nil, tensor.elementType.bitWidth >= 8, arrangement == nil else { return nil }
        let width = UInt64(columns) * UInt64(tensor.elementType.bitWidth / 8)
        return (UInt64(row) * width, UInt64(rows) * width)
    }

    /// Adds the elements to a hash, in pieces. Traps if `elementBytes` is nil.
    ///
    /// - Throws: errors of reading.
    package func hash(into hasher: ContentHasher) throws {
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
