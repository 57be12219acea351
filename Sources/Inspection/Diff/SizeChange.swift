import Architectures
import Checkpoints
import Container
import TensorModel
import Weights

/// A size before and after.
package struct SizeChange: Sendable, Hashable {
    /// Bytes before and after.
    package var old: UInt64 = 0, new: UInt64 = 0

    /// No bytes.
    package init() {}

    /// The given sizes.
    package init(old: UInt64, new: UInt64) { (self.old, self.new) = (old, new) }

    /// The change in percent of the old size; nil where that is zero.
    package var percent: Double? { old == 0 ? nil : (Double(new) / Double(old) - 1) * 100 }
}

/// Where the bytes of two checkpoints go; each list adds up to the sizes of their weight files.
package struct SizeChanges: Sendable {
    /// A row: what it is of, and its sizes.
    package struct Row: Sendable, Hashable {
        /// A kind or a number of a layer, a part of the file, or `other` for what is in no layer.
        package let name: String
        /// Its bytes.
        package let size: SizeChange

        /// Makes a row.
        package init(name: String, size: SizeChange) { (self.name, self.size) = (name, size) }
    }

    /// All weight files.
    package let total: SizeChange
    /// By kind of tensor, in the order data meets them, then what is no tensor: `(header)`, `(padding)`, `(seal)`.
    package let kinds: [Row]
    /// By layer, then `other` for tensors outside of layers, then what is no tensor.
    package let layers: [Row]
    /// By part of the file (`ByteAccount`).
    package let parts: [Row]

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
    /// Where the bytes of the weight files go; reads chunk tables.
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
            // Tensors that share their bytes are counted each, and leave less than nothing for the rest.
            let known = tensors.reduce(frame.header) { $0 + $1.byteCount }
            frame.padding = fileBytes - min(fileBytes, known)
        case .sealed(let checkpoint):
            for shard in checkpoint.shards {
                frame.header += shard.header.dataStart
                frame.seal += shard.seal.fileBytes - shard.seal.recordsStart
                let tensors = (shard.payloads.map(\.range) + shard.ordinary.map(\.range)).reduce(0) { $0 + $1.count }
                frame.padding += shard.seal.recordsStart - shard.header.dataStart - tensors
            }
        }
        return frame
    }

    /// The entries of `__metadata__`, without those that describe payloads; of shards that disagree, the first one's.
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
