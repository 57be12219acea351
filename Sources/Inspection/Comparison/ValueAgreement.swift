package import Quantization

/// How the values of a tensor compare with those of the tensor of the same name in another checkpoint.
package enum ValueAgreement: Sendable, Hashable {
    /// Every value is the same.
    case equal
    /// Values differ.
    case different(ValueDifferences)
    /// The tensors cannot be compared; why, such as `the shape 4x8, in the source 8x4`.
    case incomparable(String)

    /// The agreement of tensors with these differences.
    package init(_ differences: ValueDifferences) { self = differences.count == 0 ? .equal : .different(differences) }
}
