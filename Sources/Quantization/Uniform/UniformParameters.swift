/// The choices of the uniform scheme.
public struct UniformParameters: Sendable, Hashable {
    /// Bits a code: one of `supportedBits`.
    public let bits: Int
    /// Weights that share a scale, along a row: one of `supportedGroupSizes`.
    public let groupSize: Int
    /// Whether a group has a scale alone, instead of scale and bias.
    public let symmetric: Bool

    /// The widths there are.
    public static let supportedBits = [2, 3, 4, 5, 6, 8]
    /// The group sizes there are.
    public static let supportedGroupSizes = [32, 64, 128]
    /// 4 bits, groups of 64, affine.
    public static let standard = UniformParameters(unchecked: 4, 64, false)

    /// The given choices, or nil where one of them is not supported.
    public init?(bits: Int, groupSize: Int, symmetric: Bool) {
        guard
            UniformParameters.supportedBits.contains(bits),
            UniformParameters.supportedGroupSizes.contains(groupSize)
        else { return nil }
        self.init(unchecked: bits, groupSize, symmetric)
    }

    private init(unchecked bits: Int, _ groupSize: Int, _ symmetric: Bool) {
        self.bits = bits
        self.groupSize = groupSize
        self.symmetric = symmetric
    }

    /// The smallest supported width of at least `bits`; 8 for anything above.
    public static func roundingUp(bits: Int) -> Int { supportedBits.first { $0 >= bits } ?? 8 }

    /// The same parameters with `roundingUp(bits:)`.
    public func with(bits: Int) -> UniformParameters {
        UniformParameters(unchecked: UniformParameters.roundingUp(bits: bits), groupSize, symmetric)
    }
}
