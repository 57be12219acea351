import Architectures
import Checkpoints
import Container
import TensorModel
import Weights

/// A size in the old and in the new checkpoint.
package struct SizeChange: Sendable, Hashable {
    /// Bytes in the old and in the new checkpoint.
    package var old: UInt64 = 0, new: UInt64 = 0

    /// 0 bytes in both.
    package init() {}

    /// Makes a change from two sizes.
    package init(old: UInt64, new: UInt64) { (self.old, self.new) = (old, new) }

    /// Change in percent of the old size; nil if that is zero.
    package var percent: Double? { old == 0 ? nil : (Double(new) / Double(old) - 1) * 100 }
}

/// Sizes of two checkpoints by kind, by layer and by part of the file. Each list adds up to the size of the weight files.
package struct SizeChanges: Sendable {
    /// A row of a list.
    package struct Row: Sendable, Hashable {
        /// Kind, number of the layer, part of the file, or `other` for tensors outside of layers.
        package let name: String
        /// Its bytes.
        package let size: SizeChange

        /// Makes a row.
        package init(name: String, size: SizeChange) { (self.name, self.size) = (name, size) }
    }

    /// Size of all weight files.
    package let total: SizeChange
    /// Sizes by kind of tensor, in the order of `TensorRole.Kind`, then `(header)`, `(padding)`, `(seal)`.
    package let kinds: [Row]
    /// Sizes by layer, then `other` for tensors outside of layers, then `(header)`, `(padding)`, `(seal)`.
    package let layers: [Row]
    /// Sizes by part of the file (`ByteAccount`).
    package let parts: [Row]

    /// Measures two checkpoints; reads chunk tables and throws if one is damaged.
    init(_ old: OpenedCheckpoint, _ new: OpenedCheckpoint) throws {
        total = SizeChange(old: old.fileBytes, new: new.fileBytes)
        let accounts = (old: try old.account(), new: try new.account())
        parts = ByteAccount.Part.allCases.compactMap { part in
            let size = SizeChange(old: accounts.old.bytes[part] ?? 0, new: accounts.new.bytes[part] ?? 0)
            return size.old == 0 && size.new == 0 ? nil : Row(name: part.rawValue, size: size)
        }
        let frames = (old: old.frame, new: new.frame)
        let rest = [("(header)", \Frame.header), ("(padding)", \.padding), ("(seal)", \.seal)].compactMap {
            name, part in
            let size = SizeChange(old: frames.old[keyPath: part], new: frames.new[keyPath: part])
            return size.old == 0 && size.new == 0 ? nil : Row(name: name, size: size)
        }
        let byKind = SizeChanges.sums(old, new) { $0.role.kind }
        kinds = byKind.sorted { $0.key < $1.key }.map { Row(name: $0.key.rawValue, size: $0.value) } + rest
        let byLayer = SizeChanges.sums(old, new) { $0.role.layer ?? Int.max }
        layers =
            byLayer.sorted { $0.key < $1.key }.map {
                Row(name: $0.key == Int.max ? "other" : String($0.key), size: $0.value)
            } + rest
    }

    private static func sums<Key: Hashable>(
        _ old: OpenedCheckpoint, _ new: OpenedCheckpoint, by key: (StoredWeights) -> Key
    ) -> [Key: SizeChange] {
        var sums: [Key: SizeChange] = [:]
        for tensor in old.tensors { sums[key(tensor), default: SizeChange()].old += tensor.byteCount }
        for tensor in new.tensors { sums[key(tensor), default: SizeChange()].new += tensor.byteCount }
        return sums
    }
}

/// Bytes of weight files that belong to no tensor.
private struct Frame {
    var header: UInt64 = 0, padding: UInt64 = 0, seal: UInt64 = 0
}

extension OpenedCheckpoint {
    /// Bytes of each part, over all weight files; reads chunk tables.
    func account() throws -> ByteAccount {
        switch content {
        case .plain(let checkpoint): checkpoint.shards.reduce(ByteAccount()) { $0 + ByteAccount($1) }
        case .sealed(let checkpoint):
            try checkpoint.shards.reduce(ByteAccount()) { sum, shard in
                sum + (try ByteAccount(shard))
            }
        }
    }

    fileprivate var frame: Frame {
        var frame = Frame()
        switch content {
        case .plain(let checkpoint):
            frame.header = checkpoint.shards.reduce(0) { $0 + $1.header.headerByteCount }
            // Bytes that several tensors share are counted for each, so the sum may exceed the file.
            let known = tensors.reduce(frame.header) { $0 + $1.byteCount }
            frame.padding = fileBytes - min(fileBytes, known)
        case .sealed(let checkpoint):
            for shard in checkpoint.shards {
                frame.header += shard.header.dataStart
                frame.seal += shard.seal.fileBytes - shard.seal.recordsStart
                let tensors = (shard.payloads.map(\.range) + shard.kept.map(\.range)).reduce(0) { $0 + $1.count }
                frame.padding += shard.seal.recordsStart - shard.header.dataStart - tensors
            }
        }
        return frame
    }

    /// Entries of `__metadata__`, without those that describe payloads. If shards disagree, the first shard wins.
    var metadata: [(key: String, value: String)] {
        let entries =
            switch content {
            case .plain(let checkpoint): checkpoint.shards.map(\.header.metadata)
            case .sealed(let checkpoint):
                checkpoint.shards.map { shard in
                    shard.header.metadata.filter { $0.key != SourceMetadata.key } + shard.sourceMetadata
                }
            }
        var seen: Set<TensorName> = []
        return entries.joined().filter { entry in
            !entry.key.utf8.starts(with: ContainerFormat.tensorKeyPrefix.utf8)
                && seen.insert(TensorName(entry.key)).inserted
        }.map { ($0.key, $0.value) }
    }
}
