internal import CKernels
package import TensorModel

extension Kernels {
    /// The place of a rectangle of elements in a buffer, which may hold other elements too.
    package struct ElementRows: Sendable, Hashable {
        /// Offset of the first byte, and distance in bytes from one row to the next.
        package var start: Int, stride: Int
        /// Number of rows, and elements per row.
        package var rows: Int, columns: Int

        /// A rectangle with the given place and size.
        package init(start: Int, stride: Int, rows: Int, columns: Int) {
            (self.start, self.stride, self.rows, self.columns) = (start, stride, rows, columns)
        }

        /// Whether the rows are contiguous.
        func isContiguous(_ format: FloatFormat) -> Bool { rows <= 1 || stride == columns * format.byteWidth }

        /// Offset of the byte behind the last element.
        func end(_ format: FloatFormat) -> Int {
            rows == 0 ? start : start + (rows - 1) * stride + columns * format.byteWidth
        }
    }

    /// Widens the elements of a rectangle to binary32, row by row, and counts NaN and infinite elements.
    ///
    /// - Parameters:
    ///   - source: a buffer that holds the rectangle.
    ///   - place: the place of the rectangle in the buffer.
    ///   - result: room for at least rows * columns elements.
    /// - Returns: the counts; `firstIndex` is an index in the rectangle, row by row.
    package static func expand(
        _ source: Span<UInt8>, _ place: ElementRows, format: FloatFormat, into result: inout MutableSpan<Float>
    ) -> NonFinite {
        precondition(
            place.start >= 0 && place.end(format) <= source.count && result.count >= place.rows * place.columns,
            "expand: sizes differ")
        let (rows, columns) =
            place.isContiguous(format) ? (min(place.rows, 1), place.rows * place.columns) : (place.rows, place.columns)
        var found = NonFinite(nanCount: 0, infinityCount: 0, firstIndex: nil)
        unsafe source.withUnsafeBytes { from in
            unsafe result.withUnsafeMutableBufferPointer { to in
                guard let from = from.baseAddress, let to = to.baseAddress else { return }
                for row in 0..<rows {
                    let start = unsafe from + place.start + row * place.stride
                    let part = unsafe ingot_scan_non_finite(Int32(format.rawValue), start, columns)
                    found.nanCount += part.nan_count
                    found.infinityCount += part.infinity_count
                    if part.first_index < columns, found.firstIndex == nil {
                        found.firstIndex = row * columns + part.first_index
                    }
                    unsafe ingot_expand(Int32(format.rawValue), start, to + row * columns, columns)
                }
            }
        }
        return found
    }
}
