package import Quantization
package import TensorModel

/// Whether every weight of a checkpoint equals that of another checkpoint exactly.
package struct ValueExactness: Sendable {
    /// A tensor of one of both checkpoints.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// Number of its elements.
        package let elements: Int
        /// How its values compare.
        package let agreement: ValueAgreement

        /// Makes a tensor.
        package init(_ name: TensorName, elements: Int, _ agreement: ValueAgreement) {
            (self.name, self.elements, self.agreement) = (name, elements, agreement)
        }

        /// The difference as a sentence, such as `a.weight row 3, column 17: 0.125 against 0.25`; nil for equal tensors.
        package var sentence: String? {
            switch agreement {
            case .equal: nil
            case .incomparable(let reason): "\(name.text): \(reason)"
            case .different(let found):
                if let first = found.first {
                    "\(name.text) row \(first.row), column \(first.column): "
                        + (first.value.flatMap { own in first.reference.map { "\(own.text) against \($0.text)" } }
                            ?? "other bits")
                } else {
                    "\(name.text): other values"
                }
            }
        }
    }

    /// The tensors of the checkpoint in the order of its files, then those that only the other one has.
    package let tensors: [Tensor]
    /// The first tensor that is not equal; nil if all are.
    package let first: Tensor?
    /// Number of weights that were compared, and of those that differ.
    package let weights: UInt64, differing: UInt64
    /// Number of tensors that are not equal, and of those among them that could not be compared.
    package let unequal: Int, incomparable: Int

    /// Adds up what was found about each tensor.
    package init(_ tensors: [Tensor]) {
        self.tensors = tensors
        var (first, weights, differing, unequal, incomparable) = (Tensor?.none, UInt64(0), UInt64(0), 0, 0)
        for tensor in tensors {
            switch tensor.agreement {
            case .equal: weights += UInt64(tensor.elements)
            case .different(let found):
                weights += UInt64(tensor.elements)
                differing += found.count
                unequal += 1
            case .incomparable:
                unequal += 1
                incomparable += 1
            }
            if first == nil, tensor.agreement != .equal { first = tensor }
        }
        self.first = first
        (self.weights, self.differing, self.unequal, self.incomparable) = (weights, differing, unequal, incomparable)
    }

    /// Whether all values are equal; nil if there is no weight and no difference.
    package var isExact: Bool? { first == nil ? weights == 0 ? nil : true : false }

    /// The result as a sentence. A result that is not exact names the first counter-example, and counts the others.
    package var sentence: String {
        guard let first, let found = first.sentence else {
            guard weights > 0 else { return "not value-exact: there is no weight to compare" }
            let tensors =
                "\(ValueExactness.grouped(UInt64(tensors.count))) \(tensors.count == 1 ? "tensor" : "tensors")"
            return weights == 1
                ? "value-exact: the only weight of \(tensors) is equal"
                : "value-exact: all \(ValueExactness.grouped(weights)) weights of \(tensors) are equal"
        }
        let isWeight = if case .different = first.agreement { true } else { false }
        let weights = differing - (isWeight ? 1 : 0)
        let others = incomparable - (isWeight ? 0 : 1)
        let more = [
            weights > 0
                ? "\(ValueExactness.grouped(weights)) \(isWeight ? "more " : "")\(weights == 1 ? "weight differs" : "weights differ")"
                : nil,
            others > 0
                ? "\(ValueExactness.grouped(UInt64(others))) \(isWeight ? "" : "more ")\(others == 1 ? "tensor has" : "tensors have") no counterpart"
                : nil,
        ].compactMap { $0 }
        return "not value-exact: \(found)" + (more.isEmpty ? "" : " (and \(more.joined(separator: "; ")))")
    }

    /// A count with a comma before each group of three digits.
    private static func grouped(_ count: UInt64) -> String {
        let digits = String(count)
        return digits.enumerated().reduce(into: "") { text, digit in
            if digit.offset > 0, (digits.count - digit.offset).isMultiple(of: 3) { text += "," }
            text.append(digit.element)
        }
    }
}

// MARK: - JSON

extension Optional where Wrapped == ValueExactness {
    /// Members of `ingot.verify`: `value_exact`, `first_difference`, `differing_weights`, `unequal_tensors`; null without a comparison.
    var json: [JSONValue.Member] {
        [
            .init("value_exact", self?.isExact.map(JSONValue.bool) ?? .null),
            .init("first_difference", self?.first?.json ?? .null),
            .init("differing_weights", self.map { .unsigned($0.differing) } ?? .null),
            .init("unequal_tensors", self.map { .unsigned(UInt64($0.unequal)) } ?? .null),
        ]
    }
}

extension ValueExactness.Tensor {
    /// The first difference as an object: `tensor`, `row`, `column`, `value`, `reference`, `found`.
    fileprivate var json: JSONValue {
        var first: ValueDifferences.Weight?
        if case .different(let found) = agreement { first = found.first }
        func index(_ value: Int?) -> JSONValue { value.map { .unsigned(UInt64($0)) } ?? .null }
        return .object([
            .init("tensor", .string(name.text)), .init("row", index(first?.row)),
            .init("column", index(first?.column)), .init("value", first?.value?.json ?? .null),
            .init("reference", first?.reference?.json ?? .null),
            .init("found", sentence.map(JSONValue.string) ?? .null),
        ])
    }
}
