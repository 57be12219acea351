import TensorModel
import Weights

/// Which tensors of a checkpoint are compared with which rows of the source.
struct TensorMatching: Sendable {
    /// Why a tensor is not compared.
    struct Obstacle: Sendable {
        /// What was found and what was expected, for an error.
        let found: String, expected: String?
        /// Both in one sentence.
        let sentence: String
    }

    /// How names were matched.
    let names: VerificationReport.Names?
    /// The tensors that are compared, in the order of the checkpoint's files.
    private(set) var pairs: [ValueComparison.Pair] = []
    /// Those that are not, in the same order.
    private(set) var obstacles: [(own: StoredWeights, obstacle: Obstacle)] = []
    /// Tensors of the source that the checkpoint lacks.
    let missing: [StoredWeights]
    /// Output matrices of the source that stand for the embedding of the checkpoint.
    let outputs: [(name: TensorName, pair: ValueComparison.Pair)]
    /// Tensors that only one of both stores for a good reason.
    let apart: [NameCorrespondence.Apart]

    /// Matches the tensors of two checkpoints.
    ///
    /// - Throws: errors of reading.
    init(_ checkpoint: OpenedCheckpoint, _ source: OpenedCheckpoint) throws {
        switch try NameCorrespondence.find(checkpoint, source) {
        case .matched(let found):
            names = .matched(checkpoint: found.names)
            missing = found.missing
            outputs = found.outputs.map { ($0.parts[0].tensor.name, ValueComparison.Pair($0)) }
            apart = found.apart
            let matches = Dictionary(found.matches.map { ($0.own.name, $0) }, uniquingKeysWith: { first, _ in first })
            let isApart = Set(apart.lazy.filter(\.isOwn).map(\.tensor.name))
            for own in checkpoint.tensors where !isApart.contains(own.name) {
                guard let match = matches[own.name] else {
                    add(own, found: PlainVerification.addedTensor)
                    continue
                }
                if let obstacle = match.obstacle { add(own, found: obstacle) } else { pairs.append(.init(match)) }
            }
        case let finding:
            if case .unknown(let reason) = finding { names = .unmatched(reason) } else { names = nil }
            (outputs, apart) = ([], [])
            let own = Set(checkpoint.tensors.map(\.name))
            missing = source.tensors.filter { !own.contains($0.name) }
            let originals = Dictionary(source.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            for own in checkpoint.tensors {
                guard let original = originals[own.name] else {
                    add(own, found: PlainVerification.addedTensor)
                    continue
                }
                guard own.shape == original.shape else {
                    let obstacle = Obstacle(
                        found: "the shape \(own.shape)", expected: "\(original.shape), as in the source",
                        sentence: "the shape \(own.shape), in the source \(original.shape)")
                    obstacles.append((own, obstacle))
                    continue
                }
                pairs.append(.init(own, original))
            }
        }
    }

    private mutating func add(_ own: StoredWeights, found: String) {
        obstacles.append((own, Obstacle(found: found, expected: nil, sentence: found)))
    }
}

extension ValueComparison.Pair {
    /// The pair of a match.
    init(_ match: NameCorrespondence.Match) { self.init(match.own, match.parts) }
}
