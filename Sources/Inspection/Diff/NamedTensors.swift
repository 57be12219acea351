import Architectures
import TensorModel
import Weights

/// Tensors that are the same in two checkpoints because llama.cpp and Hugging Face have these names for them.
struct NamedTensors {
    /// The tensors; nothing is compared yet.
    private(set) var differences: [TensorDifference] = []
    /// Indices in `differences` by the names of the new tensors.
    private(set) var places: [TensorName: Int] = [:]
    /// Names of the old tensors.
    private(set) var old: Set<TensorName> = []

    /// Matches the tensors of two checkpoints; none if they do not have names of both kinds.
    ///
    /// - Throws: errors of reading.
    init(_ old: OpenedCheckpoint, _ new: OpenedCheckpoint) throws {
        guard case .matched(let found) = try NameCorrespondence.find(new, old) else { return }
        var split: [TensorName: [NameCorrespondence.Match]] = [:]
        var order: [TensorName] = []
        for match in found.matches where match.obstacle == nil {
            if match.parts.count > 1 {
                add(fused: match)
            } else if match.own.shape != match.parts[0].tensor.shape {
                let whole = match.parts[0].tensor.name
                if split[whole] == nil { order.append(whole) }
                split[whole, default: []].append(match)
            } else {
                add(
                    TensorDifference(match.parts[0].tensor, match.own, rename: .names, match.parts[0].arrangement),
                    [match.parts[0].tensor], [match.own])
            }
        }
        for name in order { add(split: split[name] ?? []) }
    }

    private mutating func add(_ difference: TensorDifference, _ old: [StoredWeights], _ new: [StoredWeights]) {
        for tensor in new { places[tensor.name] = differences.count }
        self.old.formUnion(old.map(\.name))
        differences.append(difference)
    }

    /// Adds a new tensor with the matrices of all experts.
    private mutating func add(fused match: NameCorrespondence.Match) {
        let tensors = match.parts.map(\.tensor)
        var row = 0
        let parts = match.parts.enumerated().map { number, part in
            defer { row += part.rows }
            return TensorDifference.Regrouping.Part(
                expert: number, whole: TensorRows(match.own, row: row, rows: part.rows), part: part)
        }
        let several = TensorDifference.Side(tensors, named: [ExpertName(tensors[0].name).pattern], as: match.own)
        add(
            TensorDifference(
                old: several, new: TensorDifference.Side(match.own), .names,
                TensorDifference.Regrouping(direction: .fused, parts: parts)), tensors, [match.own])
    }

    /// Adds the new matrices of all experts of an old tensor, unless some are missing.
    private mutating func add(split matches: [NameCorrespondence.Match]) {
        let sorted = matches.sorted { $0.expert < $1.expert }
        guard let whole = sorted.first?.parts[0].tensor, sorted.count == whole.shape.dimensions[0] else { return }
        let tensors = sorted.map(\.own)
        let parts = sorted.map {
            TensorDifference.Regrouping.Part(expert: $0.expert, whole: $0.parts[0], part: TensorRows($0.own))
        }
        let several = TensorDifference.Side(tensors, named: [ExpertName(tensors[0].name).pattern], as: whole)
        add(
            TensorDifference(
                old: TensorDifference.Side(whole), new: several, .names,
                TensorDifference.Regrouping(direction: .split, parts: parts)), [whole], tensors)
    }
}
