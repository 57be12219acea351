import Checkpoints
import Container
package import SystemPackage
package import TensorModel
package import Weights

/// Comparison of two checkpoints of any formats, tensor by tensor: changes of bytes and changes of weights.
package struct CheckpointDiff: Sendable {
    /// Options of a comparison.
    package struct Options: Sendable {
        /// Pattern of the tensors to compare and list; it may match the old or the new name. Nil for all.
        package var pattern: NamePattern?
        /// Whether to compare names, shapes, types and sizes only, and read no weights.
        package var headersOnly = false
        /// Bytes of buffers at most, and pieces in work at the same time.
        package var memory: UInt64 = 256 << 20, jobs = 1

        /// Options that compare the weights of all tensors.
        package init() {}
    }

    /// One of the two checkpoints.
    package struct Side: Sendable {
        /// Path as opened, and name of the format.
        package let path: FilePath, format: String
        /// Bytes of the weight files, number of tensors, and number of weight files.
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

    /// An entry of `__metadata__` that differs.
    package struct MetadataChange: Sendable, Hashable {
        /// Its key.
        package let key: String
        /// Its value in the old and in the new checkpoint; nil if the checkpoint lacks the entry.
        package let old: String?, new: String?
    }

    /// The checkpoints.
    package let old: Side, new: Side
    /// Whether weights were read.
    package let weightsRead: Bool
    /// Tensors in both checkpoints, also renamed, fused and split ones, in the order of the new files.
    package let tensors: [TensorDifference]
    /// Tensors in the new checkpoint only, and in the old checkpoint only.
    package let added: [StoredWeights], removed: [StoredWeights]
    /// Entries of `__metadata__` that differ, sorted by key.
    package let metadata: [MetadataChange]
    /// Files beside the weights that differ, sorted by name; they do not decide whether the checkpoints are the same.
    package let companions: [CompanionChange]
    /// Sizes of all tensors and of all parts of the files.
    package let sizes: SizeChanges
    /// Warnings to show to the user.
    package let warnings: [IngotWarning]

    /// Compares two checkpoints.
    ///
    /// - Parameter progress: called with a tensor of the new checkpoint, its file and its bytes, after its weights were compared.
    /// - Throws: errors of reading; damage of an encoded tensor names the tensor.
    package init(
        _ old: OpenedCheckpoint, _ new: OpenedCheckpoint, _ options: Options,
        progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws {
        self.old = Side(old)
        self.new = Side(new)
        weightsRead = !options.headersOnly
        let originals = Dictionary(old.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let names = Set(new.tensors.map(\.name))
        let known = try NamedTensors(old, new)
        var renames = RenameDetection(
            removed: old.tensors.filter { !names.contains($0.name) && !known.old.contains($0.name) },
            added: new.tensors.filter { originals[$0.name] == nil && known.places[$0.name] == nil })
        if !options.headersOnly {
            try renames.matchContents()
            try renames.matchWeights()
        }
        var experts = ExpertDetection(removed: renames.removed, added: renames.added)
        if !options.headersOnly { try experts.match() }
        let renamed = Dictionary(renames.matches.map { ($0.new.name, $0) }, uniquingKeysWith: { first, _ in first })
        var regrouped: [TensorName: Int] = [:]
        for (index, difference) in experts.differences.enumerated() {
            for tensor in difference.new.tensors { regrouped[tensor.name] = index }
        }
        var shown: Set<Int> = []
        var shownByName: Set<Int> = []
        func isSelected(_ tensor: StoredWeights) -> Bool { options.pattern?.matches(tensor.name) ?? true }
        var tensors = new.tensors.compactMap { tensor -> TensorDifference? in
            if let original = originals[tensor.name] { return TensorDifference(original, tensor) }
            if let match = renamed[tensor.name] { return TensorDifference(match.old, tensor, rename: match.rename) }
            if let place = known.places[tensor.name] {
                return shownByName.insert(place).inserted ? known.differences[place] : nil
            }
            // What was split stands where the first of its tensors does.
            guard let index = regrouped[tensor.name], shown.insert(index).inserted else { return nil }
            return experts.differences[index]
        }.filter { $0.old.tensors.contains(where: isSelected) || $0.new.tensors.contains(where: isSelected) }
        if !options.headersOnly {
            try await CheckpointDiff.measure(&tensors, options, progress)
            // A difference may be damage. Chunks have checksums, but kept tensors are covered by the seal's hash only.
            let differing = tensors.filter { $0.isSameBytes == false }
            for (side, tensors) in [(old, differing.flatMap(\.old.tensors)), (new, differing.flatMap(\.new.tensors))] {
                let names = Set(tensors.map(\.name))
                try side.checkKept { names.contains($0) }
            }
        }
        self.tensors = tensors
        added = experts.added.filter(isSelected)
        removed = experts.removed.filter(isSelected)
        metadata = CheckpointDiff.changes(old.metadata, new.metadata)
        companions = try CompanionChange.all(old, new)
        sizes = try SizeChanges(old, new)
        warnings = old.warnings + new.warnings + renames.warnings + experts.warnings
    }

    /// Whether every byte of every tensor, all metadata and all files beside the weights are the same.
    package var isIdentical: Bool {
        isSame && weightsRead && count(.same) == tensors.count && tensors.allSatisfy { $0.rename == nil }
            && metadata.isEmpty && companions.isEmpty && old.format == new.format
    }

    /// Compares the bytes of tensors in the same form, then the weights of tensors whose bytes differ.
    private static func measure(
        _ tensors: inout [TensorDifference], _ options: Options,
        _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws {
        func note(_ tensor: TensorDifference) {
            for new in tensor.new.tensors { progress(new.name, new.fileName, new.byteCount) }
        }
        var indices: [Int] = []
        var pairs: [ByteComparison.Pair] = []
        for index in tensors.indices {
            let own = tensors[index].bytePairs
            tensors[index].isSameBytes = own != nil
            indices += [Int](repeating: index, count: own?.count ?? 0)
            pairs += own ?? []
        }
        let bytes = try await ByteComparison(memory: options.memory, jobs: options.jobs).run(pairs)
        for (index, (pair, result)) in zip(indices, zip(pairs, bytes)) {
            if !result.isSame || !pair.isSameForm { tensors[index].isSameBytes = false }
            if !tensors[index].old.isFloat {
                tensors[index].changedElements = (tensors[index].changedElements ?? 0) + result.changed
            }
        }
        for tensor in tensors where tensor.isSameBytes == true { note(tensor) }
        indices = []
        var others: [TensorComparison.Pair] = []
        for index in tensors.indices where tensors[index].isSameBytes == false {
            guard let pair = tensors[index].weightPair else { continue }
            indices.append(index)
            others.append(pair)
        }
        var found: [(Int, ComparedWeights)] = []
        let measured = indices.map { tensors[$0] }
        try await TensorComparison(memory: options.memory, jobs: options.jobs, wantsStatistics: false).run(others) {
            found.append((indices[$0], $1))
            note(measured[$0])
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

    /// Whether both have the same tensors, with the same names and values. Bytes, floating-point types and metadata may differ. Without
    /// weights: whether names, shapes and element types are the same.
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

    /// Tensors that were renamed, not fused or split.
    package var renamed: [TensorDifference] { tensors.filter { $0.rename != nil && $0.regrouping == nil } }

    /// Tensors that were fused, or split.
    package func regrouped(_ direction: TensorDifference.Regrouping.Direction) -> [TensorDifference] {
        tensors.filter { $0.regrouping?.direction == direction }
    }

    /// Number of tensors with the given status.
    package func count(_ status: TensorDifference.Status) -> Int { tensors.count { $0.status == status } }

    /// The `count` tensors with the largest changes of weights: by relative MSE, in file order if equal.
    package func movers(_ count: Int) -> [TensorDifference] {
        let changed = tensors.enumerated().filter { $0.element.status == .changed }
        return changed.sorted { a, b in
            let (x, y) = (a.element.movement, b.element.movement)
            return x != y ? x > y : a.offset < b.offset
        }.prefix(count).map(\.element)
    }

    /// The tensors whose relative error over activations is not the same, or is known on one side only; the largest error of either side
    /// first, in file order if equal.
    package var activationErrors: [TensorDifference] {
        func error(_ tensor: TensorDifference) -> Double {
            max(tensor.old.relativeActivationError ?? 0, tensor.new.relativeActivationError ?? 0)
        }
        let found = tensors.enumerated().filter {
            $0.element.old.relativeActivationError != $0.element.new.relativeActivationError
        }
        return found.sorted { a, b in
            let (x, y) = (error(a.element), error(b.element))
            return x != y ? x > y : a.offset < b.offset
        }.map(\.element)
    }

    /// Whether some of `activationErrors` are measured with other moments on the old side than on the new one, so that they do not compare.
    package var hasOtherMoments: Bool {
        activationErrors.contains {
            let (old, new) = ($0.old.calibrations, $0.new.calibrations)
            return !old.isEmpty && !new.isEmpty && old != new
        }
    }
}
