internal import Kernels
package import TensorModel

/// The lossless scheme: the elements of a chunk as byte planes, which compress well (Specs/lossless.md).
package enum LosslessCodec {
    /// Splits the n elements of `source`; plane p goes to bytes [p * n, (p + 1) * n) of `planes`.
    ///
    /// Exact for every bit pattern, including NaN payloads.
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - elementType: element type of `source`, of 1, 2 or 4 bytes.
    ///   - planes: room for at least as many bytes as `source` has.
    package static func split(_ source: Span<UInt8>, _ elementType: ElementType, into planes: inout [UInt8]) {
        var target = planes.mutableSpan
        Kernels.splitPlanes(
            source, width: elementType.byteWidth, rotated: isRotated(elementType), into: &target)
    }

    /// Joins the planes of `count` elements into `result`. Every input is valid.
    package static func join(_ planes: [UInt8], count: Int, _ elementType: ElementType, into result: inout [UInt8]) {
        let source = planes.span.extracting(first: count * elementType.byteWidth)
        var target = result.mutableSpan
        Kernels.joinPlanes(
            source, width: elementType.byteWidth, rotated: isRotated(elementType), into: &target)
    }

    /// Whether each element is first rotated left by one bit, so that its exponent fills one byte.
    private static func isRotated(_ elementType: ElementType) -> Bool { elementType == .bf16 || elementType == .f32 }
}
