internal import Kernels
import TensorModel

/// What there is to say of the weights of a tensor.
///
/// Of F16 and BF16 exact to the last bits of binary64. Of F32, outliers and histogram are counted by the upper 16 bits of each
/// weight (8 significant bits); everything else is exact.
package struct WeightStatistics: Sendable {
    /// Number of elements.
    package let count: UInt64
    /// NaN, and infinite elements; all that follows is of the others.
    package let nan: UInt64, infinite: UInt64
    /// The extremes; 0 where there is no finite weight.
    package let minimum: Double, maximum: Double
    /// The mean, and the standard deviation about it (of the whole, not of a sample).
    package let mean: Double, standardDeviation: Double
    /// The fourth central moment over the squared variance: 3 for a Gaussian, 1.8 for a uniform distribution; 0 for a constant.
    package let kurtosis: Double
    /// The third central moment over the third power of the standard deviation: 0 for anything symmetric.
    package let skewness: Double
    /// Weights that are zero, of either sign, and that are subnormal in the element type.
    package let zeros: UInt64, subnormal: UInt64
    /// Weights farther from the mean than six standard deviations.
    package let outliers: UInt64
    /// The zeroth-order entropy of the elements in bits; nil for F32.
    package let valueEntropy: Double?
    /// Of an encoded tensor, the entropy of its codes in bits a weight (of a trellis's, given the parity of the state); else nil.
    package var codeEntropy: Double?
    /// The root mean squares of rows and columns; nil for tensors of rank below 2, and those too large to keep them.
    package var rows: Spread?, columns: Spread?
    /// How the weights are distributed.
    package let histogram: Histogram

    /// The largest magnitude.
    package var absoluteMaximum: Double { max(-minimum, maximum) }

    /// How far numbers of one kind lie apart.
    package struct Spread: Sendable, Hashable {
        /// The least, the middle one, the greatest.
        package let minimum: Double, median: Double, maximum: Double

        /// The spread of numbers, of which those that are not finite are left out; nil where none is left.
        package init?(_ numbers: consuming [Double]) {
            numbers.removeAll { !$0.isFinite }
            numbers.sort()
            guard let first = numbers.first, let last = numbers.last else { return nil }
            (minimum, median, maximum) = (first, numbers[numbers.count / 2], last)
        }

        /// Greatest over middle: 1 where all are alike; nil where the middle is zero.
        package var ratio: Double? { median > 0 ? maximum / median : nil }
    }

    /// Reads the statistics off counts.
    package init(_ given: WeightCounts) {
        var counts = given
        counts.compact()
        count = counts.total
        (nan, infinite) = counts.nonFinite
        valueEntropy = counts.valueEntropy
        let finite = Double(count - nan - infinite)
        let isWide = counts.format == .f32
        let moments = counts.moments
        var (sum, smallest, largest) = (0.0, Double.infinity, -Double.infinity)
        if isWide {
            (smallest, largest) = (moments.smallest, moments.largest)
        } else {
            counts.forEachFinite { value, occurrences in
                sum += Double(value) * Double(occurrences)
                smallest = min(smallest, Double(value))
                largest = max(largest, Double(value))
            }
        }
        guard finite > 0 else {
            (minimum, maximum, mean, standardDeviation, kurtosis, skewness) = (0, 0, 0, 0, 0, 0)
            (zeros, subnormal, outliers) = (0, 0, 0)
            histogram = Histogram(counts, mean: 0, deviation: 0)
            return
        }
        let mean: Double
        var (second, third, fourth) = (0.0, 0.0, 0.0)
        if isWide {
            let first = moments.first / finite
            mean = counts.shift + first
            second = moments.second / finite - first * first
            third = moments.third / finite - 3 * first * moments.second / finite + 2 * first * first * first
            fourth =
                moments.fourth / finite - 4 * first * moments.third / finite
                + 6 * first * first * moments.second / finite - 3 * first * first * first * first
            (zeros, subnormal) = (moments.zeros, moments.subnormals)
        } else {
            mean = sum / finite
            let smallestNormal: Float = counts.format == .f16 ? 0x1p-14 : .leastNormalMagnitude
            var (none, tiny): (UInt64, UInt64) = (0, 0)
            counts.forEachFinite { value, occurrences in
                let distance = Double(value) - mean
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
        let deviation = variance.squareRoot()
        var beyond: UInt64 = 0
        if deviation > 0 {
            counts.forEachFinite { value, occurrences in
                if abs(Double(value) - mean) > 6 * deviation { beyond += occurrences }
            }
        }
        (minimum, maximum) = (smallest, largest)
        self.mean = mean
        standardDeviation = deviation
        kurtosis = variance > 0 ? max(0, fourth) / (variance * variance) : 0
        skewness = variance > 0 ? third / (variance * deviation) : 0
        outliers = beyond
        histogram = Histogram(counts, mean: mean, deviation: deviation)
    }
}

/// Counts of weights in bins of equal width.
package struct Histogram: Sendable, Hashable {
    /// How many bins there are.
    package static let binCount = 64

    /// Where the first bin begins and the last ends.
    package let from: Double, to: Double
    /// Weights in each bin; a weight on an edge counts in the bin above.
    package var counts: [UInt64] {
        (0..<Histogram.binCount).map { bin in
            (0..<byteWidth).reversed().reduce(0) { $0 << 8 | UInt64(packed[bin * byteWidth + $1]) }
        }
    }
    /// The counts in as few bytes each as hold them: there is a histogram for each of very many tensors.
    private let packed: [UInt8], byteWidth: Int
    /// Weights below the first bin, and at or above the end of the last.
    package let below: UInt64, above: UInt64

    /// A histogram over given bounds.
    package init(_ weights: WeightCounts, from: Double, to: Double) {
        self.from = from
        self.to = to
        var counts = [UInt64](repeating: 0, count: Histogram.binCount)
        var (below, above): (UInt64, UInt64) = (0, 0)
        let scale = to > from ? Double(Histogram.binCount) / (to - from) : 0
        weights.forEachFinite { value, occurrences in
            // Of F32 the pattern stands for all up to the next one: its middle.
            let middle =
                weights.format == .f32 ? Float(bitPattern: value.bitPattern | 0x8000) : value
            let place = (Double(middle) - from) * scale
            if place < 0 {
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

    /// A histogram of four standard deviations to each side of the mean; of one unit where all weights are equal.
    init(_ weights: WeightCounts, mean: Double, deviation: Double) {
        let reach = deviation > 0 ? 4 * deviation : 0.5
        self.init(weights, from: mean - reach, to: mean + reach)
    }
}
