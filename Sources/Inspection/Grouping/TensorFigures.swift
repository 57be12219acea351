import Container
package import Quantization
import TensorModel

/// Figures of one tensor, or of a group of tensors. Tables show them and sort by them.
package struct TensorFigures: Sendable {
    /// Number of tensors, of their elements, and of their bytes in the files.
    package internal(set) var tensors = 0, elements = 0, bytes: UInt64 = 0
    /// Number of weights that statistics were taken of, NaN and infinity included. All figures below describe these weights. In a group they
    /// are those of the tensors that hold weights (`CheckpointReport.Tensor.holdsWeights`).
    package internal(set) var count: UInt64 = 0
    /// Number of NaN, infinite, zero and subnormal weights.
    package internal(set) var nan: UInt64 = 0, infinite: UInt64 = 0, zeros: UInt64 = 0, subnormal: UInt64 = 0
    /// Number of weights more than 6 standard deviations from the mean; mean and standard deviation are those of the weight's own tensor.
    package internal(set) var outliers: UInt64 = 0
    /// Smallest and largest finite weight; nil without finite weights.
    package internal(set) var minimum: Double?, maximum: Double?
    /// Mean of the finite weights; nil without finite weights.
    package internal(set) var mean: Double?
    private var second = 0.0, third = 0.0, fourth = 0.0
    /// Sum of the tensors' histograms, bin by bin. The bins of each tensor cover its mean plus and minus 4 of its standard deviations.
    package internal(set) var histogram: [UInt64] = []
    private var codeBits = 0.0, codeCount = 0.0, valueBits = 0.0, valueCount = 0.0
    private var sums: ErrorSums?
    private var activationErrors = 0.0
    /// Number of calibrated tensors.
    private var calibrated = 0

    /// The figures of an empty group.
    package init() {}

    /// The figures of one tensor.
    ///
    /// - Parameter isPart: whether they are added to those of a group, where values that are not weights do not count.
    package init(_ tensor: CheckpointReport.Tensor, ofGroup isPart: Bool = false) {
        tensors = 1
        elements = tensor.shape.elementCount
        bytes = tensor.byteCount
        sums = tensor.descriptor?.sums
        if let error = tensor.descriptor?.calibrated?.sums.relativeError { (activationErrors, calibrated) = (error, 1) }
        if let found = tensor.statistics, tensor.holdsWeights || !isPart { take(found) }
    }

    /// The figures of the slice of one of `count` experts. Its bytes are an equal share of the tensor's.
    init(slice: Int, of count: Int, in tensor: CheckpointReport.Tensor) {
        tensors = 1
        elements = tensor.shape.elementCount / count
        let (part, all) = (UInt64(slice), UInt64(count))
        bytes = tensor.byteCount * (part + 1) / all - tensor.byteCount * part / all
        if tensor.holdsWeights, tensor.slices.indices.contains(slice) { take(tensor.slices[slice]) }
    }

    /// Sets the figures of weights.
    private mutating func take(_ found: WeightStatistics) {
        (count, nan, infinite, zeros) = (found.count, found.nan, found.infinite, found.zeros)
        (subnormal, outliers, histogram) = (found.subnormal, found.outliers, found.histogram.counts)
        if let bits = found.codeEntropy { (codeBits, codeCount) = (bits * Double(count), Double(count)) }
        if let bits = found.valueEntropy { (valueBits, valueCount) = (bits * Double(count), Double(count)) }
        guard finite > 0 else { return }
        (minimum, maximum, mean) = (found.minimum, found.maximum, found.mean)
        let variance = found.standardDeviation * found.standardDeviation
        second = variance * finite
        third = found.skewness * variance * found.standardDeviation * finite
        fourth = found.kurtosis * variance * variance * finite
    }

    /// Number of finite weights.
    private var finite: Double { Double(count - nan - infinite) }

    /// Bits per element, side information included; nil without elements.
    package var bitsPerElement: Double? { elements == 0 ? nil : Double(bytes) * 8 / Double(elements) }
    /// Standard deviation about the mean of the whole group; nil without finite weights.
    package var standardDeviation: Double? {
        mean.flatMap { _ in TensorFigures.finite((second / finite).squareRoot()) }
    }
    /// Largest magnitude; nil without finite weights.
    package var absoluteMaximum: Double? {
        guard let minimum, let maximum else { return nil }
        return max(-minimum, maximum)
    }
    /// Kurtosis about the mean of the whole group, 3 for a normal distribution; 0 if all weights are equal, nil without finite weights.
    package var kurtosis: Double? {
        mean.flatMap { _ in second == 0 ? 0 : TensorFigures.finite(fourth / second * (finite / second)) }
    }
    /// Skewness about the mean of the whole group, 0 for a symmetric distribution or equal weights; nil without finite weights.
    package var skewness: Double? {
        mean.flatMap { _ in second == 0 ? 0 : TensorFigures.finite(third / second * (finite / second).squareRoot()) }
    }
    /// A figure; nil if powers of F64 weights were too large for it.
    private static func finite(_ figure: Double) -> Double? { figure.isFinite ? figure : nil }
    /// Mean entropy of the codes in bits per weight, over the encoded tensors; nil without encoded tensors.
    package var codeEntropy: Double? { codeCount == 0 ? nil : codeBits / codeCount }
    /// Mean entropy of elements of 8 and 16 bits in bits per element, each tensor by its own frequencies; nil without such tensors.
    package var valueEntropy: Double? { valueCount == 0 ? nil : valueBits / valueCount }
    /// Relative MSE of all encoded tensors together; nil without encoded tensors.
    package var relativeMSE: Double? { sums?.relativeMSE }
    /// Error sums of all encoded tensors together; nil without encoded tensors.
    package var errors: ErrorSums? { sums }
    /// Mean over the calibrated tensors of their relative errors over activations (`ActivationSums.relativeError`); each tensor counts the same.
    /// Nil without calibrated tensors.
    package var relativeActivationError: Double? { calibrated == 0 ? nil : activationErrors / Double(calibrated) }

    /// Adds the figures of other tensors.
    ///
    /// Moments become those about the common mean, as if all weights were one tensor. A tensor with n weights, central sums M2, M3, M4 and
    /// the distance d between its mean and the common mean adds M2 + n d^2, M3 + 3 d M2 + n d^3 and M4 + 4 d M3 + 6 d^2 M2 + n d^4
    /// (Pebay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical moments", 2008).
    package mutating func add(_ other: TensorFigures) {
        if let mean, let otherMean = other.mean {
            let all = mean + (otherMean - mean) * (other.finite / (finite + other.finite))
            let (a, b) = (moved(to: all), other.moved(to: all))
            (second, third, fourth) = (a.second + b.second, a.third + b.third, a.fourth + b.fourth)
            self.mean = all
            minimum = min(minimum ?? .infinity, other.minimum ?? .infinity)
            maximum = max(maximum ?? -.infinity, other.maximum ?? -.infinity)
        } else if let otherMean = other.mean {
            (mean, minimum, maximum) = (otherMean, other.minimum, other.maximum)
            (second, third, fourth) = (other.second, other.third, other.fourth)
        }
        tensors += other.tensors
        elements += other.elements
        bytes += other.bytes
        count += other.count
        nan += other.nan
        infinite += other.infinite
        zeros += other.zeros
        subnormal += other.subnormal
        outliers += other.outliers
        if histogram.isEmpty {
            histogram = other.histogram
        } else {
            for bin in other.histogram.indices { histogram[bin] += other.histogram[bin] }
        }
        codeBits += other.codeBits
        codeCount += other.codeCount
        valueBits += other.valueBits
        valueCount += other.valueCount
        if let more = other.sums { sums = (sums ?? .zero) + more }
        activationErrors += other.activationErrors
        calibrated += other.calibrated
    }

    /// Central sums about the mean `other`.
    private func moved(to other: Double) -> (second: Double, third: Double, fourth: Double) {
        let d = (mean ?? other) - other
        let n = finite
        return (
            second + n * d * d, third + 3 * d * second + n * d * d * d,
            fourth + 4 * d * third + 6 * d * d * second + n * d * d * d * d
        )
    }
}
