internal import Kernels
package import TensorModel

/// The lossless scheme: a chunk's elements as byte planes that compress well (Specs/lossless.md).
package enum LosslessCodec {
    /// Splits the elements of `source`; plane p of n elements goes to bytes [p * n, (p + 1) * n) of `planes`.
    ///
    /// Exact for every bit pattern, NaN payloads included.
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - format: what they are.
    ///   - planes: at least as many bytes as `source`.
    package static func split(_ source: Span<UInt8>, _ format: FloatFormat, into planes: inout [UInt8]) {
        var target = planes.mutableSpan
        Kernels.splitPlanes(
            source, width: format.byteWidth, rotated: isRotated(format), into: &target)
    }

    /// Joins the planes of `count` elements; all input is valid.
    package static func join(_ planes: [UInt8], count: Int, _ format: FloatFormat, into result: inout [UInt8]) {
        let byteCount = count * format.byteWidth
        var target = result.mutableSpan
        Kernels.joinPlanes(
            planes.span.extracting(first: byteCount), width: format.byteWidth,
            rotated: isRotated(format), into: &target)
    }

    /// Whether elements are rotated left by one bit first, so that the exponent fills one byte.
    private static func isRotated(_ format: FloatFormat) -> Bool { format != .f16 }
}
