import Architectures
import Checkpoints
import Container
import TensorModel
import Weights

/// A matrix that each expert of a layer has, such as the up projection: in a tensor per expert, or in one tensor of rank 3.
struct ExpertMatrix: Sendable {
    /// What a matrix shares with the tensors it may be a part of, or made of.
    struct Key: Sendable, Hashable {
        /// The numbers in the name but the expert's: usually the layer.
        let numbers: [Int]
        /// Number of experts, and of columns.
        let experts: Int, columns: Int
    }

    /// Most experts. Each takes memory while matrices are compared.
    private static let maximumExperts = 1 << 16

    /// What it shares with others.
    let key: Key
    /// Name of the tensor, or of the experts' tensors with `*` in place of the number.
    let name: TensorName
    /// Kind of the tensors.
    let kind: TensorRole.Kind
    /// Rows of each expert.
    let rows: Int
    /// The tensor of rank 3; or the tensor of each expert, in order.
    let tensors: [StoredWeights]

    /// Whether all experts are in one tensor.
    let isFused: Bool

    /// Rows `rows` of an expert's matrix.
    func rows(_ rows: Range<Int>, of expert: Int) -> TensorRows {
        TensorRows(
            tensors[isFused ? 0 : expert], row: (isFused ? expert * self.rows : 0) + rows.lowerBound, rows: rows.count)
    }

    /// Sees a tensor of rank 3 as the matrices of as many experts as its first dimension says. Nil for other tensors, and if it has no
    /// weights.
    init?(fused tensor: StoredWeights) {
        let dimensions = tensor.shape.dimensions
        guard dimensions.count == 3, tensor.shape.elementCount > 0, dimensions[0] <= ExpertMatrix.maximumExperts else {
            return nil
        }
        key = Key(numbers: ExpertName(tensor.name).numbers, experts: dimensions[0], columns: dimensions[2])
        (name, kind, rows, tensors, isFused) = (tensor.name, tensor.role.kind, dimensions[1], [tensor], true)
    }

    /// Takes the tensors of single experts together. Nil unless they are matrices of one shape, one for each expert from 0 on.
    private init?(_ experts: [(name: ExpertName, tensor: StoredWeights)]) {
        let sorted = experts.sorted { ($0.name.expert ?? 0) < ($1.name.expert ?? 0) }
        guard let (name, first) = sorted.first, first.shape.dimensions.count == 2, first.shape.elementCount > 0,
            sorted.count <= ExpertMatrix.maximumExperts,
            sorted.enumerated().allSatisfy({ $1.name.expert == $0 && $1.tensor.shape == first.shape })
        else { return nil }
        key = Key(numbers: name.numbers, experts: sorted.count, columns: first.shape.columns)
        (self.name, kind, rows) = (name.pattern, first.role.kind, first.shape.rows)
        (tensors, isFused) = (sorted.map(\.tensor), false)
    }

    /// The matrices that have a tensor per expert, in the order of their first tensors.
    static func split(_ tensors: [StoredWeights]) -> [ExpertMatrix] {
        var order: [TensorName] = []
        var groups: [TensorName: [(name: ExpertName, tensor: StoredWeights)]] = [:]
        for tensor in tensors where tensor.shape.dimensions.count == 2 {
            let name = ExpertName(tensor.name)
            guard name.expert != nil else { continue }
            if groups[name.pattern] == nil { order.append(name.pattern) }
            groups[name.pattern, default: []].append((name, tensor))
        }
        return order.compactMap { ExpertMatrix(groups[$0] ?? []) }
    }
}
