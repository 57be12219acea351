package import Quantization

/// A chunk in stored form: streams one after the other, and its entry of the chunk table without the offset.
package struct EncodedChunk: Sendable {
    /// The stored bytes, in the first `byteCount` bytes.
    package internal(set) var bytes: [UInt8] = []
    /// How many of them count.
    package internal(set) var byteCount = 0
    /// Checksum, error sums and streams.
    package internal(set) var entry = ChunkEntry()
    /// NaN and infinity in the chunk, its elements counted row by row. A chunk that has any, in a scheme that cannot store them, has
    /// empty streams.
    package internal(set) var nonFinite = NonFiniteCount()
    /// The largest magnitude of the restored weights; nil where it was not asked for, and of a lossless chunk.
    package internal(set) var largestRestored: Float?

    /// A chunk without bytes, whose buffer grows when it is filled.
    package init() {}

    /// Makes it empty; the buffer stays.
    package mutating func clear() {
        byteCount = 0
        entry = ChunkEntry()
        nonFinite = NonFiniteCount()
        largestRestored = nil
    }
}
