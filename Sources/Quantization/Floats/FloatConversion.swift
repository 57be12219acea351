internal import Kernels
package import TensorModel

/// Conversion between bytes of a float format and binary32.
///
/// Buffers may be longer than what is asked for, as those that are reused are; only their beginning is touched.
package enum FloatConversion {
    /// Widens the elements of `source`, exactly, into the first elements of `result`.
    ///
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - format: what they are.
    ///   - result: at least as many elements.
    package static func expand(_ source: Span<UInt8>, _ format: FloatFormat, into result: inout [Float]) {
        var target = result.mutableSpan
        Kernels.expand(source, format: format, into: &target)
    }

    /// Rounds the first `count` elements of `source` to nearest, ties to even.
    ///
    /// - Parameters:
    ///   - source: at least `count` elements.
    ///   - count: how many to convert.
    ///   - format: the target.
    ///   - result: at least `count` elements long; written little-endian.
    /// - Returns: how many finite values became infinite.
    @discardableResult
    package static func narrow(
        _ source: [Float], count: Int, _ format: FloatFormat, into result: inout [UInt8]
    ) -> Int {
        var target = result.mutableSpan
        return Kernels.narrow(source.span.extracting(first: count), format: format, into: &target)
    }
}
