package import Quantization
package import TensorModel

/// A decoded chunk, in buffers that are reused.
package struct DecodedChunk: Sendable {
    /// Number of weights.
    package internal(set) var count = 0
    /// The weights of a chunk of scheme `uniform` or `trellis`, row by row, in the first `count` elements.
    package internal(set) var weights: [Float] = []
    /// The elements of a lossless chunk, row by row, in the first `elementBytes` bytes.
    package internal(set) var elements: [UInt8] = []
    /// Bytes of the elements of a lossless chunk; 0 in other schemes.
    package internal(set) var elementBytes = 0
    /// Codes, scales and biases of a chunk of scheme `uniform`.
    package internal(set) var groups = UniformChunk()
    /// Step of a chunk of scheme `trellis`.
    package internal(set) var step: Float = 0

    /// A chunk without buffers.
    package init() {}

    /// The weights in binary32, whatever the scheme: the restored ones, or the elements widened into `buffer`.
    package func floats(_ format: FloatFormat, widenedInto buffer: inout [Float]) -> [Float] {
        guard elementBytes > 0 else { return weights }
        buffer.grow(to: count)
        FloatConversion.expand(elements.span.extracting(0..<elementBytes), format, into: &buffer)
        return buffer
    }

    /// Exchanges the buffer of the weights for another one, which is to be filled next.
    package mutating func exchangeWeights(with buffer: inout [Float]) { swap(&weights, &buffer) }

    /// Counts the codes; false of a lossless chunk, which has none.
    package func count(as scheme: TensorScheme, into counts: inout CodeCounts) -> Bool {
        switch scheme {
        case .lossless: return false
        case .uniform: counts.count(groups.codes, count: count)
        case .trellis(let parameters): counts.count(weights, count: count, step: step, parameters)
        }
        return true
    }
}
