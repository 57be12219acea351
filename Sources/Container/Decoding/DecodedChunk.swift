package import Quantization
package import TensorModel

/// A decoded chunk. Its buffers are reused from chunk to chunk.
package struct DecodedChunk: Sendable {
    /// Number of weights.
    package internal(set) var count = 0
    /// The weights of a chunk of scheme `uniform` or `trellis`, row by row, in the first `count` elements.
    package internal(set) var weights: [Float] = []
    /// The elements of a lossless chunk, row by row, in the first `elementBytes` bytes.
    package internal(set) var elements: [UInt8] = []
    /// Number of bytes in `elements`; 0 in schemes other than lossless.
    package internal(set) var elementBytes = 0
    /// Codes, scales and biases of a chunk of scheme `uniform`; undefined in other schemes.
    package internal(set) var groups = UniformChunk()
    /// Step of a chunk of scheme `trellis`; undefined in other schemes.
    package internal(set) var step: Float = 0

    /// Steps of the rows and columns of a chunk with scale bytes; nil without.
    package internal(set) var steps: ChunkSteps?

    /// An empty chunk.
    package init() {}

    /// The weights in binary32: `weights`, or the elements of a lossless chunk, widened into `buffer`.
    package func floats(_ format: FloatFormat, widenedInto buffer: inout [Float]) -> [Float] {
        guard elementBytes > 0 else { return weights }
        buffer.grow(to: count)
        FloatConversion.expand(elements.span.extracting(0..<elementBytes), format, into: &buffer)
        return buffer
    }

    /// Swaps `weights` with `buffer`, whose memory the next chunk will use.
    package mutating func exchangeWeights(with buffer: inout [Float]) { swap(&weights, &buffer) }

    /// Counts the codes of the chunk. Returns false for a lossless chunk, which has no codes.
    package func count(as scheme: TensorScheme, into counts: inout CodeCounts) -> Bool {
        switch scheme {
        case .lossless: return false
        case .uniform: counts.count(groups.codes, count: count)
        case .trellis(let parameters): counts.count(weights, count: count, step: step, scaled: steps, parameters)
        }
        return true
    }
}
