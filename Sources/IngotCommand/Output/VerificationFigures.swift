import Architectures
import Inspection
import Quantization
import TensorModel
import Weights

extension VerificationReport {
    /// The tensors that are not what they were and how many there are, those of the largest relative error first, `count` of them at
    /// most; of equal errors, in the order of the files. What is not a number comes first.
    func worst(_ count: Int) -> (shown: [Tensor], of: Int) {
        // Of tens of thousands of tensors only the indices are sorted.
        let lossy = tensors.indices.filter { !tensors[$0].isKept || tensors[$0].sums.noise != 0 }
        let ranks = lossy.map { (index: $0, rank: tensors[$0].rank) }
            .sorted { $0.rank != $1.rank ? $0.rank > $1.rank : $0.index < $1.index }
        return (ranks.prefix(count).map { tensors[$0.index] }, lossy.count)
    }

    /// Tensors by kind, in the order data meets them.
    var kinds: [(kind: TensorRole.Kind, error: KindError)] {
        var kinds: [TensorRole.Kind: KindError] = [:]
        for tensor in tensors { kinds[tensor.role.kind, default: KindError()].add(tensor) }
        return kinds.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// The error of all encoded tensors together.
    var total: KindError { encoded.reduce(into: KindError()) { $0.add($1) } }
}

/// The error of tensors of one kind together.
struct KindError {
    var tensors = 0, weights: UInt64 = 0, bytes: UInt64 = 0
    var sums = ErrorSums.zero
    var signFlips: UInt64 = 0, zeroed: UInt64 = 0

    mutating func add(_ tensor: VerificationReport.Tensor) {
        tensors += 1
        weights += UInt64(tensor.elements)
        bytes += tensor.byteCount
        sums = sums + tensor.sums
        signFlips += tensor.errors?.signFlips ?? 0
        zeroed += tensor.errors?.zeroed ?? 0
    }

    var bitsPerWeight: Double? { weights == 0 ? nil : Double(bytes) * 8 / Double(weights) }
}

extension VerificationReport.Tensor {
    /// Where it stands among others by its error.
    fileprivate var rank: Double { sums.relativeMSE.isNaN ? .infinity : sums.relativeMSE }
}

/// Figures of errors as text.
enum ErrorText {
    static func signalToNoise(_ sums: ErrorSums) -> String {
        sums.noise == 0 ? "exact" : sums.noise.isFinite ? NumberText.fixed(sums.signalToNoise, 1) : "-"
    }

    static func relative(_ sums: ErrorSums) -> String { Format.scientific(sums.relativeMSE) }

    /// A cosine with as many digits as tell it from 1.
    static func cosine(_ errors: ErrorStatistics) -> String {
        errors.cosine == 1 ? "1" : NumberText.fixed(errors.cosine, 5)
    }

    static func bits(_ bits: Double?) -> String { bits.map { NumberText.fixed($0, 3) } ?? "-" }
}
