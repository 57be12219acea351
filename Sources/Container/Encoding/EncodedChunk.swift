import FileAccess
package import Quantization

/// An encoded chunk: its streams, one behind the other, and its entry in the chunk table, without the offset.
package struct EncodedChunk: Sendable {
    /// The stored bytes, in the first `byteCount` bytes.
    package internal(set) var bytes: [UInt8] = []
    /// Number of stored bytes in `bytes`.
    package internal(set) var byteCount = 0
    /// Checksum, error sums, step and streams.
    package internal(set) var entry = ChunkEntry()
    /// NaN and infinite elements of the chunk; indices count row by row. If there are any, the streams are empty. Not counted in scheme
    /// `lossless`, which can store them.
    package internal(set) var nonFinite = NonFiniteCount()
    /// The largest magnitude of the restored weights; nil if not requested, and for a lossless chunk.
    package internal(set) var largestRestored: Float?

    /// An empty chunk.
    package init() {}

    /// Empties the chunk and keeps its buffer.
    package mutating func clear() {
        byteCount = 0
        entry = ChunkEntry()
        nonFinite = NonFiniteCount()
        largestRestored = nil
    }

    /// Records the checksum of the stored bytes.
    mutating func setChecksum() { entry.checksum = ContentHash.checksum64(bytes.span.extracting(0..<byteCount)) }
}
