internal import CKernels
package import TensorModel

extension Kernels {
    /// Widens the elements of `source` to binary32. Exact.
    ///
    /// A NaN keeps its sign and payload. A signalling NaN of binary16 becomes quiet.
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - format: element type of `source`.
    ///   - result: room for at least as many elements.
    package static func expand(
        _ source: Span<UInt8>, format: FloatFormat, into result: inout MutableSpan<Float>
    ) {
        let count = source.count / format.byteWidth
        precondition(source.count % format.byteWidth == 0 && result.count >= count, "expand: sizes differ")
        unsafe source.withUnsafeBufferPointer { from in
            unsafe result.withUnsafeMutableBufferPointer { to in
                guard let from = from.baseAddress, let to = to.baseAddress else { return }
                unsafe ingot_expand(Int32(format.rawValue), from, to, count)
            }
        }
    }

    /// Rounds `source` to `format`, to nearest, ties to even, subnormals included.
    ///
    /// - Parameters:
    ///   - source: any values.
    ///   - format: element type of the result.
    ///   - result: room for at least `source.count` elements; written little-endian.
    /// - Returns: the number of finite values that became infinite.
    package static func narrow(
        _ source: Span<Float>, format: FloatFormat, into result: inout MutableSpan<UInt8>
    ) -> Int {
        precondition(result.count >= source.count * format.byteWidth, "narrow: sizes differ")
        return unsafe source.withUnsafeBufferPointer { from in
            unsafe result.withUnsafeMutableBufferPointer { to in
                guard let start = from.baseAddress, let to = to.baseAddress else { return 0 }
                return unsafe ingot_narrow(Int32(format.rawValue), start, to, from.count)
            }
        }
    }

    /// Numbers of NaN and infinite elements.
    package struct NonFinite: Sendable, Hashable {
        /// Number of NaN elements.
        package var nanCount: Int
        /// Number of infinite elements of either sign.
        package var infinityCount: Int
        /// Index of the first NaN or infinite element; nil if there is none.
        package var firstIndex: Int?

        /// A result with the given counts and first index.
        package init(nanCount: Int, infinityCount: Int, firstIndex: Int?) {
            self.nanCount = nanCount
            self.infinityCount = infinityCount
            self.firstIndex = firstIndex
        }
    }

    /// Counts the NaN and infinite elements of `source`, which holds whole elements, little-endian.
    package static func scanNonFinite(_ source: Span<UInt8>, format: FloatFormat) -> NonFinite {
        precondition(source.count % format.byteWidth == 0, "scanNonFinite: not whole elements")
        return unsafe source.withUnsafeBufferPointer { bytes in
            guard let start = bytes.baseAddress else {
                return NonFinite(nanCount: 0, infinityCount: 0, firstIndex: nil)
            }
            let count = bytes.count / format.byteWidth
            let found = unsafe ingot_scan_non_finite(Int32(format.rawValue), start, count)
            return NonFinite(
                nanCount: found.nan_count, infinityCount: found.infinity_count,
                firstIndex: found.first_index < count ? found.first_index : nil)
        }
    }

    /// Error sums of two arrays of equal length, in binary64.
    ///
    /// Element i is added to lane i % 16. Then lanes k and k + 8 are added for k < 8, k and k + 4 for k < 4, k and k + 2 for k < 2,
    /// and last lanes 0 and 1. The result has the same bits on every processor if both arrays are finite.
    /// - Returns: the sum of w², the sum of (w - w')², and the largest |w - w'|.
    package static func errorSums(
        original: Span<Float>, restored: Span<Float>
    ) -> (signal: Double, noise: Double, maxError: Double) {
        precondition(original.count == restored.count, "errorSums: sizes differ")
        return unsafe original.withUnsafeBufferPointer { original in
            unsafe restored.withUnsafeBufferPointer { restored in
                guard let w = original.baseAddress, let r = restored.baseAddress else { return (0, 0, 0) }
                let sums = unsafe ingot_error_sums(w, r, original.count)
                return (sums.signal, sums.noise, sums.max_error)
            }
        }
    }
}
