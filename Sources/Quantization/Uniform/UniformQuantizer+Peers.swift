internal import Kernels
package import TensorModel

extension UniformQuantizer {
    /// Quantizers of groups whose scales and codes are met to the bit.
    package enum Peer: Sendable, Hashable {
        /// `mlx.core.quantize`, mode affine.
        case mlx
        /// compressed-tensors with its observer `minmax`, symmetric.
        case compressedTensors
    }

    /// Finds codes, scales and biases of a chunk as another quantizer does (Specs/exports.md, "References of group formats").
    ///
    /// - Parameters:
    ///   - weights: at least rows * columns finite weights of `format`, widened, row-major.
    ///   - columns: a multiple of the group size.
    ///   - groupSize: weights of a group, of any number.
    ///   - chunk: receives the result.
    package static func round(
        like peer: Peer, _ weights: [Float], rows: Int, columns: Int, groupSize: Int, bits: Int, _ format: FloatFormat,
        into chunk: inout UniformChunk
    ) {
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: groupSize)
        chunk.prepare(weights: grouping.weightCount, groups: grouping.groupCount, hasBiases: peer == .mlx)
        round(
            weights.span.extracting(first: grouping.weightCount), grouping, bits, format,
            peer == .mlx ? .mlx : .compressedTensors, &chunk.codes, &chunk.scales, &chunk.biases)
    }

    /// Takes the parts of the chunk as separate arguments, because Swift forbids overlapping access to it.
    private static func round(
        _ weights: Span<Float>, _ grouping: Kernels.Grouping, _ bits: Int, _ format: FloatFormat,
        _ peer: Kernels.PeerQuantizer, _ codes: inout [UInt8], _ scales: inout [Float], _ biases: inout [Float]
    ) {
        var codes = codes.mutableSpan
        var scales = scales.mutableSpan
        var biases = biases.mutableSpan
        Kernels.roundLike(
            peer, weights, grouping: grouping, bits: bits, format: format, codes: &codes, scales: &scales,
            biases: &biases)
    }
}
