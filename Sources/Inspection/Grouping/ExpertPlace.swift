import Container
package import TensorModel
package import Weights

/// What a tensor has of the experts of a mixture-of-experts layer, as far as its name and shape tell.
package enum ExpertPlace: Sendable, Hashable {
    /// Nothing, or nothing that could be told apart.
    case none
    /// The weights of one expert, by its number: `experts.3.w1.weight`, `ffn_gate.3.weight`.
    case one(Int)
    /// Weights of all experts of a layer, one slice of the first dimension per expert: `experts.gate_up_proj`, `ffn_gate_exps.weight`.
    case slices(Int)

    /// The largest number of slices.
    private static let maximumSlices = 4096
    /// Parts of chunks of a tensor with few chunks at most.
    private static let maximumParts = 4096

    /// The place of a tensor.
    package init(_ tensor: StoredWeights) {
        let place = ExpertPlace(name: tensor.name, shape: tensor.shape)
        guard case .slices(let count) = place, let grid = tensor.payload?.payload.prologue.grid else {
            self = place
            return
        }
        // A chunk is decoded once for each slice that it has a part of. Very flat slices would cost too much.
        let bands = grid.count / max(1, grid.chunksPerBand)
        let parts = (bands + count) * grid.chunksPerBand
        self = parts <= 8 * grid.count + ExpertPlace.maximumParts ? place : .none
    }

    /// The place that a name and a shape tell.
    package init(name: TensorName, shape: Shape) {
        let parts = name.text.utf8.split(separator: UInt8(ascii: ".")).map { String(Substring($0)) }
        func number(_ index: Int) -> Int? {
            guard parts.indices.contains(index), parts[index].utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
                return nil
            }
            return Int(parts[index])
        }
        let isShared = parts.contains { $0.hasPrefix("shared_expert") }
        let experts = parts.firstIndex { $0 == "experts" || $0.hasSuffix("_experts") }
        self = .none
        guard !isShared else { return }
        if let experts, let expert = number(experts + 1) {
            self = .one(expert)
        } else if parts.count > 3, parts.last == "weight", parts[parts.count - 3].hasPrefix("ffn_"),
            let expert = number(parts.count - 2)
        {
            self = .one(expert)
        } else if experts != nil || parts.contains(where: { $0.hasSuffix("_exps") }) {
            let dimensions = shape.dimensions
            if dimensions.count == 3, shape.elementCount > 0, dimensions[0] <= ExpertPlace.maximumSlices {
                self = .slices(dimensions[0])
            }
        }
    }

    /// Number of slices; nil if the tensor has none.
    var slices: Int? {
        guard case .slices(let count) = self else { return nil }
        return count
    }
}
