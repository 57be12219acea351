/// One chunk of one payload of a shard: what the pipeline's workers take.
package struct ChunkJob: Sendable, Hashable {
    /// Index of the payload in its shard, and of the chunk in the payload.
    package let payload: Int, chunk: Int

    /// All chunks of payloads with so many chunks each, in order.
    package static func all(_ chunkCounts: [Int]) -> some Sequence<ChunkJob> {
        chunkCounts.indices.lazy.flatMap { payload in
            (0..<chunkCounts[payload]).lazy.map { ChunkJob(payload: payload, chunk: $0) }
        }
    }
}
