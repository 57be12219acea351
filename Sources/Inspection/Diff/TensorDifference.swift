import Container
import Quantization
import TensorModel
package import Weights

/// A tensor that is in both checkpoints, with the same name or renamed.
package struct TensorDifference: Sendable {
    /// The tensor in the old and in the new checkpoint.
    package let old: StoredWeights, new: StoredWeights
    /// Evidence that the tensor was renamed; nil if the names are the same.
    package let rename: Rename?
    /// Whether both are stored in the same form with the same bytes; nil if weights were not read.
    package internal(set) var isSameBytes: Bool?
    /// Comparison of the weights; nil if weights were not read, the bytes are the same, the shapes differ, or the tensor is non-float.
    package internal(set) var weights: ComparedWeights?
    /// Number of different elements of non-float tensors; nil if they were not compared.
    var changedElements: UInt64?

    /// Pairs a tensor of both checkpoints; nothing is compared yet.
    init(_ old: StoredWeights, _ new: StoredWeights, rename: Rename? = nil) {
        (self.old, self.new, self.rename) = (old, new, rename)
    }

    /// Evidence that a tensor was renamed.
    package enum Rename: Sendable, Hashable {
        /// The bytes are the same.
        case sameBytes
        /// The hash of the original is the same: one was encoded from the other, or both from one original.
        case sameOriginal
        /// The relative MSE of samples of the weights is small, and much smaller than that of any other tensor.
        case similarWeights(sampled: Double)
    }

    /// Result of a comparison.
    package enum Status: String, Sendable, Hashable, CaseIterable {
        /// The same bytes.
        case same
        /// Other bytes, the same weights.
        case recoded
        /// Other weights.
        case changed
        /// Another shape.
        case reshaped
        /// Another element type, and one of the two is not F16, BF16 or F32: not compared.
        case retyped
        /// Weights were not read.
        case unread
    }

    /// Result of the comparison.
    package var status: Status {
        if old.shape != new.shape { return .reshaped }
        if isComparable == false { return .retyped }
        guard let changed else { return .unread }
        return changed > 0 ? .changed : isSameBytes == true ? .same : .recoded
    }

    /// Whether the elements can be compared: same shape, and either the same element type or floating-point types in both.
    var isComparable: Bool {
        old.shape == new.shape
            && (old.elementType == new.elementType || (old.format != nil && new.format != nil))
    }

    /// Number of elements whose value differs; nil if they were not compared.
    package var changed: UInt64? { isSameBytes == true ? 0 : weights?.changed ?? changedElements }
    /// Whether the element types are the same.
    package var isSameType: Bool { old.elementType == new.elementType }

    /// Sort key of the most changed tensors: the relative MSE; infinite if a NaN or infinity appeared, vanished or changed; 1 for changed
    /// non-float tensors.
    package var movement: Double {
        guard let weights else { return (changed ?? 0) > 0 ? 1 : 0 }
        return weights.changedNonFinite > 0 ? .infinity : weights.errors.sums.relativeMSE
    }
}
