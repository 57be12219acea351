import Checkpoints
import FileAccess
package import SystemPackage
internal import TensorModel
import Weights

/// Token ids in a file: a `.npy` file, or a safetensors file with one tensor.
package enum TokenFile {
    /// Most tokens of a file.
    private static let maximumTokens = 1 << 28

    /// Reads the ids.
    ///
    /// - Throws: `textInvalid` if the file does not hold one vector of whole numbers, or an id is negative or above 2^31 - 1; errors of
    ///   opening and reading.
    package static func read(_ path: FilePath) throws -> [Int32] {
        func invalid(_ found: String, _ expected: String) -> IngotError {
            IngotError(
                .textInvalid, file: path.string, found: found, expected: expected,
                remedy: "make it with numpy: np.save(path, np.array(ids, dtype=np.int32))")
        }
        let tensors = try OpenedCheckpoint(path).tensors
        guard tensors.count == 1, let tensor = tensors.first else {
            throw invalid("\(tensors.count) tensors", "one vector of token ids")
        }
        let width: Int
        switch tensor.elementType {
        case .u8: width = 1
        case .u16: width = 2
        case .i32, .u32: width = 4
        case .i64, .u64: width = 8
        default: throw invalid("elements of type \(tensor.elementType.rawValue)", "I32, I64, U16, U32 or U64")
        }
        guard tensor.shape.dimensions.filter({ $0 != 1 }).count <= 1 else {
            throw invalid("shape \(tensor.shape.description)", "one vector of token ids")
        }
        let count = tensor.shape.elementCount
        guard count > 0, count <= maximumTokens else { throw invalid("\(count) tokens", "1 to \(maximumTokens)") }
        var ids: [Int32] = []
        ids.reserveCapacity(count)
        try tensor.bytes.forEachPiece { bytes, start in
            for index in stride(from: 0, to: bytes.count, by: width) {
                var value: UInt64 = 0
                for byte in (0..<width).reversed() { value = value << 8 | UInt64(bytes[index + byte]) }
                guard let id = Int32(exactly: value) else {
                    throw invalid(
                        "id \(tensor.elementType == .i32 ? "\(Int32(truncatingIfNeeded: value))" : "\(Int64(bitPattern: value))") at position \((Int(start) + index) / width)",
                        "0 to \(Int32.max)")
                }
                ids.append(id)
            }
        }
        return ids
    }
}
