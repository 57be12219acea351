import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel

/// A scheme other than `trellis` for a matrix, with the size and the error it gives.
///
/// Both are exact: the whole matrix was encoded to measure them.
struct StoredForm: Sendable, Hashable {
    /// `lossless` or `uniform`.
    let scheme: TensorScheme
    /// Bytes of the payload, padding included.
    let byteCount: Int
    /// Relative MSE; 0 for `lossless`.
    let relativeMSE: Double
}

/// Measures one matrix in scheme `lossless` and in scheme `uniform`, by encoding all of it.
///
/// A matrix with few distinct values (a mask, a constant, weights that another quantizer has rounded) is small and exact in `lossless`, or
/// small in `uniform`. Weights that are too small for a step in binary32 cannot be stored in scheme `trellis`.
struct StoredForms {
    private let tensor: StoredTensor
    private let bytes: TensorBytes
    private let format: FloatFormat
    private let codec: Codec
    private let workspace: ProbeWorkspace

    private static let groupSizes = [128, 64]

    /// Prepares the measurements; encodes nothing yet.
    ///
    /// - Parameter codec: the codec of the conversion; `ConversionPlan.codec` gives the one that each scheme uses.
    init(
        _ tensor: StoredTensor, in file: MappedFile, _ format: FloatFormat, _ codec: Codec, _ workspace: ProbeWorkspace
    ) {
        self.tensor = tensor
        bytes = tensor.bytes(in: file)
        self.format = format
        self.codec = codec
        self.workspace = workspace
    }

    /// Encodes the matrix in a scheme; nil if a weight is NaN or infinite, or if a restored weight exceeds the range of the element type.
    private func form(_ scheme: TensorScheme) throws -> StoredForm? {
        let descriptor = TensorDescriptor(
            scheme: scheme, codec: ConversionPlan.codec(codec, scheme), format: format, shape: tensor.shape)
        guard let whole = try workspace.measureWhole(bytes, as: descriptor.prologue), whole.isInRange
        else { return nil }
        return StoredForm(scheme: scheme, byteCount: whole.byteCount, relativeMSE: whole.sums.relativeMSE)
    }

    private func uniform(_ bits: Int, _ group: Int) throws -> StoredForm? {
        guard let parameters = UniformParameters(bits: bits, groupSize: group, symmetric: false) else { return nil }
        return try form(.uniform(parameters))
    }

    /// The form with the smallest relative MSE that has at most `maximum` bytes: `lossless` if it fits, otherwise `uniform` of any width.
    ///
    /// - Parameter error: limit for `uniform`: its relative MSE must be below this, and below 0.5.
    /// - Returns: nil if no form meets the limits.
    func best(bytes maximum: Double, below error: Double) throws -> StoredForm? {
        if let exact = try form(.lossless), Double(exact.byteCount) <= maximum { return exact }
        var best: StoredForm?
        for group in StoredForms.groupSizes {
            // The widest codes that fit have the smallest error of their group size.
            for bits in UniformParameters.supportedBits.reversed() {
                guard let found = try uniform(bits, group), Double(found.byteCount) <= maximum else { continue }
                if found.relativeMSE < best?.relativeMSE ?? min(error, RateGoal.errorRange.upperBound) { best = found }
                break
            }
        }
        return best
    }

    /// The smallest form with a relative MSE of at most `maximum` and with fewer bytes than `bytes`; nil if there is none.
    func smallest(error maximum: Double, below bytes: Double) throws -> StoredForm? {
        var best = try form(.lossless)
        if let exact = best, Double(exact.byteCount) >= bytes { best = nil }
        for group in StoredForms.groupSizes {
            for bits in UniformParameters.supportedBits {
                guard let found = try uniform(bits, group), found.relativeMSE <= maximum else { continue }
                if Double(found.byteCount) < best.map({ Double($0.byteCount) }) ?? bytes { best = found }
                break
            }
        }
        return best
    }
}
