import Architectures
import Container
import Quantization
import TensorModel

/// Which scheme each tensor gets.
package enum DefaultRecipe {
    /// Whether a tensor is the weight of an embedding or of an output head. They get two bits more: an error there meets every token.
    static func isEmbeddingOrHead(_ name: TensorName) -> Bool { TensorRole.isEmbeddingOrHead(name) }

    /// The bits of a tensor where so many are asked for: embeddings and heads get two more, at most 8.
    static func bits(_ asked: Double, isEmbeddingOrHead: Bool) -> Double {
        isEmbeddingOrHead ? min(8, asked + 2) : asked
    }

    /// The scheme of a tensor, or nil for one that is kept as it is: rank below 2, or not floating point.
    static func scheme(
        _ name: TensorName, _ elementType: ElementType, _ shape: Shape, _ options: EncodingOptions
    ) -> TensorScheme? {
        guard elementType.quantizable != nil, shape.isMatrix else { return nil }
        if options.scheme == .lossless { return .lossless }
        // A column is a vector: neither groups along rows nor strips of columns suit it.
        guard shape.columns > 1 else { return nil }
        switch options.scheme {
        case .lossless: return .lossless
        case .trellis:
            return TrellisParameters(states: options.states, alphabet: options.codec == .rans ? 256 : 16).map {
                .trellis($0)
            }
        case .uniform:
            guard isEmbeddingOrHead(name) else { return .uniform(options.parameters) }
            return .uniform(options.parameters.with(bits: min(8, options.parameters.bits + 2)))
        }
    }
}
