internal import CKernels
package import TensorModel

extension Kernels {
    /// Widens the elements of `source` to binary32.
    ///
    /// Exact. A NaN keeps sign and payload; a signalling binary16 NaN becomes quiet.
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - format: what they are.
    ///   - result: at least as many elements.
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

    /// Rounds `source` to `format`, to nearest and ties to even, subnormals included.
    ///
    /// - Parameters:
    ///   - source: any values.
    ///   - format: the target.
    ///   - result: at least `source.count` elements long; written little-endian.
    /// - Returns: how many finite values became infinite.
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

    /// What `scanNonFinite` found.
    package struct NonFinite: Sendable, Hashable {
        /// How many elements are NaN.
        package var nanCount: Int
        /// How many are infinite, of either sign.
        package var infinityCount: Int
        /// The index of the first of either, or nil.
        package var firstIndex: Int?

        /// The findings with the given counts and first index.
        package init(nanCount: Int, infinityCount: Int, firstIndex: Int?) {
            self.nanCount = nanCount
            self.infinityCount = infinityCount
            self.firstIndex = firstIndex
        }
    }

    /// Counts the NaNs and infinities among the elements of `source`: whole elements, little-endian.
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

    /// Sums of squares over two arrays of equal length, in binary64.
    ///
    /// Element i is added to lane i % 16; then lanes k and k + 8 are added for k < 8, k and k + 4 for k < 4, k and
    /// k + 2 for k < 2, and lastly lanes 0 and 1. Both arrays must be finite for the bits to be the same everywhere.
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
