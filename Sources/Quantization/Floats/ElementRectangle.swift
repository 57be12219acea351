internal import Kernels
package import TensorModel

/// A rectangle of elements of F16, BF16 or F32, row by row in a buffer that may hold its neighbours, too.
package struct ElementRectangle: Sendable {
    /// The buffer; little-endian.
    package let bytes: [UInt8]
    /// Offset in it of the first element, and bytes from one row to the next.
    package let start: Int, stride: Int
    /// Rows, and elements of each.
    package let rows: Int, columns: Int
    /// What the elements are.
    package let format: FloatFormat

    /// A rectangle that lies in the buffer.
    package init(_ bytes: [UInt8], start: Int = 0, stride: Int, rows: Int, columns: Int, _ format: FloatFormat) {
        precondition(
            start >= 0 && (rows == 0 || start + (rows - 1) * stride + columns * format.byteWidth <= bytes.count),
            "a rectangle outside its buffer")
        self.bytes = bytes
        (self.start, self.stride, self.rows, self.columns) = (start, stride, rows, columns)
        self.format = format
    }

    /// Number of elements.
    package var count: Int { rows * columns }
    /// Bytes of all elements.
    package var byteCount: Int { count * format.byteWidth }
    /// Whether all elements lie next to each other.
    package var isContiguous: Bool { rows <= 1 || stride == columns * format.byteWidth }
    /// Where a rectangle's elements are in the buffer if they lie next to each other.
    package var range: Range<Int> { start..<start + byteCount }

    /// Widens all elements into the first of `weights`, which grows as needed; what is NaN or infinite.
    package func expand(into weights: inout [Float]) -> NonFiniteCount {
        weights.grow(to: count)
        var target = weights.mutableSpan
        let found = Kernels.expand(
            bytes.span, Kernels.ElementRows(start: start, stride: stride, rows: rows, columns: columns),
            format: format, into: &target)
        return NonFiniteCount(found)
    }

    /// The elements next to each other, in the first bytes of `buffer`, which grows as needed.
    package func gather(into buffer: inout [UInt8]) {
        buffer.grow(to: byteCount)
        let width = columns * format.byteWidth
        if isContiguous {
            buffer.replaceSubrange(0..<byteCount, with: bytes[range])
            return
        }
        for row in 0..<rows {
            let from = start + row * stride
            buffer.replaceSubrange(row * width..<(row + 1) * width, with: bytes[from..<from + width])
        }
    }
}
