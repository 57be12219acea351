internal import CKernels
package import TensorModel

extension Kernels {
    /// Quantizers of groups whose scales and codes are met to the bit.
    package enum PeerQuantizer: Sendable, Hashable {
        /// `mlx.core.quantize`, mode affine.
        case mlx
        /// compressed-tensors with its observer `minmax`, symmetric.
        case compressedTensors
    }

    /// Scales and codes as another quantizer finds them (Specs/exports.md, "References of group formats").
    ///
    /// - Parameters:
    ///   - weights: finite numbers of `format`, widened, row-major.
    ///   - grouping: the shape of the chunk; the columns are whole groups.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - format: element type of weights, scales and biases.
    ///   - codes: room for one byte per weight; codes count from 0.
    ///   - scales: room for one per group.
    ///   - biases: room for one per group; not written for compressed-tensors.
    package static func roundLike(
        _ peer: PeerQuantizer, _ weights: Span<Float>, grouping: Grouping, bits: Int, format: FloatFormat,
        codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<Float>, biases: inout MutableSpan<Float>
    ) {
        precondition([2, 3, 4, 5, 6, 8].contains(bits), "roundLike: unsupported width")
        precondition(
            grouping.columns % grouping.groupSize == 0 && weights.count >= grouping.weightCount
                && codes.count >= grouping.weightCount && scales.count >= grouping.groupCount
                && (peer == .compressedTensors || biases.count >= grouping.groupCount), "roundLike: sizes differ")
        let number = Int32(peer == .mlx ? INGOT_PEER_MLX : INGOT_PEER_COMPRESSED_TENSORS)
        unsafe weights.withUnsafeBufferPointer { weights in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                unsafe scales.withUnsafeMutableBufferPointer { scales in
                    unsafe biases.withUnsafeMutableBufferPointer { biases in
                        guard let from = weights.baseAddress, grouping.weightCount > 0 else { return }
                        unsafe ingot_peer_round(
                            number, from, grouping.rows, grouping.columns, grouping.groupSize, Int32(bits),
                            Int32(format.rawValue), codes.baseAddress, scales.baseAddress, biases.baseAddress)
                    }
                }
            }
        }
    }
}
