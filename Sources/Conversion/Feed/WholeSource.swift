import Checkpoints
import Synchronization
import TensorModel

/// Opens shards of a source one by one, or all together where codes of a shard need tensors of another one.
final class WholeSource: Sendable {
    private let layout: CheckpointLayout
    private let quantized: QuantizedSources
    private let opened = Mutex<Checkpoint?>(nil)

    init(_ layout: CheckpointLayout, _ quantized: QuantizedSources) {
        (self.layout, self.quantized) = (layout, quantized)
    }

    /// Opens a shard.
    ///
    /// - Throws: what `CheckpointLayout.open` throws, and `Checkpoint.open` if other shards are needed.
    func shard(_ position: Int) throws -> Shard {
        if let whole = opened.withLock({ $0 }) { return whole.shards[position] }
        do {
            return try layout.open(position, quantized: quantized)
        } catch let error as IngotError where error.code == .unsupportedSource && layout.shardNames.count > 1 {
            let whole = try Checkpoint.open(layout.path, key: layout.key, quantized: quantized)
            opened.withLock { $0 = whole }
            return whole.shards[position]
        }
    }
}
