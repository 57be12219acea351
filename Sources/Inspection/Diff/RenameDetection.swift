import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// Finds renamed tensors: first by the hash of their content, then by samples of their weights.
struct RenameDetection {
    /// Largest relative MSE between the samples of a renamed tensor; samples of unrelated weights have about 2.
    static let limit = 0.3
    /// The second-best match must have more than this many times the relative MSE of the best.
    static let margin = 4.0
    /// Most pairs of samples to compare per shape; a shape with more pairs is skipped with a warning.
    private static let maximumPairs = 1 << 20

    /// A tensor under its old and its new name.
    typealias Match = (old: StoredWeights, new: StoredWeights, rename: TensorDifference.Rename)

    private(set) var matches: [Match] = []
    private(set) var removed: [StoredWeights], added: [StoredWeights]
    private(set) var warnings: [IngotWarning] = []

    /// Starts with the tensors whose name is in one checkpoint only.
    init(removed: [StoredWeights], added: [StoredWeights]) { (self.removed, self.added) = (removed, added) }

    /// Whether a tensor has elements. Tensors without elements are all equal and match nothing.
    private static func isTelling(_ tensor: StoredWeights) -> Bool { tensor.shape.elementCount > 0 }

    // MARK: - By content

    /// Identity of a tensor's original content.
    private struct Content: Hashable {
        let shape: Shape
        let elementType: ElementType
        let hash: ContentHash
    }

    private struct Form: Hashable {
        let shape: Shape
        let elementType: ElementType

        init(_ tensor: StoredWeights) { (shape, elementType) = (tensor.shape, tensor.elementType) }
    }

    /// Matches tensors with the same original bytes. If several tensors have the same bytes, they match, in file order, only if both
    /// checkpoints have the same number of them.
    mutating func matchContents() throws {
        // Hash only tensors whose shape and type are in both lists.
        let forms = Set(removed.map(Form.init)).intersection(added.map(Form.init))
        let old = try RenameDetection.contents(removed, forms)
        let new = try RenameDetection.contents(added, forms)
        var gone: Set<TensorName> = []
        var found: [Match] = []
        for (content, tensors) in old {
            guard let others = new[content], others.count == tensors.count else { continue }
            for (a, b) in zip(tensors, others) {
                let isBytes = a.descriptor == nil && b.descriptor == nil && a.encoding == b.encoding
                found.append((a, b, isBytes ? .sameBytes : .sameOriginal))
                gone.insert(a.name)
            }
        }
        take(found)
    }

    private static func contents(_ tensors: [StoredWeights], _ forms: Set<Form>) throws -> [Content: [StoredWeights]] {
        var contents: [Content: [StoredWeights]] = [:]
        for tensor in tensors where isTelling(tensor) && forms.contains(Form(tensor)) {
            let hash = try tensor.descriptor?.sourceHash ?? tensor.bytes.hash()
            contents[Content(shape: tensor.shape, elementType: tensor.elementType, hash: hash), default: []]
                .append(tensor)
        }
        return contents
    }

    private mutating func take(_ found: [Match]) {
        let (gone, come) = (Set(found.map(\.old.name)), Set(found.map(\.new.name)))
        let order = Dictionary(removed.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
        matches += found.sorted { (order[$0.old.name] ?? 0) < (order[$1.old.name] ?? 0) }
        removed.removeAll { gone.contains($0.name) }
        added.removeAll { come.contains($0.name) }
    }

    // MARK: - By weights

    /// Weights of a tensor that tell it from others.
    private struct Sample {
        let tensor: StoredWeights
        let weights: [Float]

        init?(_ tensor: StoredWeights, _ reader: inout RowReader) throws {
            guard RenameDetection.isTelling(tensor), let readable = try ReadableWeights(tensor) else { return nil }
            self.tensor = tensor
            let rows = ReadableRows(weights: readable, row: 0, rows: readable.rows)
            weights = try WeightSample.read(rows, runs: 4, &reader)
            guard weights.allSatisfy(\.isFinite), weights.contains(where: { $0 != 0 }) else { return nil }
        }

        /// Relative MSE of another sample against this one.
        func distance(_ other: Sample) -> Double {
            let sums = WeightSample.sums(weights, other.weights)
            return sums.noise / sums.signal
        }
    }

    /// Matches tensors of the same shape with similar samples: each must be the best match of the other, by a clear margin.
    mutating func matchWeights() throws {
        let shapes = Set(removed.map(\.shape)).intersection(added.map(\.shape))
        let candidates = Dictionary(grouping: removed.filter { shapes.contains($0.shape) }, by: \.shape)
        let others = Dictionary(grouping: added.filter { shapes.contains($0.shape) }, by: \.shape)
        var reader = RowReader()
        var found: [Match] = []
        for (shape, tensors) in candidates.sorted(by: { $0.key.description < $1.key.description }) {
            let news = others[shape] ?? []
            guard tensors.count * news.count <= RenameDetection.maximumPairs else {
                warnings.append(
                    IngotWarning(
                        file: news[0].file.path.string,
                        "\(news.count) added tensors of shape \(shape) were not compared with \(tensors.count) removed "
                            + "ones: too many to tell which was renamed"))
                continue
            }
            try Interruption.check()
            let old = try tensors.compactMap { try Sample($0, &reader) }
            let new = try news.compactMap { try Sample($0, &reader) }
            found += RenameDetection.nearest(old, new)
        }
        take(found)
    }

    private static func nearest(_ old: [Sample], _ new: [Sample]) -> [Match] {
        var rows = [Nearest](repeating: Nearest(), count: old.count)
        var columns = [Nearest](repeating: Nearest(), count: new.count)
        for (row, a) in old.enumerated() {
            for (column, b) in new.enumerated() {
                let distance = a.distance(b)
                rows[row].note(distance, column)
                columns[column].note(distance, row)
            }
        }
        return rows.enumerated().compactMap { row, nearest in
            guard let column = nearest.unique, columns[column].unique == row else { return nil }
            return (old[row].tensor, new[column].tensor, .similarWeights(sampled: nearest.best))
        }
    }

    /// The best of several matches, and the distance of the second best.
    private struct Nearest {
        var index = 0
        var best = Double.infinity, second = Double.infinity

        mutating func note(_ distance: Double, _ index: Int) {
            if distance < best {
                (second, best, self.index) = (best, distance, index)
            } else {
                second = min(second, distance)
            }
        }

        /// Index of the best match; nil if it is too far, or the second best is too near.
        var unique: Int? {
            best < RenameDetection.limit && second > RenameDetection.margin * best ? index : nil
        }
    }
}
