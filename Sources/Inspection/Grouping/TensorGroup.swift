import Architectures
package import TensorModel
import Weights

/// Tensors of one layer or one kind, and their common figures.
package struct TensorGroup: Sendable {
    /// Property that the tensors of a group share.
    package enum Key: String, Sendable, Hashable, CaseIterable {
        /// Number of the layer.
        case layer
        /// Kind of tensor (`TensorRole.Kind`).
        case kind
    }

    /// Name of the group: a kind, `layer 3`, or `outside of layers`.
    package let name: TensorName
    /// Figures of all tensors of the group.
    package let figures: TensorFigures

    /// Groups tensors. Kinds come in the order of `TensorRole.Kind`; layers in order of their numbers, after the group outside of layers.
    package static func groups(of tensors: [CheckpointReport.Tensor], by key: Key) -> [TensorGroup] {
        var figures: [Int: TensorFigures] = [:]
        let kinds = TensorRole.Kind.allCases
        for tensor in tensors {
            let place =
                switch key {
                case .layer: tensor.role.layer ?? -1
                case .kind: kinds.firstIndex(of: tensor.role.kind) ?? 0
                }
            figures[place, default: TensorFigures()].add(TensorFigures(tensor, ofGroup: true))
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

    /// Sorts groups by `key` and keeps the first `maximum`, or all if `maximum` is nil.
    package static func ordered(_ groups: [TensorGroup], by key: TensorOrder, top maximum: Int?) -> [TensorGroup] {
        key.ordered(groups, top: maximum) { $0.figures }
    }
}
