import Architectures
import Inspection
import Quantization
import TensorModel
import Weights

extension VerificationReport {
    /// The `count` tensors with the largest relative MSE among those that are encoded or changed, and the number of all of those. NaN comes
    /// first; equal errors stay in file order.
    func worst(_ count: Int) -> (shown: [Tensor], of: Int) {
        // Sort indices: there may be tens of thousands of tensors.
        let lossy = tensors.indices.filter {
            (!compared || tensors[$0].isMeasured) && (!tensors[$0].isKept || tensors[$0].sums.noise != 0)
        }
        let ranks = lossy.map { (index: $0, rank: tensors[$0].rank) }
            .sorted { $0.rank != $1.rank ? $0.rank > $1.rank : $0.index < $1.index }
        return (ranks.prefix(count).map { tensors[$0.index] }, lossy.count)
    }

    /// Errors by kind of tensor, in the order of `TensorRole.Kind`.
    var kinds: [(kind: TensorRole.Kind, error: KindError)] {
        var kinds: [TensorRole.Kind: KindError] = [:]
        for tensor in comparable { kinds[tensor.role.kind, default: KindError()].add(tensor) }
        return kinds.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Error of all encoded tensors together.
    var total: KindError { comparable.reduce(into: KindError()) { if !$1.isKept { $0.add($1) } } }
}

/// Common error of the tensors of one kind.
struct KindError {
    /// Number of tensors, of their weights, and of their bytes.
    var tensors = 0, weights: UInt64 = 0, bytes: UInt64 = 0
    /// Sum of their error sums.
    var sums = ErrorSums.zero
    /// Weights that changed their sign, and weights that became 0.
    var signFlips: UInt64 = 0, zeroed: UInt64 = 0

    mutating func add(_ tensor: VerificationReport.Tensor) {
        tensors += 1
        weights += UInt64(tensor.elements)
        bytes += tensor.byteCount
        sums = sums + tensor.sums
        signFlips += tensor.errors?.signFlips ?? 0
        zeroed += tensor.errors?.zeroed ?? 0
    }

    /// Bits per weight; nil without weights.
    var bitsPerWeight: Double? { weights == 0 ? nil : Double(bytes) * 8 / Double(weights) }
}

extension VerificationReport.Tensor {
    /// Sort key: the relative MSE, with NaN as infinity.
    fileprivate var rank: Double { sums.relativeMSE.isNaN ? .infinity : sums.relativeMSE }
}

/// Formats error figures.
enum ErrorText {
    /// SNR in dB; `exact` without noise, `-` if the noise is not finite.
    static func signalToNoise(_ sums: ErrorSums) -> String {
        sums.noise == 0 ? "exact" : sums.noise.isFinite ? NumberText.fixed(sums.signalToNoise, 1) : "-"
    }

    /// Relative MSE in scientific notation.
    static func relative(_ sums: ErrorSums) -> String { Format.scientific(sums.relativeMSE) }

    /// A cosine with enough digits to differ from 1.
    static func cosine(_ errors: ErrorStatistics) -> String {
        errors.cosine == 1 ? "1" : NumberText.fixed(errors.cosine, 5)
    }

    /// Bits per weight with three decimal places; `-` for nil.
    static func bits(_ bits: Double?) -> String { bits.map { NumberText.fixed($0, 3) } ?? "-" }
}
