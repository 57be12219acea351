package import TensorModel

/// The events of a running conversion.
package enum ConversionEvent: Sendable {
    /// A warning; the conversion continues.
    case warning(IngotWarning)
    /// An output shard of an earlier run was checked, and is kept.
    case resumed(shard: String)
    /// The first tensors of an output shard were encoded by an earlier run; they were checked, and are kept.
    case continued(shard: String, tensors: Int, of: Int)
    /// Rates are being planned for one shard, or for all shards together (nil).
    case planning(shard: String?)
    /// A chunk was written.
    case progress(ConversionProgress)
    /// A followed source: a file has not arrived yet. `bytes` of it have; `total` is nil if its size is unknown.
    case waiting(name: String, bytes: UInt64, total: UInt64?)
    /// An output shard is complete and on the disk.
    case sealed(shard: String, byteCount: UInt64)
    /// The output of a shard is being verified against its source, or the finished directory is being checked.
    case verifying(shard: String)
    /// A shard of the source was deleted.
    case consumed(shard: String)
}

/// How much of a conversion is done.
package struct ConversionProgress: Sendable, Hashable {
    /// Bytes of the source's tensors that are converted, earlier runs included, and bytes of all tensors. The total is nil while the source
    /// is still arriving.
    package var doneBytes: UInt64 = 0, totalBytes: UInt64?
    /// The part of `doneBytes` that earlier runs converted.
    package var resumedBytes: UInt64 = 0
    /// The tensor that is being converted, and the name of its source shard.
    package var tensor: TensorName?, shard = ""
    /// Number of the shard, from 1, and number of all shards.
    package var shardNumber = 0, shardCount = 0
    /// Bytes of payloads of weights written so far, and the number of their weights. Codes of a quantized source do not count.
    package var codedBytes: UInt64 = 0, weights: UInt64 = 0

    /// The progress before the first chunk.
    package init() {}

    /// Adds what an earlier run converted: bytes of tensors in the source, bytes of their payloads, and number of their weights.
    mutating func add(resumed bytes: UInt64, coded: UInt64, _ weights: Int) {
        doneBytes += bytes
        resumedBytes += bytes
        codedBytes += coded
        self.weights += UInt64(weights)
    }

    /// Bits per weight of the payloads written so far; nil before the first chunk.
    package var bitsPerWeight: Double? { weights == 0 ? nil : Double(codedBytes) * 8 / Double(weights) }
}
