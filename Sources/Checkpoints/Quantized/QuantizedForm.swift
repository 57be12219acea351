package import FileAccess
package import TensorModel

/// The programs and standards whose codes Ingot decodes.
package enum QuantizationMethod: String, Sendable, Hashable, CaseIterable {
    case fp8 = "FP8"
    case mxfp4 = "MXFP4"
    case nvfp4 = "NVFP4"
    case compressedTensors = "compressed-tensors"
    case gptq = "GPTQ"
    case awq = "AWQ"
    case mlx = "MLX"
    case bitsandbytes = "bitsandbytes"
    case aqlm = "AQLM"
}

/// How a decoded tensor is stored: as codes and the tensors beside them.
///
/// A class, so that the many copies of a tensor in a plan or report share it.
package final class QuantizedForm: Sendable {
    /// What a stored tensor is to the weights.
    package enum Role: String, Sendable, Hashable, CaseIterable {
        case codes, scales, zeroPoints, codebooks, other
    }

    /// A stored tensor.
    package struct Part: Sendable {
        /// Its role: codes, scales or another one.
        package let role: Role
        /// The tensor as its file names it.
        package let tensor: StoredTensor
        /// The file that holds it.
        package let file: MappedFile
    }

    /// The method.
    package let method: QuantizationMethod
    /// The type in few letters, such as `int4 g32` or `fp8 128x128`.
    package let shortName: String
    /// The type in words, such as `int4 symmetric, groups of 32`.
    package let summary: String
    /// The stored tensors, the codes first.
    package let parts: [Part]
    /// Bits of a code as it is stored, and how many values a code can have.
    package let codeBits: Int, levels: Int
    /// Whether quantizing the weights again needs the user's consent: for integer codes and codebooks. Weights in FP8, MXFP4 and NVFP4 are
    /// what their authors publish.
    package let needsConsent: Bool
    /// The matrix of codes with scales; nil for sums of codebooks.
    let matrix: Matrix?

    /// A matrix of codes with scales.
    struct Matrix: Sendable {
        let rows: Int, columns: Int
        let layout: CodeLayout
        let scales: SideValues
        /// Whether the stored bytes hold codes and nothing else.
        let isDense: Bool
    }

    init(
        method: QuantizationMethod, shortName: String, summary: String, parts: [Part], codeBits: Int, levels: Int,
        needsConsent: Bool, matrix: Matrix?
    ) {
        (self.method, self.shortName, self.summary, self.parts) = (method, shortName, summary, parts)
        (self.codeBits, self.levels, self.needsConsent, self.matrix) = (codeBits, levels, needsConsent, matrix)
    }

    /// Bytes of all stored tensors.
    package var byteCount: UInt64 { parts.reduce(0) { $0 &+ $1.tensor.range.count } }

    /// Bytes of the stored tensors of a role.
    package func byteCount(of role: Role) -> UInt64 {
        parts.reduce(0) { $1.role == role ? $0 &+ $1.tensor.range.count : $0 }
    }

    /// Whether a stored tensor lies in another file than the codes.
    package var spansFiles: Bool { parts.contains { $0.file !== parts[0].file } }
}
