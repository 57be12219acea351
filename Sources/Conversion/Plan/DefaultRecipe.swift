import Architectures
package import Container
import Quantization
package import TensorModel

/// What happens to one tensor, and why.
package struct TensorChoice: Sendable, Hashable {
    /// The scheme; nil if the tensor is kept as it is.
    package let scheme: TensorScheme?
    /// Bits per weight of this tensor, if a rule of the recipe states them; nil for the rate of the conversion.
    package let ownBits: Double?
    /// The rule that decided, in words: `keep *.gate.weight`, `router`, `embedding or head`, `default`.
    package let rule: String
    /// Whether the tensor gets two bits more, or 1/16 of the relative MSE.
    package let isEmbeddingOrHead: Bool
    /// Whether a rule of the recipe decided.
    let isByRecipe: Bool

    fileprivate init(
        _ scheme: TensorScheme?, ownBits: Double? = nil, isEmbeddingOrHead: Bool = false, rule: String,
        isByRecipe: Bool = false
    ) {
        self.isByRecipe = isByRecipe
        self.scheme = scheme
        self.ownBits = ownBits
        self.rule = rule
        self.isEmbeddingOrHead = isEmbeddingOrHead
    }

    /// The bits per weight of the tensor if `asked` are asked for: its own ones, or more for embeddings and heads.
    func bits(_ asked: Double) -> Double {
        ownBits ?? (isEmbeddingOrHead ? DefaultRecipe.bitsOfEmbeddings(asked) : asked)
    }

    /// The rule that decided about a tensor that is kept.
    var ruleOfKept: String { scheme == nil ? rule : "no scheme is smaller" }
}

/// The scheme and the bits of each tensor, by the recipe of the options, and otherwise by its name and shape.
package enum DefaultRecipe {
    /// The bits per weight of embeddings and heads if `asked` are asked for: two more, at most 8.
    package static func bitsOfEmbeddings(_ asked: Double) -> Double { min(8, asked + 2) }

    /// A kept tensor as a member of the JSON of plans and reports (Specs/json.md, `kept`).
    static func json(kept name: TensorName, bytes: UInt64, rule: String) -> JSONValue {
        .object([
            .init("name", .string(name.text)), .init("bytes", .unsigned(bytes)), .init("rule", .string(rule)),
        ])
    }

    /// What happens to a tensor.
    ///
    /// A matrix has rank 2 or more. Kept without a rule: what is no floating-point matrix, and unless `options.scheme` is `lossless`, matrices
    /// of one column, routers, position and token-type embeddings, biases, scales, and the matrices of LoRA adapters.
    package static func choice(
        _ name: TensorName, _ elementType: ElementType, _ shape: Shape, _ options: EncodingOptions
    ) -> TensorChoice {
        let rule = options.recipe.rule(for: name)
        if let rule, rule.action == .keep { return TensorChoice(nil, rule: rule.text, isByRecipe: true) }
        guard elementType.quantizable != nil else { return TensorChoice(nil, rule: "not F32, F16 or BF16") }
        guard shape.isMatrix else { return TensorChoice(nil, rule: "vector") }
        if let rule, case .encode(let scheme, let bits) = rule.action {
            let scheme = scheme ?? options.scheme
            guard scheme == .lossless || shape.columns > 1 else { return TensorChoice(nil, rule: "one column") }
            let isEmbeddingOrHead = bits == nil && TensorRole.isEmbeddingOrHead(name)
            return TensorChoice(
                encoding(scheme, bits: bits, isEmbeddingOrHead: isEmbeddingOrHead, options), ownBits: bits,
                isEmbeddingOrHead: isEmbeddingOrHead, rule: rule.text, isByRecipe: true)
        }
        if options.scheme == .lossless { return TensorChoice(.lossless, rule: "default") }
        // A matrix of one column is a vector: groups along rows and strips of columns do not suit it.
        guard shape.columns > 1 else { return TensorChoice(nil, rule: "one column") }
        if let reason = TensorRole.reasonToKeep(name) { return TensorChoice(nil, rule: reason) }
        let isEmbeddingOrHead = TensorRole.isEmbeddingOrHead(name)
        return TensorChoice(
            encoding(options.scheme, bits: nil, isEmbeddingOrHead: isEmbeddingOrHead, options),
            isEmbeddingOrHead: isEmbeddingOrHead, rule: isEmbeddingOrHead ? "embedding or head" : "default")
    }

    /// The scheme with its parameters.
    private static func encoding(
        _ scheme: EncodingOptions.Scheme, bits: Double?, isEmbeddingOrHead: Bool, _ options: EncodingOptions
    ) -> TensorScheme? {
        switch scheme {
        case .lossless: return .lossless
        case .trellis:
            return TrellisParameters(states: options.states, alphabet: options.codec == .rans ? 256 : 16).map {
                .trellis($0)
            }
        case .uniform:
            if let bits {
                return .uniform(
                    options.parameters.with(bits: UniformParameters.roundingUp(bits: Int(bits.rounded(.up)))))
            }
            guard isEmbeddingOrHead else { return .uniform(options.parameters) }
            return .uniform(options.parameters.with(bits: min(8, options.parameters.bits + 2)))
        }
    }
}
