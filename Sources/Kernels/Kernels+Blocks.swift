internal import CKernels
package import TensorModel

extension Kernels {
    /// How the scales of blocks are found.
    package enum BlockRounding: Sendable, Hashable {
        /// As ggml's own quantizer finds them: the bytes are the same.
        case reference
        /// Searched for the least squared error, weighted by the importance. It is never larger than the reference's.
        case searched
        /// Of MXFP4 alone: scales and codes of `mlx.core.quantize`, mode mxfp4.
        case mlx

        fileprivate var number: Int32 {
            switch self {
            case .reference: Int32(INGOT_BLOCKS_REFERENCE)
            case .searched: Int32(INGOT_BLOCKS_SEARCHED)
            case .mlx: Int32(INGOT_BLOCKS_MLX)
            }
        }
    }

    /// Encodes rows of weights to blocks of a ggml type (Specs/gguf-blocks.md).
    ///
    /// - Parameters:
    ///   - weights: finite, row-major.
    ///   - columns: a multiple of the weights of a block.
    ///   - importance: a number of each column, 0 or more, as in an importance matrix of llama.cpp; empty for none.
    ///   - blocks: receives the blocks, row by row.
    package static func encodeBlocks(
        _ weights: Span<Float>, rows: Int, columns: Int, _ type: BlockType, _ rounding: BlockRounding,
        importance: Span<Float>, into blocks: inout MutableSpan<UInt8>
    ) {
        precondition(
            rows >= 0 && columns >= 0 && columns % type.elements == 0 && weights.count >= rows * columns
                && (importance.isEmpty || importance.count == columns)
                && blocks.count >= rows * (columns / type.elements) * type.bytes, "encodeBlocks: sizes differ")
        let kind = rounding.number
        let status = unsafe weights.withUnsafeBufferPointer { weights in
            unsafe importance.withUnsafeBufferPointer { importance in
                unsafe blocks.withUnsafeMutableBufferPointer { blocks in
                    guard let from = weights.baseAddress, let to = blocks.baseAddress else { return INGOT_BLOCKS_OK }
                    return unsafe Int(
                        ingot_blocks_encode(
                            Int32(type.rawValue), kind, from, rows, columns,
                            importance.isEmpty ? nil : importance.baseAddress, to))
                }
            }
        }
        precondition(status == INGOT_BLOCKS_OK, "encodeBlocks: a type without an encoder")
    }
}
