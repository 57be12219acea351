import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel

/// A way to store a matrix that a trellis does not suit, and what it takes and loses: exact, since every chunk was encoded.
struct StoredForm: Sendable, Hashable {
    /// The scheme: `lossless` or `uniform`.
    let scheme: TensorScheme
    /// Bytes of the payload.
    let byteCount: Int
    /// Relative MSE.
    let relativeMSE: Double
}

/// The forms that one matrix can have apart from a trellis.
///
/// Matrices with few values (masks, constants, weights that another quantizer has rounded) are small and exact in `lossless`, or
/// small in `uniform`. Weights too small for a step in binary32 have no other form.
struct StoredForms {
    private let tensor: StoredTensor
    private let bytes: TensorBytes
    private let format: FloatFormat
    private let codec: Codec
    private let workspace: ProbeWorkspace

    private static let groupSizes = [128, 64]

    /// Prepares the forms of a matrix.
    ///
    /// - Parameter codec: the codec that was asked for.
    init(
        _ tensor: StoredTensor, in file: MappedFile, _ format: FloatFormat, _ codec: Codec, _ workspace: ProbeWorkspace
    ) {
        self.tensor = tensor
        bytes = tensor.bytes(in: file)
        self.format = format
        self.codec = codec
        self.workspace = workspace
    }

    /// A form by its scheme; nil where a restored weight would be beyond the element type's range.
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

    /// The form of the least error with at most `most` bytes.
    ///
    /// - Parameter error: relative MSE that must be undercut.
    func best(bytes most: Double, below error: Double) throws -> StoredForm? {
        if let exact = try form(.lossless), Double(exact.byteCount) <= most { return exact }
        var best: StoredForm?
        for group in StoredForms.groupSizes {
            // The widest that fits has the least error of its group size.
            for bits in UniformParameters.supportedBits.reversed() {
                guard let found = try uniform(bits, group), Double(found.byteCount) <= most else { continue }
                if found.relativeMSE < best?.relativeMSE ?? min(error, RateGoal.errorRange.upperBound) { best = found }
                break
            }
        }
        return best
    }

    /// The smallest form with a relative MSE of at most `most`; nil where none is below `bytes`.
    func smallest(error most: Double, below bytes: Double) throws -> StoredForm? {
        var best = try form(.lossless)
        if let exact = best, Double(exact.byteCount) >= bytes { best = nil }
        for group in StoredForms.groupSizes {
            for bits in UniformParameters.supportedBits {
                guard let found = try uniform(bits, group), found.relativeMSE <= most else { continue }
                if Double(found.byteCount) < best.map({ Double($0.byteCount) }) ?? bytes { best = found }
                break
            }
        }
        return best
    }
}
