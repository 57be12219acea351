package import TensorModel

/// What a conversion tells while it runs.
package enum ConversionEvent: Sendable {
    /// Something odd that stops nothing.
    case warning(IngotWarning)
    /// A shard that an earlier run finished was checked and is kept.
    case resumed(shard: String)
    /// Rates are being planned: the shard's name, or nil for all shards together.
    case planning(shard: String?)
    /// A chunk was handed on.
    case progress(ConversionProgress)
    /// A shard of the source has not arrived yet: its name, and the bytes of it that are there.
    case waiting(name: String, bytes: UInt64, total: UInt64?)
    /// An output shard has its name: its bytes.
    case sealed(shard: String, byteCount: UInt64)
    /// The output of a shard is being verified before its source is deleted.
    case verifying(shard: String)
    /// A shard of the source was deleted.
    case consumed(shard: String)
}

/// How far a conversion is.
package struct ConversionProgress: Sendable, Hashable {
    /// Bytes of the source's tensors that are done, by this run and those it goes on from, and of all; nil while not all shards
    /// have arrived.
    package var doneBytes: UInt64 = 0, totalBytes: UInt64?
    /// Those of them that an earlier run did.
    package var resumedBytes: UInt64 = 0
    /// The tensor under way, and its shard.
    package var tensor: TensorName?, shard = ""
    /// Position of the shard, from 1, and how many there are.
    package var shardNumber = 0, shardCount = 0
    /// Bytes that were written for `weights` weights.
    package var codedBytes: UInt64 = 0, weights: UInt64 = 0

    /// Nothing yet.
    package init() {}

    /// Bits per weight so far; nil before the first.
    package var bitsPerWeight: Double? { weights == 0 ? nil : Double(codedBytes) * 8 / Double(weights) }
}
