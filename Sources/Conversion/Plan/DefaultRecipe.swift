import Architectures
import Container
import Quantization
import TensorModel

/// The scheme and the bits of each tensor, by its name and shape.
package enum DefaultRecipe {
    /// Whether a tensor is the weight of an embedding or of an output head. They get two bits more, because an error there affects every
    /// token.
    static func isEmbeddingOrHead(_ name: TensorName) -> Bool { TensorRole.isEmbeddingOrHead(name) }

    /// The bits per weight of a tensor if `asked` are asked for: embeddings and heads get two more, at most 8.
    static func bits(_ asked: Double, isEmbeddingOrHead: Bool) -> Double {
        isEmbeddingOrHead ? min(8, asked + 2) : asked
    }

    /// The scheme of a tensor; nil if it is kept.
    ///
    /// Tensors of rank 0 and 1 and tensors that are not floating point are kept. Matrices of one column are, too, unless
    /// `options.scheme` is `lossless`.
    static func scheme(
        _ name: TensorName, _ elementType: ElementType, _ shape: Shape, _ options: EncodingOptions
    ) -> TensorScheme? {
        guard elementType.quantizable != nil, shape.isMatrix else { return nil }
        if options.scheme == .lossless { return .lossless }
        // A matrix of one column is a vector: groups along rows and strips of columns do not suit it.
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
