internal import CKernels
package import TensorModel

extension Kernels {
    /// Sums over the finite ones of binary32 weights, about a shift.
    package struct Moments: Sendable, Hashable {
        /// Sums of (w - shift), its square, its cube and its fourth power.
        package var first = 0.0, second = 0.0, third = 0.0, fourth = 0.0
        /// The extremes; infinity and -infinity where there are no weights.
        package var smallest = Double.infinity, largest = -Double.infinity
        /// Weights that are zero, subnormal, infinite.
        package var zeros: UInt64 = 0, subnormals: UInt64 = 0, infinities: UInt64 = 0

        /// The sums over no weights.
        package init() {}
    }

    /// How many patterns of 16 bits there are.
    package static let patternCount = 1 << 16

    /// Adds up what there is to know of a matrix of weights.
    ///
    /// - Parameters:
    ///   - source: rows * columns elements, row-major, little-endian.
    ///   - format: what they are.
    ///   - shift: what moments are taken about.
    ///   - counts: 65,536, of each pattern of 16 bits: the element or, of binary32, its upper half.
    ///   - rowEnergies: the sum of squares of each row is added; empty where it is not wanted.
    ///   - columnEnergies: the same of each column.
    ///   - moments: added to where the weights are binary32; for the other formats they follow from `counts`.
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

    /// The same for binary32 weights in memory.
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

    /// What a comparison of weights with what was restored of them adds up to.
    package struct Comparison: Sendable, Hashable {
        /// The sum of w², the sum of (w - w')², and the largest |w - w'|: those of `errorSums`, to the bit.
        package var signal: Double, noise: Double, maxError: Double
        /// The sums of w w' and of w'².
        package var product: Double, restoredEnergy: Double
        /// Weights that differ, that have the opposite sign, and that became zero.
        package var changed: UInt64, signFlips: UInt64, zeroed: UInt64

        /// Of no weights.
        package static let none = Comparison(
            signal: 0, noise: 0, maxError: 0, product: 0, restoredEnergy: 0, changed: 0, signFlips: 0, zeroed: 0)
    }

    /// How many bins errors are counted in.
    package static let errorBinCount = Int(INGOT_ERROR_BINS)

    /// The errors from which on they are counted in a bin.
    package static func errorBinStart(_ bin: Int) -> Float {
        Float(bitPattern: UInt32(bin) << UInt32(INGOT_ERROR_BIN_SHIFT))
    }

    /// Compares two arrays of equal length, both finite; adds to `errorCounts`, of `errorBinCount` bins.
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
