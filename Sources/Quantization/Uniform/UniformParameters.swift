/// Where scales and biases come from.
package enum UniformScales: String, Sendable, Hashable, CaseIterable {
    /// Those of the least error that a search finds.
    case searched
    /// The group's least and greatest weight, as MLX has it; of symmetric groups the greatest magnitude.
    case minmax
}

/// The choices of the uniform scheme.
package struct UniformParameters: Sendable, Hashable {
    /// Bits a code: one of `supportedBits`.
    package let bits: Int
    /// Weights that share a scale, along a row: one of `supportedGroupSizes`.
    package let groupSize: Int
    /// Whether a group has a scale alone, instead of scale and bias.
    package let symmetric: Bool
    /// How an encoder finds scales and biases. Decoders need not know: files do not tell.
    package let scales: UniformScales

    /// The widths there are.
    package static let supportedBits = [2, 3, 4, 5, 6, 8]
    /// The group sizes there are.
    package static let supportedGroupSizes = [32, 64, 128]
    /// 4 bits, groups of 64, affine.
    package static let standard = UniformParameters(unchecked: 4, 64, false, .searched)

    /// The given choices, or nil where one of them is not supported.
    package init?(bits: Int, groupSize: Int, symmetric: Bool, scales: UniformScales = .searched) {
        guard
            UniformParameters.supportedBits.contains(bits),
            UniformParameters.supportedGroupSizes.contains(groupSize)
        else { return nil }
        self.init(unchecked: bits, groupSize, symmetric, scales)
    }

    private init(unchecked bits: Int, _ groupSize: Int, _ symmetric: Bool, _ scales: UniformScales) {
        self.bits = bits
        self.groupSize = groupSize
        self.symmetric = symmetric
        self.scales = scales
    }

    /// The smallest supported width of at least `bits`; 8 for anything above.
    package static func roundingUp(bits: Int) -> Int { supportedBits.first { $0 >= bits } ?? 8 }

    /// The same parameters with `roundingUp(bits:)`.
    package func with(bits: Int) -> UniformParameters {
        UniformParameters(unchecked: UniformParameters.roundingUp(bits: bits), groupSize, symmetric, scales)
    }
}
