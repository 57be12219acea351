package import TensorModel

/// Decodes blocks of ggml's types that lie in memory.
package enum GGUFBlocks {
    /// Decodes whole blocks, with the bits that reading a GGUF file gives.
    ///
    /// - Parameters:
    ///   - blocks: whole blocks of the type.
    ///   - weights: room for all weights of the blocks; they become its first elements.
    package static func decode(_ type: BlockType, _ blocks: Span<UInt8>, into weights: inout [Float]) {
        guard case .blocks(let decoder) = GGUFType.of(UInt64(type.rawValue)).form else {
            preconditionFailure("a type of BlockType that is not decoded")
        }
        decode(decoder, blocks, into: &weights)
    }

    private static func decode<Decoder: BlockDecoder>(
        _ decoder: Decoder.Type, _ blocks: Span<UInt8>, into weights: inout [Float]
    ) {
        var bytes = [UInt8](repeating: 0, count: Decoder.elements * 4)
        for block in 0..<blocks.count / Decoder.bytes {
            Decoder.decode(blocks, block * Decoder.bytes, into: &bytes, at: 0)
            for index in 0..<Decoder.elements {
                let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[index * 4 + $1]) << UInt32(8 * $1) }
                weights[block * Decoder.elements + index] = Float(bitPattern: bits)
            }
        }
    }
}
