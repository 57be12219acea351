internal import Kernels

/// Byte planes of elements: plane p holds byte p of every element, plane 0 the least significant byte.
///
/// Buffers may be longer than the data; only their beginning is read and written.
package enum BytePlanes {
    /// Splits `count` elements of `width` (2 or 4) bytes; plane p goes to bytes [p * count, (p + 1) * count).
    package static func split(_ source: [UInt8], count: Int, width: Int, into planes: inout [UInt8]) {
        var target = planes.mutableSpan
        let bytes = source.span.extracting(first: count * width)
        Kernels.splitPlanes(bytes, width: width, rotated: false, into: &target)
    }

    /// Joins the planes of `count` elements, as the inverse of `split`. Every input is valid.
    package static func join(_ planes: [UInt8], count: Int, width: Int, into result: inout [UInt8]) {
        var target = result.mutableSpan
        let bytes = planes.span.extracting(first: count * width)
        Kernels.joinPlanes(bytes, width: width, rotated: false, into: &target)
    }
}
