/// Neighbouring chunks of one band of one payload: what a worker takes at a time. One chunk, unless an encoder carries something from
/// chunk to chunk.
package struct ChunkRun: Sendable, Hashable {
    /// Index of the payload in its shard.
    package let payload: Int
    /// Indices of the chunks in the payload.
    package let chunks: Range<Int>

    /// The given chunks.
    package init(payload: Int, chunks: Range<Int>) { (self.payload, self.chunks) = (payload, chunks) }

    /// All chunks of payloads with these numbers of chunks, one a run, in order.
    package static func all(_ chunkCounts: [Int]) -> some Sequence<ChunkRun> {
        chunkCounts.indices.lazy.flatMap { payload in
            (0..<chunkCounts[payload]).lazy.map { ChunkRun(payload: payload, chunks: $0..<$0 + 1) }
        }
    }
}
