import Container
import Quantization
import TensorModel
package import Weights

/// A tensor that two checkpoints have, under one name or two.
package struct TensorDifference: Sendable {
    /// The tensor before and after.
    package let old: StoredWeights, new: StoredWeights
    /// Why the two are taken for the same tensor; nil where their names say so.
    package let rename: Rename?
    /// Whether both are stored in the same bytes in the same form; nil where no weights were read.
    package internal(set) var isSameBytes: Bool?
    /// The weights, where they were compared: not of the same bytes, of different shapes, or of what is no floating-point number.
    package internal(set) var weights: ComparedWeights?
    /// Elements that differ where those are no floating-point numbers; nil where they were not compared.
    var changedElements: UInt64?

    init(_ old: StoredWeights, _ new: StoredWeights, rename: Rename? = nil) {
        (self.old, self.new, self.rename) = (old, new, rename)
    }

    /// What shows that a tensor was renamed.
    package enum Rename: Sendable, Hashable {
        /// Both are the same bytes.
        case sameBytes
        /// One was encoded from the other, or both from one: the hash of the original is the same.
        case sameOriginal
        /// Samples of the weights differ by so large a relative mean squared error, and no other tensor comes near it.
        case similarWeights(sampled: Double)
    }

    /// What became of it.
    package enum Status: String, Sendable, Hashable, CaseIterable {
        /// The same bytes.
        case same
        /// Other bytes, the same weights.
        case recoded
        /// Other weights.
        case changed
        /// Another shape.
        case reshaped
        /// Another element type, one of which is no floating-point number of 16 or 32 bits: not compared.
        case retyped
        /// Weights were not read.
        case unread
    }

    /// What became of it.
    package var status: Status {
        if old.shape != new.shape { return .reshaped }
        if isComparable == false { return .retyped }
        guard let changed else { return .unread }
        return changed > 0 ? .changed : isSameBytes == true ? .same : .recoded
    }

    /// Whether shapes are the same, and elements too or numbers in both.
    var isComparable: Bool {
        old.shape == new.shape
            && (old.elementType == new.elementType || (old.format != nil && new.format != nil))
    }

    /// Elements whose value is another; nil where they were not compared.
    package var changed: UInt64? { isSameBytes == true ? 0 : weights?.changed ?? changedElements }
    /// Whether the same element type is meant.
    package var isSameType: Bool { old.elementType == new.elementType }

    /// How much changed, for the order of those that changed most: the relative mean squared error; infinite where NaN or
    /// infinity came or went.
    package var movement: Double {
        guard let weights else { return (changed ?? 0) > 0 ? 1 : 0 }
        return weights.changedNonFinite > 0 ? .infinity : weights.errors.sums.relativeMSE
    }
}
