package import Quantization
internal import TensorModel

/// How the weights of a payload are encoded.
package enum TensorScheme: Sendable, Hashable {
    /// A code per weight; a scale and, unless symmetric, a bias per group of a row.
    case uniform(UniformParameters)
    /// Byte planes, bit-exact.
    case lossless
    /// Levels from a trellis, entropy coded; a step per chunk.
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

    /// The name with parameters, for tables: `uniform 4 g64`, `trellis`, `trellis/32` (32 states instead of 8).
    package var summary: String {
        switch self {
        case .uniform(let parameters):
            "uniform \(parameters.bits) g\(parameters.groupSize)\(parameters.symmetric ? " sym" : "")"
        case .lossless: "lossless"
        case .trellis(let parameters): parameters.states == 8 ? "trellis" : "trellis/\(parameters.states)"
        }
    }

    /// Number of streams per chunk. uniform: codes, and the byte planes of scales and biases. lossless: byte planes. trellis: symbols by
    /// class and parity, escapes, and uncompressed extras. trellis with rANS: all symbols, and uncompressed extras.
    func streamCount(_ elementType: ElementType, _ codec: Codec) -> Int {
        switch self {
        case .uniform(let parameters): 1 + elementType.byteWidth * (parameters.symmetric ? 1 : 2)
        case .lossless: elementType.byteWidth
        case .trellis(let parameters): codec == .rans ? 2 : parameters.symbolStreams + 2
        }
    }

    /// A lower bound of the bytes of a chunk.
    func minimumChunkBytes(_ elementType: ElementType, _ codec: Codec) -> Int {
        // In a trellis a stream without symbols is empty, but at least one stream has symbols.
        if case .trellis = self { return codec == .rans ? ContainerFormat.minimumRansBytes : 1 }
        return streamCount(elementType, codec)
    }

    /// Whether a payload of the scheme can have elements of this type: weights in every scheme, code types in scheme `lossless` only.
    func accepts(_ elementType: ElementType) -> Bool {
        elementType.quantizable != nil || self == .lossless && elementType.isCodeType
    }

    /// Whether the scheme allows the codec. rANS needs a trellis with an alphabet of 256 and one row class, since it has its own classes.
    package func accepts(_ codec: Codec) -> Bool {
        guard codec == .rans else { return true }
        guard case .trellis(let parameters) = self else { return false }
        return parameters.alphabet == 256 && parameters.rowClasses == 1
    }
}
