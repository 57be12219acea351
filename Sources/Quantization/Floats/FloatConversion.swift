internal import Kernels
package import TensorModel

/// Conversion between the bytes of a float format and binary32.
///
/// Buffers are reused and may be longer than the data; only their beginning is read and written.
package enum FloatConversion {
    /// Widens the elements of `source` into the first elements of `result`. Exact.
    ///
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - format: element type of `source`.
    ///   - result: room for at least as many elements.
    package static func expand(_ source: Span<UInt8>, _ format: FloatFormat, into result: inout [Float]) {
        var target = result.mutableSpan
        Kernels.expand(source, format: format, into: &target)
    }

    /// Rounds the first `count` elements of `source` to `format`, to nearest, ties to even.
    ///
    /// - Parameters:
    ///   - source: at least `count` elements.
    ///   - count: number of elements to convert.
    ///   - format: element type of `result`.
    ///   - result: room for at least `count` elements; written little-endian.
    /// - Returns: the number of finite values that became infinite.
    @discardableResult
    package static func narrow(
        _ source: [Float], count: Int, _ format: FloatFormat, into result: inout [UInt8]
    ) -> Int {
        var target = result.mutableSpan
        return Kernels.narrow(source.span.extracting(first: count), format: format, into: &target)
    }
}
