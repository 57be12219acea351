package import Checkpoints
package import Container
package import Quantization
package import TensorModel

/// Reads the elements of single chunks in any order, for one worker. Small bands of tiles are read once for all their tiles.
package struct ChunkReader {
    private var buffer: [UInt8] = []
    /// The range of elements of the band in `buffer`; nil if it holds something else.
    private var band: Range<Int>?
    /// The largest band, in bytes, that is read as a whole.
    package static let bandBytes = 4 << 20

    /// Makes a reader; its buffer grows when first used.
    package init() {}

    /// Discards the band. Call it before reading another tensor.
    package mutating func begin() { band = nil }

    /// Reads a chunk.
    ///
    /// - Parameter inOrder: whether the other chunks of the band will be read next.
    /// - Returns: elements in the reader's buffer. Release them before reading again.
    package mutating func read(
        _ place: ChunkPlace, of tensor: TensorBytes, _ grid: ChunkGrid, _ elementType: ElementType, inOrder: Bool
    ) throws -> ElementRectangle {
        let width = elementType.byteWidth
        let rows = place.row * grid.columns..<(place.row + place.rows) * grid.columns
        guard inOrder, grid.isTiled, rows.count * width <= ChunkReader.bandBytes else {
            band = nil
            return try tensor.elements(place, grid.columns, elementType, scratch: &buffer)
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
            columns: place.columns, elementType)
    }
}
