internal import CKernels
package import TensorModel

extension Kernels {
    /// Sums over the finite weights of a binary32 matrix, about a shift.
    package struct Moments: Sendable, Hashable {
        /// Sums of (w - shift), of its square, its cube and its fourth power.
        package var first = 0.0, second = 0.0, third = 0.0, fourth = 0.0
        /// The smallest and largest weight; infinity and -infinity if there is none.
        package var smallest = Double.infinity, largest = -Double.infinity
        /// Numbers of weights that are zero, subnormal and infinite.
        package var zeros: UInt64 = 0, subnormals: UInt64 = 0, infinities: UInt64 = 0

        /// The sums over no weights.
        package init() {}
    }

    /// Number of patterns of 16 bits.
    package static let patternCount = 1 << 16

    /// Adds the statistics of a matrix of weights to the results.
    ///
    /// - Parameters:
    ///   - source: rows * columns elements, row-major, little-endian.
    ///   - format: element type of `source`.
    ///   - shift: the value that moments are taken about.
    ///   - counts: 65,536 counts, by 16 bits of the element: all bits, or the upper half of binary32.
    ///   - rowEnergies: receives the sum of squares of each row; empty if not wanted.
    ///   - columnEnergies: receives the sum of squares of each column; empty if not wanted.
    ///   - moments: changed for binary32 only; for the other formats they follow from `counts`.
    package static func weightStatistics(
        _ source: Span<UInt8>, format: FloatFormat, rows: Int, columns: Int, shift: Double,
        counts: inout MutableSpan<UInt32>, rowEnergies: inout MutableSpan<Float>,
        columnEnergies: inout MutableSpan<Float>, moments: inout Moments
    ) {
        precondition(source.count == rows * columns * format.byteWidth, "weightStatistics: sizes differ")
        unsafe source.withUnsafeBufferPointer { source in
            guard let from = source.baseAddress else { return }
            unsafe statistics(
                UnsafeRawPointer(from), format, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
        }
    }

    /// Adds the statistics of binary32 weights; parameters are as above.
    package static func weightStatistics(
        _ weights: Span<Float>, rows: Int, columns: Int, shift: Double, counts: inout MutableSpan<UInt32>,
        rowEnergies: inout MutableSpan<Float>, columnEnergies: inout MutableSpan<Float>, moments: inout Moments
    ) {
        precondition(weights.count == rows * columns, "weightStatistics: sizes differ")
        unsafe weights.withUnsafeBufferPointer { weights in
            guard let from = weights.baseAddress else { return }
            unsafe statistics(
                UnsafeRawPointer(from), .f32, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
        }
    }

    private static func statistics(
        _ from: UnsafeRawPointer, _ format: FloatFormat, _ rows: Int, _ columns: Int, _ shift: Double,
        _ counts: inout MutableSpan<UInt32>, _ rowEnergies: inout MutableSpan<Float>,
        _ columnEnergies: inout MutableSpan<Float>, _ moments: inout Moments
    ) {
        precondition(
            counts.count >= patternCount && (rowEnergies.isEmpty || rowEnergies.count >= rows)
                && (columnEnergies.isEmpty || columnEnergies.count >= columns), "weightStatistics: sizes differ")
        var sums = ingot_moments(
            first: moments.first, second: moments.second, third: moments.third, fourth: moments.fourth,
            smallest: moments.smallest, largest: moments.largest, zeros: moments.zeros, subnormals: moments.subnormals,
            infinities: moments.infinities)
        unsafe counts.withUnsafeMutableBufferPointer { counts in
            unsafe rowEnergies.withUnsafeMutableBufferPointer { rowEnergies in
                unsafe columnEnergies.withUnsafeMutableBufferPointer { columnEnergies in
                    guard let counts = counts.baseAddress else { return }
                    unsafe ingot_weight_statistics(
                        Int32(format.rawValue), from, rows, columns, shift, counts,
                        rowEnergies.isEmpty ? nil : rowEnergies.baseAddress,
                        columnEnergies.isEmpty ? nil : columnEnergies.baseAddress, &sums)
                }
            }
        }
        moments.first = sums.first
        moments.second = sums.second
        moments.third = sums.third
        moments.fourth = sums.fourth
        moments.smallest = sums.smallest
        moments.largest = sums.largest
        moments.zeros = sums.zeros
        moments.subnormals = sums.subnormals
        moments.infinities = sums.infinities
    }

    /// Sums from comparing weights w with restored weights w'.
    package struct Comparison: Sendable, Hashable {
        /// The sum of w², the sum of (w - w')², and the largest |w - w'|, with the same bits as `errorSums`.
        package var signal: Double, noise: Double, maxError: Double
        /// The sum of w w', and the sum of w'².
        package var product: Double, restoredEnergy: Double
        /// Numbers of weights that changed, that changed their sign, and that became zero.
        package var changed: UInt64, signFlips: UInt64, zeroed: UInt64

        /// The sums over no weights.
        package static let none = Comparison(
            signal: 0, noise: 0, maxError: 0, product: 0, restoredEnergy: 0, changed: 0, signFlips: 0, zeroed: 0)
    }

    /// Number of bins that `compareWeights` counts errors in.
    package static let errorBinCount = Int(INGOT_ERROR_BINS)

    /// The smallest error that is counted in a bin.
    package static func errorBinStart(_ bin: Int) -> Float {
        Float(bitPattern: UInt32(bin) << UInt32(INGOT_ERROR_BIN_SHIFT))
    }

    /// Compares two finite arrays of equal length. Adds the errors to `errorCounts`, which has `errorBinCount` bins.
    package static func compareWeights(
        original: Span<Float>, restored: Span<Float>, errorCounts: inout MutableSpan<UInt32>
    ) -> Comparison {
        precondition(
            original.count == restored.count && errorCounts.count >= errorBinCount, "compareWeights: sizes differ")
        let none = ingot_comparison()
        let found = unsafe original.withUnsafeBufferPointer { original in
            unsafe restored.withUnsafeBufferPointer { restored in
                unsafe errorCounts.withUnsafeMutableBufferPointer { counts in
                    guard let w = original.baseAddress, let r = restored.baseAddress, let counts = counts.baseAddress
                    else { return none }
                    return unsafe ingot_compare_weights(w, r, original.count, counts)
                }
            }
        }
        return Comparison(
            signal: found.sums.signal, noise: found.sums.noise, maxError: found.sums.max_error, product: found.product,
            restoredEnergy: found.restored_energy, changed: found.changed, signFlips: found.sign_flips,
            zeroed: found.zeroed)
    }
}
