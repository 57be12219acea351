package import Checkpoints
package import Container
package import Quantization
package import TensorModel

/// Reads the elements of single chunks for one worker, in any order; of neighbouring tiles, their band once where it is small.
package struct ChunkReader {
    private var buffer: [UInt8] = []
    /// First element, and number of elements, of the band in `buffer`; nil where it holds something else.
    private var band: Range<Int>?
    /// Bytes of a band at most that is read as a whole.
    package static let bandBytes = 4 << 20

    /// Makes a reader; its buffer grows when first used.
    package init() {}

    /// Forgets what was read: the next chunk is one of another tensor.
    package mutating func begin() { band = nil }

    /// Reads a chunk.
    ///
    /// - Parameter inOrder: whether the chunks beside it follow.
    /// - Returns: elements in the reader's buffer; the caller drops them before it reads again.
    package mutating func read(
        _ place: ChunkPlace, of tensor: TensorBytes, _ grid: ChunkGrid, _ format: FloatFormat, inOrder: Bool
    ) throws -> ElementRectangle {
        let width = format.byteWidth
        let rows = place.row * grid.columns..<(place.row + place.rows) * grid.columns
        guard inOrder, grid.isTiled, rows.count * width <= ChunkReader.bandBytes else {
            band = nil
            return try tensor.elements(place, grid.columns, format, scratch: &buffer)
        }
        if band != rows {
            band = nil
            buffer.grow(to: rows.count * width)
            let start = UInt64(rows.lowerBound * width)
            tensor.prefetch(behind: start, count: rows.count * width)
            try tensor.read(start, count: rows.count * width, into: &buffer)
            band = rows
        }
        return ElementRectangle(
            buffer, start: place.column * width, stride: grid.columns * width, rows: place.rows,
            columns: place.columns, format)
    }
}
