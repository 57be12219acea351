package import Architectures
import Checkpoints
import Container
package import FileAccess
import Quantization
package import TensorModel
package import Weights

extension TensorDifference {
    /// One side of a comparison: a tensor, or the tensors of experts that the other side holds in one tensor.
    package struct Side: Sendable {
        /// The tensors; one unless they were fused or split.
        package let tensors: [StoredWeights]
        /// The tensor's name. Of several tensors: their names with `*` in place of the expert's number, each once.
        package let names: [TensorName]
        /// The role of the tensors in the model.
        package let role: TensorRole
        /// The shape; of several tensors, that of the tensor of the other side.
        package let shape: Shape

        /// A tensor.
        package init(_ tensor: StoredWeights) {
            (tensors, names, role, shape) = ([tensor], [tensor.name], tensor.role, tensor.shape)
        }

        /// Tensors that are compared with `whole`. There must be at least one.
        init(_ tensors: [StoredWeights], named names: [TensorName], as whole: StoredWeights) {
            (self.tensors, self.names) = (tensors, names)
            role = whole.role.kind == .other ? tensors[0].role : whole.role
            shape = whole.shape
        }

        /// The names, joined by ` + `.
        package var name: TensorName {
            names.count == 1 ? names[0] : TensorName(names.map(\.text).joined(separator: " + "))
        }
        /// Bytes of all tensors.
        package var byteCount: UInt64 { tensors.reduce(0) { $0 + $1.byteCount } }
        /// The element types, each once.
        package var elementTypes: [ElementType] { Side.distinct(tensors.map(\.elementType)) }
        /// Names of the element types, joined by `, `.
        package var elementType: String { elementTypes.map(\.rawValue).joined(separator: ", ") }
        /// Names of the files, each once, joined by `, `.
        package var fileName: String { Side.distinct(tensors.map(\.fileName)).joined(separator: ", ") }
        /// How the tensors are stored (`StoredWeights.scheme`), each once, joined by `, `.
        package var scheme: String { Side.distinct(tensors.map(\.scheme)).joined(separator: ", ") }
        /// Schemes of encoded tensors and element types of any others, each once, joined by `, `.
        package var form: String {
            Side.distinct(tensors.map { $0.isEncoded ? $0.scheme : $0.elementType.rawValue }).joined(separator: ", ")
        }
        /// Relative error over activations, by the certificates of all tensors together; nil unless all are calibrated.
        package var relativeActivationError: Double? {
            let sums = tensors.compactMap { $0.descriptor?.calibrated?.sums }
            return sums.count == tensors.count ? sums.reduce(ActivationSums(), +).relativeError : nil
        }
        /// Hashes of the files of moments that the tensors were calibrated with.
        package var calibrations: Set<ContentHash> {
            Set(tensors.compactMap { $0.descriptor?.calibrated?.calibration })
        }
        /// Whether all elements are F16, BF16 or F32.
        package var isFloat: Bool { tensors.allSatisfy { $0.format != nil } }

        private static func distinct<Value: Hashable>(_ values: [Value]) -> [Value] {
            var seen: Set<Value> = []
            return values.filter { seen.insert($0).inserted }
        }
    }

    /// How the tensors of experts lie in the one tensor of the other side.
    package struct Regrouping: Sendable {
        /// What happened between the old and the new checkpoint.
        package enum Direction: String, Sendable, Hashable, CaseIterable {
            /// The old tensors are one in the new checkpoint.
            case fused
            /// The old tensor is several in the new checkpoint.
            case split
        }

        /// Rows of the one tensor, and the rows of one of the several that are compared with them.
        package struct Part: Sendable {
            /// Number of the expert.
            package let expert: Int
            /// Rows of the one tensor as a matrix, and of one of the several.
            package let whole: TensorRows, part: TensorRows
        }

        /// What happened.
        package let direction: Direction
        /// All rows of the one tensor, in order.
        package let parts: [Part]

        /// Old and new rows of each part.
        var pairs: [(TensorRows, TensorRows)] {
            parts.map { direction == .fused ? ($0.part, $0.whole) : ($0.whole, $0.part) }
        }
    }
}
