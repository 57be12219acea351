import Architectures
import Inspection
import Quantization
import TensorModel
import Weights

extension VerificationReport {
    /// The `count` tensors with the largest errors among those that are encoded or changed, and the number of all of those. The error is the
    /// relative error over activations of calibrated tensors, and the relative MSE of others. NaN comes first; equal errors stay in file order.
    func worst(_ count: Int) -> (shown: [Tensor], of: Int) {
        // Sort indices: there may be tens of thousands of tensors.
        let lossy = tensors.indices.filter {
            (!compared || tensors[$0].isMeasured) && (!tensors[$0].isKept || tensors[$0].sums.noise != 0)
        }
        let ranks = lossy.map { (index: $0, rank: tensors[$0].rank) }
            .sorted { $0.rank != $1.rank ? $0.rank > $1.rank : $0.index < $1.index }
        return (ranks.prefix(count).map { tensors[$0.index] }, lossy.count)
    }
}

extension VerificationReport.Tensor {
    /// Sort key: the relative error over activations, or the relative MSE, with NaN as infinity.
    fileprivate var rank: Double {
        let error = calibrated?.relativeError ?? sums.relativeMSE
        return error.isNaN ? .infinity : error
    }
}

/// Formats error figures.
enum ErrorText {
    /// SNR in dB; `exact` without noise, `-` if the noise is not finite.
    static func signalToNoise(_ sums: ErrorSums) -> String {
        sums.noise == 0 ? "exact" : sums.noise.isFinite ? NumberText.fixed(sums.signalToNoise, 1) : "-"
    }

    /// Relative MSE in scientific notation.
    static func relative(_ sums: ErrorSums) -> String { Format.scientific(sums.relativeMSE) }

    /// Relative error over activations, as certified; `-` for a tensor that is not calibrated.
    static func activation(_ tensor: VerificationReport.Tensor) -> String {
        tensor.calibrated.map { Format.scientific($0.relativeError) } ?? "-"
    }

    /// A cosine with enough digits to differ from 1.
    static func cosine(_ errors: ErrorStatistics) -> String {
        errors.cosine == 1 ? "1" : NumberText.fixed(errors.cosine, 5)
    }

    /// Bits per weight with three decimal places; `-` for nil.
    static func bits(_ bits: Double?) -> String { bits.map { NumberText.fixed($0, 3) } ?? "-" }
}
