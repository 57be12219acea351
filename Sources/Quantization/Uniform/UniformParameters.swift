/// How an encoder finds scales and biases.
package enum UniformScales: String, Sendable, Hashable, CaseIterable {
    /// A search for the least squared error.
    case searched
    /// The smallest and largest weight of the group, as in MLX; the largest magnitude in symmetric groups.
    case minmax
}

/// The parameters of the uniform scheme.
package struct UniformParameters: Sendable, Hashable {
    /// Bits per code: one of `supportedBits`.
    package let bits: Int
    /// Weights per group, along a row: one of `supportedGroupSizes`. A group shares a scale.
    package let groupSize: Int
    /// Whether a group has a scale only; otherwise it has a scale and a bias.
    package let symmetric: Bool
    /// How an encoder finds scales and biases. Not stored in files, because decoders do not need it.
    package let scales: UniformScales

    /// Valid values of `bits`.
    package static let supportedBits = [2, 3, 4, 5, 6, 8]
    /// Valid values of `groupSize`.
    package static let supportedGroupSizes = [32, 64, 128]
    /// The default: 4 bits, groups of 64, affine, searched.
    package static let standard = UniformParameters(unchecked: 4, 64, false, .searched)

    /// Returns nil if `bits` or `groupSize` is not supported.
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

    /// The smallest supported number of bits that is at least `bits`; 8 for all larger values.
    package static func roundingUp(bits: Int) -> Int { supportedBits.first { $0 >= bits } ?? 8 }

    /// These parameters with `bits` rounded up by `roundingUp(bits:)`.
    package func with(bits: Int) -> UniformParameters {
        UniformParameters(unchecked: UniformParameters.roundingUp(bits: bits), groupSize, symmetric, scales)
    }
}
