/// Neighbouring chunks of one band of a payload: the unit of work of a worker. A run has one chunk, unless an encoder carries state
/// from chunk to chunk.
package struct ChunkRun: Sendable, Hashable {
    /// Index of the payload in its shard.
    package let payload: Int
    /// Indices of the chunks in the payload.
    package let chunks: Range<Int>

    /// A run of the given chunks.
    package init(payload: Int, chunks: Range<Int>) { (self.payload, self.chunks) = (payload, chunks) }

    /// Runs of one chunk each for all chunks of the payloads from `first` on, in order. `chunkCounts` has the number of chunks of each
    /// payload.
    package static func all(_ chunkCounts: [Int], from first: Int = 0) -> some Sequence<ChunkRun> {
        chunkCounts.indices.dropFirst(first).lazy.flatMap { payload in
            (0..<chunkCounts[payload]).lazy.map { ChunkRun(payload: payload, chunks: $0..<$0 + 1) }
        }
    }
}
