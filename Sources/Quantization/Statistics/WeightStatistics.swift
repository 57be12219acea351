internal import Kernels
import TensorModel

/// Statistics of the weights of a tensor.
///
/// For elements of 8 and 16 bits they are exact to the last bits of binary64. For wider elements, outliers, percentiles and histogram use
/// only the upper 16 bits of each weight in binary32 (8 significant bits); all other numbers are exact, but that I64 and U64 beyond 2^53
/// are rounded to binary64.
package struct WeightStatistics: Sendable {
    /// Number of elements.
    package let count: UInt64
    /// Numbers of NaN and infinite elements. All other statistics are over the finite elements.
    package let nan: UInt64, infinite: UInt64
    /// The smallest and largest weight; 0 if there is no finite weight.
    package let minimum: Double, maximum: Double
    /// The mean, and the standard deviation of the population (divided by n).
    package let mean: Double, standardDeviation: Double
    /// Fourth central moment / variance²: 3 for a Gaussian, 1.8 for a uniform distribution; 0 if all weights are equal.
    package let kurtosis: Double
    /// Third central moment / standard deviation³: 0 for a symmetric distribution.
    package let skewness: Double
    /// Percentiles of the finite weights; nil without a finite weight.
    package let percentiles: Percentiles?
    /// Numbers of weights that are zero (of either sign), and subnormal in the element type.
    package let zeros: UInt64, subnormal: UInt64
    /// Number of weights farther than six standard deviations from the mean.
    package let outliers: UInt64
    /// Whether `outliers` and `percentiles` are exact: for elements of 8 and 16 bits. Wider ones are counted by upper 16 bits.
    package let outliersAreExact: Bool
    /// The order-0 entropy of the elements, in bits per element; nil for elements of 32 and 64 bits.
    package let valueEntropy: Double?
    /// The entropy of the codes of an encoded tensor, in bits per weight; for a trellis, given the parity of the state. Otherwise nil.
    package var codeEntropy: Double?
    /// How another quantizer's codes and scales are spread; nil for tensors that no other quantizer encoded.
    package var coded: CodedStatistics? {
        get { codedList.first }
        set { codedList = newValue.map { [$0] } ?? [] }
    }
    /// One or none: in an array, so that the statistics of tensors without codes stay small.
    private var codedList: [CodedStatistics] = []
    /// The spread of the RMS of rows, and of columns; nil for tensors of rank below 2 and for very large ones.
    package var rows: Spread?, columns: Spread?
    /// The histogram of the finite weights.
    package let histogram: Histogram

    /// The largest magnitude of a finite weight.
    package var absoluteMaximum: Double { max(-minimum, maximum) }

    /// Minimum, median and maximum of numbers.
    package struct Spread: Sendable, Hashable {
        /// Minimum, median (the mean of the middle two of an even number) and maximum.
        package let minimum: Double, median: Double, maximum: Double

        /// The spread of the finite ones of `numbers`; nil if there are none.
        package init?(_ numbers: consuming [Double]) {
            numbers.removeAll { !$0.isFinite }
            numbers.sort()
            guard let first = numbers.first, let last = numbers.last else { return nil }
            let (low, high) = (numbers[(numbers.count - 1) / 2], numbers[numbers.count / 2])
            (minimum, median, maximum) = (first, low + (high - low) / 2, last)
        }

        /// maximum / median: 1 if all numbers are equal; nil if the median is zero.
        package var ratio: Double? { median > 0 ? maximum / median : nil }
    }

    /// Computes the statistics from counts.
    package init(_ given: WeightCounts) {
        var counts = given
        counts.compact()
        count = counts.total
        (nan, infinite) = counts.nonFinite
        valueEntropy = counts.valueEntropy
        let finite = Double(count - nan - infinite)
        let isWide = !counts.format.countsElements
        outliersAreExact = !isWide
        let moments = counts.moments
        var (sum, smallest, largest) = (0.0, Double.infinity, -Double.infinity)
        if isWide {
            (smallest, largest) = (moments.smallest, moments.largest)
        } else {
            counts.forEachFinite { value, occurrences in
                sum += value * Double(occurrences)
                smallest = min(smallest, value)
                largest = max(largest, value)
            }
        }
        guard finite > 0 else {
            (minimum, maximum, mean, standardDeviation, kurtosis, skewness) = (0, 0, 0, 0, 0, 0)
            (zeros, subnormal, outliers, percentiles) = (0, 0, 0, nil)
            histogram = Histogram(counts, mean: 0, deviation: 0)
            return
        }
        let mean: Double
        // Central moments, of weights divided by `unit`.
        var unit = 1.0
        var (second, third, fourth) = (0.0, 0.0, 0.0)
        if isWide {
            let first = moments.first / finite
            unit = counts.unit
            mean = (counts.shift / unit + first) * unit
            second = moments.second / finite - first * first
            third = moments.third / finite - 3 * first * moments.second / finite + 2 * first * first * first
            fourth =
                moments.fourth / finite - 4 * first * moments.third / finite
                + 6 * first * first * moments.second / finite - 3 * first * first * first * first
            (zeros, subnormal) = (moments.zeros, moments.subnormals)
        } else {
            mean = sum / finite
            let smallestNormal = counts.format.smallestNormal
            var (none, tiny): (UInt64, UInt64) = (0, 0)
            counts.forEachFinite { value, occurrences in
                let distance = value - mean
                let square = distance * distance
                second += square * Double(occurrences)
                third += square * distance * Double(occurrences)
                fourth += square * square * Double(occurrences)
                if value == 0 { none += occurrences } else if value.magnitude < smallestNormal { tiny += occurrences }
            }
            (zeros, subnormal) = (none, tiny)
            second /= finite
            third /= finite
            fourth /= finite
        }
        let variance = smallest == largest ? 0 : max(0, second)
        let root = variance.squareRoot()
        let deviation = root * unit
        var beyond: UInt64 = 0
        if deviation > 0 {
            counts.forEachFinite { value, occurrences in
                if abs(value - mean) > 6 * deviation { beyond += occurrences }
            }
        }
        (minimum, maximum) = (smallest, largest)
        self.mean = mean
        standardDeviation = deviation
        kurtosis = variance > 0 ? max(0, fourth) / (variance * variance) : 0
        skewness = variance > 0 ? third / (variance * root) : 0
        outliers = beyond
        percentiles = Percentiles(counts, finite: count - nan - infinite, minimum: smallest, maximum: largest)
        histogram = Histogram(counts, mean: mean, deviation: deviation)
    }
}

/// Counts of weights in bins of equal width.
package struct Histogram: Sendable, Hashable {
    /// Number of bins.
    package static let binCount = 64

    /// Lower bound of the first bin, and upper bound of the last.
    package let from: Double, to: Double
    /// Number of weights in each bin. A weight on an edge counts in the bin above it.
    package var counts: [UInt64] {
        (0..<Histogram.binCount).map { bin in
            (0..<byteWidth).reversed().reduce(0) { $0 << 8 | UInt64(packed[bin * byteWidth + $1]) }
        }
    }
    /// The counts, each in `byteWidth` bytes, the fewest that hold them all: a checkpoint may have very many tensors.
    private let packed: [UInt8], byteWidth: Int
    /// Numbers of weights below `from`, and at or above `to`.
    package let below: UInt64, above: UInt64

    /// A histogram with the given bounds.
    package init(_ weights: WeightCounts, from: Double, to: Double) {
        self.from = from
        self.to = to
        var counts = [UInt64](repeating: 0, count: Histogram.binCount)
        var (below, above): (UInt64, UInt64) = (0, 0)
        let scale = to > from ? Double(Histogram.binCount) / (to - from) : 0
        weights.forEachFinite { value, occurrences in
            let place = (weights.representative(value) - from) * scale
            if !(place >= 0) {
                below += occurrences
            } else if place >= Double(Histogram.binCount) {
                above += occurrences
            } else {
                counts[Int(place)] += occurrences
            }
        }
        let bits = UInt64.bitWidth - (counts.max() ?? 0).leadingZeroBitCount
        let width = max(1, (bits + 7) / 8)
        packed = counts.flatMap { count in (0..<width).map { UInt8(truncatingIfNeeded: count >> UInt64(8 * $0)) } }
        byteWidth = width
        (self.below, self.above) = (below, above)
    }

    /// A histogram from four standard deviations below the mean to four above. If all weights are equal, its width is 1.
    ///
    /// Bounds are at most 2^1016, so that a reader can add and subtract them.
    init(_ weights: WeightCounts, mean: Double, deviation: Double) {
        let reach = deviation > 0 ? 4 * deviation : 0.5
        self.init(weights, from: max(-0x1p1016, mean - reach), to: min(0x1p1016, mean + reach))
    }
}
