import Architectures
import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// Finds tensors of experts that the other checkpoint holds in one tensor of rank 3.
///
/// The one tensor `[E, R, C]` has the rows of E experts one below the other. The others are E matrices `[R, C]`; or matrices `[R/2, C]`, twice
/// E of them or two tensors `[E, R/2, C]`, whose rows are the upper and the lower half of each expert's, as gate and up projections. Names
/// tell which belong together; hashes or samples of the weights of every expert must prove it. Transposed and interleaved tensors are not found.
struct ExpertDetection {
    /// Most combinations of tensors that are tried for a layer; a layer with more is skipped with a warning.
    private static let maximumCandidates = 256
    /// Most pairs of tensors whose shapes are compared for a layer.
    private static let maximumPairs = 1 << 16
    /// Runs of weights in the sample of an expert.
    private static let runs = 2

    private(set) var differences: [TensorDifference] = []
    private(set) var removed: [StoredWeights], added: [StoredWeights]
    private(set) var warnings: [IngotWarning] = []
    private var reader = RowReader()
    /// Names of tensors that were found on the side of the one tensor, and on the other side.
    private var found: (wholes: Set<TensorName>, others: Set<TensorName>) = ([], [])
    /// Tensors of which only some experts were recognized: the tensor, the name of the others, the experts that differ.
    private var doubtful: [(tensor: StoredWeights, name: String, experts: [Int])] = []

    /// Starts with the tensors whose name is in one checkpoint only.
    init(removed: [StoredWeights], added: [StoredWeights]) { (self.removed, self.added) = (removed, added) }

    /// Finds what was fused and what was split. The found tensors are removed from both lists.
    ///
    /// - Throws: errors of reading; damage of an encoded tensor names the tensor.
    mutating func match() throws {
        try match(wholes: added, others: removed, .fused)
        added.removeAll { found.wholes.contains($0.name) }
        removed.removeAll { found.others.contains($0.name) }
        found = ([], [])
        try match(wholes: removed, others: added, .split)
        removed.removeAll { found.wholes.contains($0.name) }
        added.removeAll { found.others.contains($0.name) }
        guard let first = doubtful.first else { return }
        let listed = first.experts.prefix(8).map(String.init).joined(separator: ", ")
        let more = first.experts.count > 8 ? " and \(first.experts.count - 8) more" : ""
        let others =
            doubtful.count == 1
            ? "" : "; likewise \(doubtful.count - 1) more \(doubtful.count == 2 ? "tensor" : "tensors")"
        warnings.append(
            IngotWarning(
                file: first.tensor.file.path.string, tensor: first.tensor.name,
                "not compared with \(first.name): other weights, or another order, of "
                    + "\(first.experts.count == 1 ? "expert" : "experts") \(listed)\(more)\(others)"))
    }

    // MARK: - Candidates

    /// A tensor and the matrices that may be its rows: one, or those of the upper and the lower half of each expert.
    private struct Candidate {
        let whole: ExpertMatrix
        let others: [ExpertMatrix]

        /// The rows of the tensor, in order, and the rows that they may be.
        var parts: [TensorDifference.Regrouping.Part] {
            (0..<whole.key.experts).flatMap { expert in
                others.enumerated().map { index, other in
                    TensorDifference.Regrouping.Part(
                        expert: expert,
                        whole: whole.rows(index * other.rows..<(index + 1) * other.rows, of: expert),
                        part: other.rows(0..<other.rows, of: expert))
                }
            }
        }
    }

    /// Whether names allow that a matrix is a part of a tensor; unknown kinds allow everything.
    private static func allows(_ whole: TensorRole.Kind, _ part: TensorRole.Kind, as expected: TensorRole.Kind) -> Bool
    {
        part == .other || part == expected || whole == .other
    }

    /// The combinations that fit tensors of one layer by name and shape. Nil if there are too many.
    private static func candidates(_ wholes: [ExpertMatrix], among others: [ExpertMatrix]) -> [Candidate]? {
        guard wholes.count * others.count <= maximumPairs else { return nil }
        var found: [Candidate] = []
        for whole in wholes {
            // Two tensors of rank 3 and one shape are one that was renamed, or two.
            for other in others where other.rows == whole.rows && !other.isFused {
                guard allows(whole.kind, other.kind, as: whole.kind) else { continue }
                found.append(Candidate(whole: whole, others: [other]))
            }
            guard whole.kind == .gateUp || whole.kind == .other else { continue }
            let halves = others.filter { $0.rows * 2 == whole.rows }
            for upper in halves where allows(whole.kind, upper.kind, as: .gate) {
                for lower in halves where lower.name != upper.name && allows(whole.kind, lower.kind, as: .up) {
                    found.append(Candidate(whole: whole, others: [upper, lower]))
                    guard found.count <= maximumCandidates else { return nil }
                }
            }
        }
        return found.count <= maximumCandidates ? found : nil
    }

    // MARK: - Evidence

    /// What the samples of a candidate say.
    private struct Agreement {
        /// Largest relative MSE of an expert's sample, of those that tell anything; nil if none does.
        var worst: Double?
        /// Whether all sampled weights are the same, bit for bit.
        var isIdentical = true
        /// Samples, and those that have weights other than zero.
        var count = 0, telling = 0
        /// Experts with other weights.
        var differing: [Int] = []

        /// Whether the samples prove the candidate.
        var isProof: Bool { differing.isEmpty && 2 * telling >= count && telling > 0 }

        /// Adds the samples of an expert; `old` is the reference.
        mutating func add(_ old: [Float], _ new: [Float], expert: Int) {
            count += 1
            if !zip(old, new).allSatisfy({ $0.bitPattern == $1.bitPattern }) { isIdentical = false }
            let sums = WeightSample.sums(old, new)
            if sums.signal > 0 {
                telling += 1
                worst = max(worst ?? 0, sums.noise / sums.signal)
            }
            if sums.noise >= RenameDetection.limit * sums.signal, sums.noise > 0, differing.last != expert {
                differing.append(expert)
            }
        }
    }

    /// Samples of the experts of a matrix, by the name of the tensor and the first row; kept for one layer.
    private typealias Samples = [TensorName: [Int: [[Float]]]]

    /// Samples `rows` rows, from `row` on, of every expert; nil if a tensor is not F16, BF16 or F32.
    private mutating func samples(
        _ matrix: ExpertMatrix, row: Int, rows: Int, _ kept: inout Samples
    ) throws -> [[Float]]? {
        // The same row with another number of rows is another sample.
        let place = row * 2 + (rows == matrix.rows ? 1 : 0)
        if let made = kept[matrix.name]?[place] { return made }
        guard matrix.tensors.allSatisfy({ $0.format != nil }) else { return nil }
        var made: [[Float]] = []
        var readable: ReadableWeights?
        for expert in 0..<matrix.key.experts {
            try Interruption.check()
            let rows = matrix.rows(row..<row + rows, of: expert)
            if !matrix.isFused || readable == nil { readable = try ReadableWeights(rows.tensor) }
            guard let weights = readable else { return nil }
            made.append(
                try WeightSample.read(
                    ReadableRows(weights: weights, row: rows.row, rows: rows.rows), runs: ExpertDetection.runs, &reader)
            )
        }
        kept[matrix.name, default: [:]][place] = made
        return made
    }

    /// Compares samples of all experts; nil if a tensor is not F16, BF16 or F32.
    private mutating func agreement(
        _ candidate: Candidate, _ direction: TensorDifference.Regrouping.Direction, _ kept: inout Samples
    ) throws -> Agreement? {
        var agreement = Agreement()
        var read: [(whole: [[Float]], part: [[Float]])] = []
        for (index, other) in candidate.others.enumerated() {
            guard let whole = try samples(candidate.whole, row: index * other.rows, rows: other.rows, &kept),
                let part = try samples(other, row: 0, rows: other.rows, &kept)
            else { return nil }
            read.append((whole, part))
        }
        for expert in 0..<candidate.whole.key.experts {
            for (whole, part) in read {
                let pair = direction == .fused ? (part[expert], whole[expert]) : (whole[expert], part[expert])
                agreement.add(pair.0, pair.1, expert: expert)
            }
        }
        return agreement
    }

    /// Evidence by the hash of the content; nil if the content is not the same or no hash tells.
    private static func content(_ candidate: Candidate, _ agreement: Agreement?) throws -> TensorDifference.Rename? {
        let whole = candidate.whole.tensors[0]
        let tensors = candidate.others.flatMap(\.tensors)
        guard tensors.allSatisfy({ $0.elementType == whole.elementType }), whole.elementType.bitWidth >= 8 else {
            return nil
        }
        let isPlain = whole.descriptor == nil && tensors.allSatisfy { $0.descriptor == nil }
        // A sample is much cheaper than a hash of everything.
        if let agreement {
            guard isPlain ? agreement.isIdentical : (agreement.worst ?? 0) < 1 else { return nil }
        }
        if let descriptor = whole.descriptor {
            let hasher = ContentHasher()
            for part in candidate.parts {
                guard part.part.elementBytes != nil else { return nil }
                try part.part.hash(into: hasher)
            }
            return hasher.finish() == descriptor.sourceHash ? .sameOriginal : nil
        }
        for part in candidate.parts {
            guard let other = try hash(part.part), try hash(part.whole) == other else { return nil }
        }
        let isBytes = isPlain && tensors.allSatisfy { $0.encoding == whole.encoding }
        return isBytes ? .sameBytes : .sameOriginal
    }

    /// Hash of the original content of rows; nil for a part of a payload.
    private static func hash(_ rows: TensorRows) throws -> ContentHash? {
        if let descriptor = rows.tensor.descriptor { return rows.isWhole ? descriptor.sourceHash : nil }
        let hasher = ContentHasher()
        try rows.hash(into: hasher)
        return hasher.finish()
    }

    // MARK: - Matches

    /// A candidate with evidence; `distance` is the largest relative MSE of samples, 0 for the same content, infinite without evidence.
    private struct Weighed {
        let candidate: Candidate
        let agreement: Agreement?
        let evidence: TensorDifference.Rename?
        let distance: Double

        func shares(with other: Weighed) -> Bool {
            candidate.whole.name == other.candidate.whole.name
                || candidate.others.contains { own in other.candidate.others.contains { $0.name == own.name } }
        }
    }

    /// Finds the tensors of rank 3 in `wholes` whose rows are those of tensors in `others`.
    private mutating func match(
        wholes: [StoredWeights], others: [StoredWeights], _ direction: TensorDifference.Regrouping.Direction
    ) throws {
        let fused = wholes.compactMap { ExpertMatrix(fused: $0) }
        guard !fused.isEmpty else { return }
        let matrices = ExpertMatrix.split(others) + others.compactMap { ExpertMatrix(fused: $0) }
        let byKey = Dictionary(grouping: matrices, by: \.key)
        var keys: [ExpertMatrix.Key] = []
        var fusedByKey: [ExpertMatrix.Key: [ExpertMatrix]] = [:]
        for matrix in fused where byKey[matrix.key] != nil {
            if fusedByKey[matrix.key] == nil { keys.append(matrix.key) }
            fusedByKey[matrix.key, default: []].append(matrix)
        }
        for key in keys {
            let (wholes, others) = (fusedByKey[key] ?? [], byKey[key] ?? [])
            guard let candidates = ExpertDetection.candidates(wholes, among: others) else {
                warnings.append(
                    IngotWarning(
                        file: wholes[0].tensors[0].file.path.string, tensor: wholes[0].name,
                        "not compared with tensors of single experts: too many tensors have its layer and shape"))
                continue
            }
            try match(candidates, direction)
        }
    }

    /// Matches the tensors of a layer: of candidates that share a tensor, the best by a clear margin.
    private mutating func match(
        _ candidates: [Candidate], _ direction: TensorDifference.Regrouping.Direction
    ) throws {
        var kept: Samples = [:]
        let weighed = try candidates.map { candidate in
            let sampled = try agreement(candidate, direction, &kept)
            let content = try ExpertDetection.content(candidate, sampled)
            let worst = sampled?.worst ?? .infinity
            let similar: TensorDifference.Rename? = sampled?.isProof == true ? .similarWeights(sampled: worst) : nil
            return Weighed(
                candidate: candidate, agreement: sampled, evidence: content ?? similar,
                distance: content == nil ? worst : 0)
        }
        for (index, one) in weighed.enumerated() {
            guard let evidence = one.evidence else { continue }
            let isClear = weighed.enumerated().allSatisfy {
                $0 == index || !one.shares(with: $1) || $1.distance > RenameDetection.margin * one.distance
            }
            if isClear { take(one.candidate, evidence, direction) }
        }
        for one in weighed where one.evidence == nil && !found.wholes.contains(one.candidate.whole.name) {
            guard let agreement = one.agreement, !agreement.differing.isEmpty,
                agreement.differing.count < one.candidate.whole.key.experts
            else { continue }
            let names = one.candidate.others.map(\.name.text).joined(separator: " + ")
            doubtful.append((one.candidate.whole.tensors[0], names, agreement.differing))
        }
    }

    private mutating func take(
        _ candidate: Candidate, _ evidence: TensorDifference.Rename, _ direction: TensorDifference.Regrouping.Direction
    ) {
        let whole = candidate.whole.tensors[0]
        let tensors = candidate.others.flatMap(\.tensors)
        let one = TensorDifference.Side(whole)
        let several = TensorDifference.Side(tensors, named: candidate.others.map(\.name), as: whole)
        let isFused = direction == .fused
        differences.append(
            TensorDifference(
                old: isFused ? several : one, new: isFused ? one : several, evidence,
                TensorDifference.Regrouping(direction: direction, parts: candidate.parts)))
        found.wholes.insert(whole.name)
        found.others.formUnion(tensors.map(\.name))
    }
}
