package import Architectures
package import Quantization
import TensorModel

extension VerificationReport {
    /// Errors by kind of tensor, in the order of `TensorRole.Kind`.
    package var kinds: [(kind: TensorRole.Kind, error: KindError)] {
        var kinds: [TensorRole.Kind: KindError] = [:]
        for tensor in comparable { kinds[tensor.role.kind, default: KindError()].add(tensor) }
        return kinds.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Error of all encoded tensors together.
    package var total: KindError { comparable.reduce(into: KindError()) { if !$1.isKept { $0.add($1) } } }
}

/// Common error of the tensors of one kind.
package struct KindError: Sendable {
    /// Number of tensors, of their weights, and of their bytes. Entropy-coded codes of a quantized source have bytes and no weights.
    package private(set) var tensors = 0, weights: UInt64 = 0, bytes: UInt64 = 0
    /// Bytes of the payloads of codes, which hold no weights.
    private var codeBytes: UInt64 = 0
    /// Sum of their error sums.
    package private(set) var sums = ErrorSums.zero
    /// Weights that changed their sign, and weights that became 0.
    package private(set) var signFlips: UInt64 = 0, zeroed: UInt64 = 0

    mutating func add(_ tensor: VerificationReport.Tensor) {
        tensors += 1
        bytes += tensor.byteCount
        if tensor.holdsCodes { codeBytes += tensor.byteCount } else { weights += UInt64(tensor.elements) }
        sums = sums + tensor.sums
        signFlips += tensor.errors?.signFlips ?? 0
        zeroed += tensor.errors?.zeroed ?? 0
    }

    /// Bits per weight; nil without weights.
    package var bitsPerWeight: Double? { weights == 0 ? nil : Double(bytes - codeBytes) * 8 / Double(weights) }

    /// The members of a report: counts, `bits_per_weight`, and those of `ErrorSums`.
    var json: [JSONValue.Member] {
        [
            .init("tensors", .unsigned(UInt64(tensors))), .init("weights", .unsigned(weights)),
            .init("bytes", .unsigned(bytes)),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
        ] + sums.json
    }
}
