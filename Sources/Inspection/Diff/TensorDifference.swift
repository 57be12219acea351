import Container
import Quantization
import TensorModel
import Weights

/// A tensor that is in both checkpoints: with the same name, renamed, or as one tensor here and several there.
package struct TensorDifference: Sendable {
    /// The tensor in the old and in the new checkpoint.
    package let old: Side, new: Side
    /// Evidence that these are the same tensor; nil if the names are the same.
    package let rename: Rename?
    /// How several tensors of experts became one or the other way round; nil if each side is one tensor.
    package let regrouping: Regrouping?
    /// The order in which the old rows are read to compare them with the new ones; nil for that of the tensor.
    let arrangement: RowArrangement?
    /// Whether both are stored in the same form with the same bytes; nil if weights were not read.
    package internal(set) var isSameBytes: Bool?
    /// Comparison of the weights; nil if weights were not read, the bytes are the same, the shapes differ, or the tensor is non-float.
    package internal(set) var weights: ComparedWeights?
    /// Number of different elements of non-float tensors; nil if they were not compared.
    var changedElements: UInt64?

    /// Pairs a tensor of both checkpoints; nothing is compared yet.
    init(_ old: StoredWeights, _ new: StoredWeights, rename: Rename? = nil, _ arrangement: RowArrangement? = nil) {
        (self.old, self.new, self.rename, regrouping) = (Side(old), Side(new), rename, nil)
        self.arrangement = arrangement
    }

    /// Pairs a tensor that holds all experts with the tensors that hold them in the other checkpoint; nothing is compared yet.
    init(old: Side, new: Side, _ evidence: Rename, _ regrouping: Regrouping) {
        (self.old, self.new, rename, self.regrouping, arrangement) = (old, new, evidence, regrouping, nil)
    }

    /// Evidence that a tensor was renamed, fused or split.
    package enum Rename: Sendable, Hashable {
        /// The bytes are the same.
        case sameBytes
        /// The hash of the original is the same: one was encoded from the other, or both from one original.
        case sameOriginal
        /// The relative MSE of samples of the weights is small, and much smaller than that of any other tensor. Of experts it is the largest.
        case similarWeights(sampled: Double)
        /// llama.cpp and Hugging Face have these names for the same tensor.
        case names
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
            && (isSameType || (old.isFloat && new.isFloat))
    }

    /// The side that has several tensors; nil if each side is one tensor.
    package var several: Side? { regrouping.map { $0.direction == .fused ? old : new } }

    /// Index, in the parts, of the part with the largest relative MSE; nil without parts or without an error.
    package var worstPart: Int? {
        guard let parts = weights?.parts, let worst = parts.map(\.relativeMSE).max(), worst > 0 else { return nil }
        return regrouping == nil ? nil : parts.firstIndex { $0.relativeMSE == worst }
    }

    /// What to compare byte by byte: the tensors, or the parts. Nil if they are stored in different forms.
    var bytePairs: [ByteComparison.Pair]? {
        guard arrangement == nil else { return nil }
        guard let regrouping else { return ByteComparison.Pair(old.tensors[0], new.tensors[0]).map { [$0] } }
        let pairs = regrouping.pairs.compactMap { ByteComparison.Pair($0, $1) }
        return pairs.count == regrouping.parts.count ? pairs : nil
    }

    /// What to compare weight by weight. Nil if the shapes differ, or elements are not F16, BF16 or F32.
    var weightPair: TensorComparison.Pair? {
        if let regrouping { return TensorComparison.Pair(regrouping.pairs) }
        guard let arrangement else { return TensorComparison.Pair(old.tensors[0], new.tensors[0]) }
        return TensorComparison.Pair([(TensorRows(old.tensors[0], arrangement), TensorRows(new.tensors[0]))])
    }

    /// Number of elements whose value differs; nil if they were not compared.
    package var changed: UInt64? { isSameBytes == true ? 0 : weights?.changed ?? changedElements }
    /// Whether the element types are the same.
    package var isSameType: Bool { old.elementTypes == new.elementTypes }

    /// Sort key of the most changed tensors: the relative MSE; infinite if a NaN or infinity appeared, vanished or changed; 1 for changed
    /// non-float tensors.
    package var movement: Double {
        guard let weights else { return (changed ?? 0) > 0 ? 1 : 0 }
        return weights.changedNonFinite > 0 ? .infinity : weights.errors.sums.relativeMSE
    }
}
