import Checkpoints
import Container
package import SystemPackage
package import TensorModel
package import Weights

/// Two checkpoints of any forms, tensor by tensor: what changed in their bytes, and what in their weights.
package struct CheckpointDiff: Sendable {
    /// How two checkpoints are compared.
    package struct Options: Sendable {
        /// Tensors to compare and to list, by either of their names; nil for all.
        package var pattern: NamePattern?
        /// Whether weights stay unread: then only names, shapes, types and sizes are compared.
        package var headersOnly = false
        /// Bytes of memory at most, and pieces worked on at the same time.
        package var memory: UInt64 = 256 << 20, jobs = 1

        /// All tensors, weights read.
        package init() {}
    }

    /// One of the two.
    package struct Side: Sendable {
        /// The path it was opened by, and its format.
        package let path: FilePath, format: String
        /// Bytes of its weight files; how many tensors it has, and how many files those are in.
        package let byteCount: UInt64, tensorCount: Int, fileCount: Int

        init(_ checkpoint: OpenedCheckpoint) {
            (path, format) = (checkpoint.path, checkpoint.formatName)
            (byteCount, tensorCount) = (checkpoint.fileBytes, checkpoint.tensors.count)
            fileCount =
                switch checkpoint.content {
                case .plain(let content): content.shards.count
                case .sealed(let content): content.shards.count
                }
        }
    }

    /// An entry of `__metadata__` that is not the same in both.
    package struct MetadataChange: Sendable, Hashable {
        /// Its key.
        package let key: String
        /// Its value before and after; nil where there was or is none.
        package let old: String?, new: String?
    }

    /// The checkpoints.
    package let old: Side, new: Side
    /// Whether weights were read.
    package let weightsRead: Bool
    /// Tensors of both, in the order of the new files; renamed ones among them.
    package let tensors: [TensorDifference]
    /// Tensors of only one.
    package let added: [StoredWeights], removed: [StoredWeights]
    /// Entries of `__metadata__` that differ, by key.
    package let metadata: [MetadataChange]
    /// Where the bytes go, of all tensors.
    package let sizes: SizeChanges
    /// What is odd but stops nothing.
    package let warnings: [IngotWarning]

    /// Compares two checkpoints.
    ///
    /// - Throws: what opening and reading throws; a damaged tensor is named.
    package init(_ old: OpenedCheckpoint, _ new: OpenedCheckpoint, _ options: Options) async throws {
        self.old = Side(old)
        self.new = Side(new)
        weightsRead = !options.headersOnly
        let originals = Dictionary(old.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let names = Set(new.tensors.map(\.name))
        var renames = RenameDetection(
            removed: old.tensors.filter { !names.contains($0.name) },
            added: new.tensors.filter { originals[$0.name] == nil })
        if !options.headersOnly {
            try renames.matchContents()
            try renames.matchWeights()
        }
        let renamed = Dictionary(renames.matches.map { ($0.new.name, $0) }, uniquingKeysWith: { first, _ in first })
        func isMeant(_ tensor: StoredWeights) -> Bool { options.pattern?.matches(tensor.name) ?? true }
        var tensors = new.tensors.compactMap { tensor -> TensorDifference? in
            if let original = originals[tensor.name] { return TensorDifference(original, tensor) }
            return renamed[tensor.name].map { TensorDifference($0.old, tensor, rename: $0.rename) }
        }.filter { isMeant($0.old) || isMeant($0.new) }
        if !options.headersOnly {
            try await CheckpointDiff.measure(&tensors, options)
            // What differs may be damage: chunks have checksums, tensors that are kept only the seal's hash.
            let differing = tensors.filter { $0.isSameBytes == false }
            for (side, names) in [(old, differing.map(\.old.name)), (new, differing.map(\.new.name))] {
                let names = Set(names)
                try side.checkKept { names.contains($0) }
            }
        }
        self.tensors = tensors
        added = renames.added.filter(isMeant)
        removed = renames.removed.filter(isMeant)
        metadata = CheckpointDiff.changes(old.metadata, new.metadata)
        sizes = try SizeChanges(old, new)
        warnings = old.warnings + new.warnings + renames.warnings
    }

    /// Compares bytes where both have the same form, and weights where those are not the same.
    private static func measure(_ tensors: inout [TensorDifference], _ options: Options) async throws {
        var indices: [Int] = []
        var pairs: [ByteComparison.Pair] = []
        for index in tensors.indices {
            tensors[index].isSameBytes = false
            guard let pair = ByteComparison.Pair(tensors[index].old, tensors[index].new) else { continue }
            indices.append(index)
            pairs.append(pair)
        }
        let bytes = try await ByteComparison(memory: options.memory, jobs: options.jobs).run(pairs)
        for (index, result) in zip(indices, bytes) {
            tensors[index].isSameBytes = result.isSame
            if tensors[index].old.format == nil { tensors[index].changedElements = result.changed }
        }
        indices = []
        var others: [TensorComparison.Pair] = []
        for index in tensors.indices where tensors[index].isSameBytes == false {
            guard let pair = TensorComparison.Pair(tensors[index].old, tensors[index].new) else { continue }
            indices.append(index)
            others.append(pair)
        }
        var found: [(Int, ComparedWeights)] = []
        try await TensorComparison(memory: options.memory, jobs: options.jobs, wantsStatistics: false).run(others) {
            found.append((indices[$0], $1))
        }
        for (index, weights) in found { tensors[index].weights = weights }
    }

    private static func changes(
        _ old: [(key: String, value: String)], _ new: [(key: String, value: String)]
    ) -> [MetadataChange] {
        func named(_ entries: [(key: String, value: String)]) -> [TensorName: String] {
            Dictionary(entries.map { (TensorName($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
        }
        let (before, after) = (named(old), named(new))
        return Set(before.keys).union(after.keys).sorted().compactMap { key in
            let (a, b) = (before[key], after[key])
            if let a, let b, TensorName(a) == TensorName(b) { return nil }
            return MetadataChange(key: key.text, old: a, new: b)
        }
    }

    // MARK: - Reading it

    /// Whether both hold the same tensors, under the same names, with the same values: bytes, element types of numbers, and
    /// metadata may differ. Without weights, whether names, shapes and types are the same.
    package var isSame: Bool {
        added.isEmpty && removed.isEmpty
            && tensors.allSatisfy { tensor in
                guard tensor.rename == nil else { return false }
                switch tensor.status {
                case .same, .recoded: return true
                case .unread: return tensor.isSameType
                case .changed, .reshaped, .retyped: return false
                }
            }
    }

    /// How many tensors there are of each status.
    package func count(_ status: TensorDifference.Status) -> Int { tensors.count { $0.status == status } }

    /// The tensors whose weights changed most, by relative mean squared error, then by how many changed; `count` at most.
    package func movers(_ count: Int) -> [TensorDifference] {
        let changed = tensors.enumerated().filter { $0.element.status == .changed }
        return changed.sorted { a, b in
            let (x, y) = (a.element.movement, b.element.movement)
            return x != y ? x > y : a.offset < b.offset
        }.prefix(count).map(\.element)
    }
}
