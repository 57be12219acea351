package import Quantization
internal import TensorModel

/// How a tensor that is not kept as it is becomes a payload.
package enum TensorScheme: Sendable, Hashable {
    /// Codes with a scale, and a bias unless symmetric, per group of a row.
    case uniform(UniformParameters)
    /// Byte planes, bit-exact.
    case lossless
    /// Levels along a trellis, entropy coded, with a step per chunk.
    case trellis(TrellisParameters)

    /// The number in the payload's prologue.
    var number: UInt16 {
        switch self {
        case .uniform: 1
        case .lossless: 2
        case .trellis: 3
        }
    }

    /// The name in descriptions and reports.
    package var name: String {
        switch self {
        case .uniform: "uniform"
        case .lossless: "lossless"
        case .trellis: "trellis"
        }
    }

    /// A name with its parameters, for tables: `uniform 4 g64`, `trellis`, `trellis/32` for one of 32 states instead of 8.
    package var summary: String {
        switch self {
        case .uniform(let parameters):
            "uniform \(parameters.bits) g\(parameters.groupSize)\(parameters.symmetric ? " sym" : "")"
        case .lossless: "lossless"
        case .trellis(let parameters): parameters.states == 8 ? "trellis" : "trellis/\(parameters.states)"
        }
    }

    /// Streams in each chunk: the codes and the byte planes of scales and biases; the byte planes of the weights; or the symbols by class
    /// and parity, the escapes, and what is not compressed, under rANS all symbols and what is not compressed.
    func streamCount(_ format: FloatFormat, _ codec: Codec) -> Int {
        switch self {
        case .uniform(let parameters): 1 + format.byteWidth * (parameters.symmetric ? 1 : 2)
        case .lossless: format.byteWidth
        case .trellis(let parameters): codec == .rans ? 2 : parameters.symbolStreams + 2
        }
    }

    /// Bytes the streams of a chunk have at least.
    func leastChunkBytes(_ format: FloatFormat, _ codec: Codec) -> Int {
        // Of a trellis, streams without symbols have no bytes; one of them has symbols.
        if case .trellis = self { return codec == .rans ? ContainerFormat.leastRansBytes : 1 }
        return streamCount(format, codec)
    }

    /// Whether there are streams of this codec in the scheme: rANS codes symbols of a trellis, none else, and knows classes of its own.
    package func accepts(_ codec: Codec) -> Bool {
        guard codec == .rans else { return true }
        guard case .trellis(let parameters) = self else { return false }
        return parameters.alphabet == 256 && parameters.rowClasses == 1
    }
}
