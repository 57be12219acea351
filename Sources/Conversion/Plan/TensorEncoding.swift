import Container
import Quantization

/// The scheme of one matrix, and what is known about the result before the matrix is encoded.
enum TensorEncoding: Sendable, Hashable {
    /// Byte planes, bit-exact. The form is set if a trial has encoded the whole matrix.
    case lossless(StoredForm?)
    /// A code per weight and a scale per group. The form is set if a trial has encoded the whole matrix.
    case uniform(StoredForm?)
    /// Levels from a trellis. The rate is nil until it is planned.
    case trellis(TensorRate?)

    /// The payload of the first phase, of this many bytes, as it is.
    case copied(UInt64)

    /// The encoding of a scheme, without rate or form.
    init(_ scheme: TensorScheme) {
        switch scheme {
        case .lossless: self = .lossless(nil)
        case .uniform: self = .uniform(nil)
        case .trellis: self = .trellis(nil)
        }
    }

    /// The encoding of a form that was measured.
    init(_ form: StoredForm) {
        if case .lossless = form.scheme { self = .lossless(form) } else { self = .uniform(form) }
    }

    /// The planned rate; nil for other schemes than `trellis`, and before it is planned.
    var rate: TensorRate? { if case .trellis(let rate) = self { rate } else { nil } }

    /// The measured form; nil for scheme `trellis`, and without a trial.
    var form: StoredForm? {
        switch self {
        case .lossless(let form), .uniform(let form): form
        case .trellis, .copied: nil
        }
    }

    /// Upper bound of the bytes of the payload; 0 if neither a size nor a form is planned.
    var maximumBytes: Double {
        if case .copied(let bytes) = self { return Double(bytes) }
        return form.map { Double($0.byteCount) } ?? rate?.goal.maximumBytes ?? 0
    }
}
