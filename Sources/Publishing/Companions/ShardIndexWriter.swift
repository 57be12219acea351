package import TensorModel

/// The text of `model.safetensors.index.json`, in the layout of the Hugging Face tools.
package enum ShardIndexWriter {
    /// The bytes of an index.
    ///
    /// - Parameters:
    ///   - totalBytes: bytes of the data of all tensors.
    ///   - shards: the names of the shards, with the tensors in each.
    package static func text(totalBytes: UInt64, shards: [(fileName: String, tensors: [TensorName])]) -> [UInt8] {
        let pairs = shards.flatMap { shard in shard.tensors.map { ($0, shard.fileName) } }.sorted { $0.0 < $1.0 }
        let index = JSONValue.object([
            .init("metadata", .object([.init("total_size", .unsigned(totalBytes))])),
            .init("weight_map", .object(pairs.map { .init($0.0.text, .string($0.1)) })),
        ])
        return Array((index.text(indented: true) + "\n").utf8)
    }
}
