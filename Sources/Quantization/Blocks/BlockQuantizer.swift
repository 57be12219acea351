internal import Kernels
package import TensorModel

/// How an exporter finds the scales of a runtime's format.
package enum ExportRounding: String, Sendable, Hashable, CaseIterable {
    /// Searched for the least squared error.
    case searched
    /// As the runtime's own quantizer finds them: the bytes are the same.
    case reference
}

/// Encodes rows of weights to blocks of ggml's types.
package enum BlockQuantizer {
    /// Encodes rows of weights.
    ///
    /// - Parameters:
    ///   - weights: at least rows * columns finite weights, row-major.
    ///   - columns: a multiple of the weights of a block.
    ///   - importance: a number of each column, 0 or more, as in an importance matrix of llama.cpp; empty for none.
    ///   - blocks: grows if needed and receives the blocks, row by row, in its first bytes.
    package static func encode(
        _ weights: [Float], rows: Int, columns: Int, _ type: BlockType, _ rounding: ExportRounding,
        importance: [Float], into blocks: inout [UInt8]
    ) {
        encode(
            weights, rows: rows, columns: columns, type, rounding == .reference ? .reference : .searched, importance,
            into: &blocks)
    }

    /// Encodes rows of weights to blocks of MXFP4, to the scales and codes of `mlx.core.quantize` with `.reference`.
    ///
    /// - Parameters: as above.
    package static func encodeLikeMLX(
        _ weights: [Float], rows: Int, columns: Int, _ rounding: ExportRounding, importance: [Float],
        into blocks: inout [UInt8]
    ) {
        encode(
            weights, rows: rows, columns: columns, .mxfp4, rounding == .reference ? .mlx : .searched, importance,
            into: &blocks)
    }

    private static func encode(
        _ weights: [Float], rows: Int, columns: Int, _ type: BlockType, _ rounding: Kernels.BlockRounding,
        _ importance: [Float], into blocks: inout [UInt8]
    ) {
        blocks.grow(to: rows * (columns / type.elements) * type.bytes)
        var target = blocks.mutableSpan
        Kernels.encodeBlocks(
            weights.span.extracting(first: rows * columns), rows: rows, columns: columns, type, rounding,
            importance: importance.span, into: &target)
    }
}
