internal import Kernels
package import TensorModel

/// A rectangle of elements of whole bytes, row by row in a buffer that may hold other elements too.
package struct ElementRectangle: Sendable {
    /// The buffer of little-endian elements.
    package let bytes: [UInt8]
    /// Offset of the first element in the buffer, and distance from one row to the next, both in bytes.
    package let start: Int, stride: Int
    /// Number of rows, and elements per row.
    package let rows: Int, columns: Int
    /// The element type.
    package let elementType: ElementType

    /// A rectangle; traps if it extends beyond the buffer.
    package init(_ bytes: [UInt8], start: Int = 0, stride: Int, rows: Int, columns: Int, _ elementType: ElementType) {
        precondition(
            start >= 0 && (rows == 0 || start + (rows - 1) * stride + columns * elementType.byteWidth <= bytes.count),
            "a rectangle outside its buffer")
        self.bytes = bytes
        (self.start, self.stride, self.rows, self.columns) = (start, stride, rows, columns)
        self.elementType = elementType
    }

    /// Number of elements.
    package var count: Int { rows * columns }
    /// Bytes of all elements.
    package var byteCount: Int { count * elementType.byteWidth }
    /// Whether the elements are contiguous in the buffer.
    package var isContiguous: Bool { rows <= 1 || stride == columns * elementType.byteWidth }
    /// The byte range of the elements in the buffer. Valid only if they are contiguous.
    package var range: Range<Int> { start..<start + byteCount }

    /// Widens all elements into the first elements of `weights`, which grows if needed. Returns the NaN and infinite elements.
    ///
    /// Traps if the elements are not F16, BF16 or F32.
    package func expand(into weights: inout [Float]) -> NonFiniteCount {
        guard let format = elementType.quantizable else { preconditionFailure("elements that are no weights") }
        weights.grow(to: count)
        var target = weights.mutableSpan
        let found = Kernels.expand(
            bytes.span, Kernels.ElementRows(start: start, stride: stride, rows: rows, columns: columns),
            format: format, into: &target)
        return NonFiniteCount(found)
    }

    /// Copies the elements, contiguous, into the first bytes of `buffer`, which grows if needed.
    package func gather(into buffer: inout [UInt8]) {
        buffer.grow(to: byteCount)
        let width = columns * elementType.byteWidth
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
