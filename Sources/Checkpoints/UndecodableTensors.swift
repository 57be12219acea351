import FileAccess
import SystemPackage
import TensorModel

/// What becomes of tensors in blocks that Ingot cannot decode, when a checkpoint is opened.
package enum UndecodableTensors: Sendable {
    /// Opening throws an error that names the first of them.
    case refused
    /// They are listed with name, shape, type and bytes (`StoredTensor.isReadable` is false), and a warning names their types.
    case listed
}

/// The bytes of a tensor in blocks that Ingot cannot decode. Reading throws.
struct UndecodableBytes: DerivedBytes {
    /// Bytes that its elements would take as F32.
    let byteCount: UInt64
    private let tensor: TensorName
    private let type: String

    /// - Parameters:
    ///   - tensor: the name of the tensor.
    ///   - type: the name of the type of its blocks.
    ///   - elementCount: number of its elements.
    init(tensor: TensorName, type: String, elementCount: Int) {
        (self.tensor, self.type) = (tensor, type)
        byteCount = UInt64(elementCount) * 4
    }

    /// Throws `unsupportedSource`.
    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws {
        throw IngotError(
            .unsupportedSource, file: parts.first?.file.path.string, tensor: tensor, offset: parts.first?.range.start,
            found: "blocks of \(type), which ingot cannot decode", expected: "a type that ingot decodes",
            remedy: .both(
                "take a file of another type, or the checkpoint that this one was made from", .option(.listTensors)))
    }
}

extension StoredTensor {
    /// Whether Ingot can read its elements. If not, `elementType` is a placeholder, and reading throws `unsupportedSource`.
    package var isReadable: Bool { !(decoder is UndecodableBytes) }
}
