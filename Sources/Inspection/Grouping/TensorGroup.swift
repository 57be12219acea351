import Architectures
package import TensorModel
import Weights

/// Tensors that belong together, and the figures of all of them.
package struct TensorGroup: Sendable {
    /// What puts tensors together.
    package enum Key: String, Sendable, Hashable, CaseIterable {
        /// The layer.
        case layer
        /// The kind.
        case kind
    }

    /// What the group is called: a kind, `layer 3`, or `outside of layers`.
    package let name: TensorName
    /// The figures of all its tensors.
    package let figures: TensorFigures

    /// The groups of tensors: kinds in the order data meets them, layers in theirs, behind what is outside of them.
    package static func groups(of tensors: [CheckpointReport.Tensor], by key: Key) -> [TensorGroup] {
        var figures: [Int: TensorFigures] = [:]
        let kinds = TensorRole.Kind.allCases
        for tensor in tensors {
            let place =
                switch key {
                case .layer: tensor.role.layer ?? -1
                case .kind: kinds.firstIndex(of: tensor.role.kind) ?? 0
                }
            figures[place, default: TensorFigures()].add(TensorFigures(tensor))
        }
        return figures.sorted { $0.key < $1.key }.map { place, figures in
            let name =
                switch key {
                case .layer: place < 0 ? "outside of layers" : "layer \(place)"
                case .kind: kinds[place].rawValue
                }
            return TensorGroup(name: TensorName(name), figures: figures)
        }
    }

    /// The groups in another order; the `most` first of them, or all.
    package static func ordered(_ groups: [TensorGroup], by key: TensorOrder, top most: Int?) -> [TensorGroup] {
        key.ordered(groups, top: most) { $0.figures }
    }
}
