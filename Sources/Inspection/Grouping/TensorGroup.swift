import Architectures
package import TensorModel
import Weights

/// Tensors of one layer, one expert or one kind, and their common figures.
package struct TensorGroup: Sendable {
    /// Property that the tensors of a group share.
    package enum Key: String, Sendable, Hashable, CaseIterable {
        /// Number of the layer.
        case layer
        /// Kind of tensor (`TensorRole.Kind`).
        case kind
        /// Numbers of the layer and of the expert in it (`ExpertPlace`). A slice counts as a tensor.
        case expert
    }

    /// Name of the group: a kind, `layer 3`, `layer 3, expert 7`, or `outside of layers` or of experts.
    package let name: TensorName
    /// Figures of all tensors of the group.
    package let figures: TensorFigures

    /// Groups tensors. Kinds come in the order of `TensorRole.Kind`; layers and experts in order of their numbers, after the group outside of
    /// layers or experts.
    package static func groups(of tensors: [CheckpointReport.Tensor], by key: Key) -> [TensorGroup] {
        if key == .expert { return experts(of: tensors) }
        var figures: [Int: TensorFigures] = [:]
        let kinds = TensorRole.Kind.allCases
        for tensor in tensors {
            let place =
                key == .layer ? tensor.role.layer ?? -1 : kinds.firstIndex(of: tensor.role.kind) ?? 0
            figures[place, default: TensorFigures()].add(TensorFigures(tensor, ofGroup: true))
        }
        return figures.sorted { $0.key < $1.key }.map { place, figures in
            let layer = place < 0 ? "outside of layers" : "layer \(place)"
            let name = key == .layer ? layer : kinds[place].rawValue
            return TensorGroup(name: TensorName(name), figures: figures)
        }
    }

    /// Groups tensors and slices by layer and expert.
    private static func experts(of tensors: [CheckpointReport.Tensor]) -> [TensorGroup] {
        /// Numbers of layer and expert, -1 outside.
        struct Place: Hashable, Comparable {
            let layer: Int, expert: Int

            static func < (a: Place, b: Place) -> Bool { (a.layer, a.expert) < (b.layer, b.expert) }
        }
        var figures: [Place: TensorFigures] = [:]
        for tensor in tensors {
            let layer = tensor.role.layer ?? -1
            switch ExpertPlace(tensor.stored) {
            case .none:
                figures[Place(layer: -1, expert: -1), default: TensorFigures()].add(
                    TensorFigures(tensor, ofGroup: true))
            case .one(let expert):
                figures[Place(layer: layer, expert: expert), default: TensorFigures()].add(
                    TensorFigures(tensor, ofGroup: true))
            case .slices(let count):
                for slice in 0..<count {
                    figures[Place(layer: layer, expert: slice), default: TensorFigures()].add(
                        TensorFigures(slice: slice, of: count, in: tensor))
                }
            }
        }
        return figures.sorted { $0.key < $1.key }.map { place, figures in
            let expert = place.expert < 0 ? "outside of experts" : "expert \(place.expert)"
            return TensorGroup(
                name: TensorName(place.layer < 0 ? expert : "layer \(place.layer), \(expert)"), figures: figures)
        }
    }

    /// Sorts groups by `key` and keeps the first `maximum`, or all if `maximum` is nil.
    package static func ordered(_ groups: [TensorGroup], by key: TensorOrder, top maximum: Int?) -> [TensorGroup] {
        key.ordered(groups, top: maximum) { $0.figures }
    }
}
