package import TensorModel

/// The two layouts of MXFP4: 32 codes of four bits and a scale of one byte.
///
/// ggml has blocks of 17 bytes: the scale, then code j in the lower half of byte j and code j + 16 in the upper half. All others (MLX, gpt-oss,
/// compressed-tensors) keep codes and scales apart: code 2k in the lower half of byte k, code 2k + 1 in the upper half. Codes and scales
/// are the same numbers in both.
package enum MicroscalingLayout {
    /// Weights of a scale, and bytes of their codes.
    package static let group = 32, codeBytes = 16

    /// Takes blocks apart.
    ///
    /// - Parameters:
    ///   - count: blocks at the beginning of `blocks`.
    ///   - codes, scales: grow if needed and receive `count` times 16 bytes, and `count` bytes.
    package static func split(
        _ blocks: [UInt8], count: Int, codes: inout [UInt8], scales: inout [UInt8]
    ) {
        codes.grow(to: count * codeBytes)
        scales.grow(to: count)
        for block in 0..<count {
            let (from, to) = (block * BlockType.mxfp4.bytes, block * codeBytes)
            scales[block] = blocks[from]
            for pair in 0..<8 {
                let (a, b) = (blocks[from + 1 + 2 * pair], blocks[from + 2 + 2 * pair])
                codes[to + pair] = a & 15 | b << 4
                codes[to + 8 + pair] = a >> 4 | b & 0xf0
            }
        }
    }

    /// Puts codes and scales together to blocks, as the inverse of `split`.
    package static func join(_ codes: [UInt8], _ scales: [UInt8], count: Int, into blocks: inout [UInt8]) {
        blocks.grow(to: count * BlockType.mxfp4.bytes)
        for block in 0..<count {
            let (from, to) = (block * codeBytes, block * BlockType.mxfp4.bytes)
            blocks[to] = scales[block]
            for pair in 0..<8 {
                let (low, high) = (codes[from + pair], codes[from + 8 + pair])
                blocks[to + 1 + 2 * pair] = low & 15 | high << 4
                blocks[to + 2 + 2 * pair] = low >> 4 | high & 0xf0
            }
        }
    }
}
