internal import Kernels

/// Elements as planes: plane p holds byte p of every element, plane 0 the least significant byte.
///
/// Buffers may be longer than what is asked for; only their beginning is touched.
package enum BytePlanes {
    /// Splits `count` elements of `width` (2 or 4) bytes; plane p goes to bytes [p * count, (p + 1) * count).
    package static func split(_ source: [UInt8], count: Int, width: Int, into planes: inout [UInt8]) {
        var target = planes.mutableSpan
        let bytes = source.span.extracting(first: count * width)
        Kernels.splitPlanes(bytes, width: width, rotated: false, into: &target)
    }

    /// Joins what `split` made; all input is valid.
    package static func join(_ planes: [UInt8], count: Int, width: Int, into result: inout [UInt8]) {
        var target = result.mutableSpan
        let bytes = planes.span.extracting(first: count * width)
        Kernels.joinPlanes(bytes, width: width, rotated: false, into: &target)
    }
}
