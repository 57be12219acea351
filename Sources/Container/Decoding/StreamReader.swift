import TensorModel

/// Reads the streams of a stored chunk in order.
struct StreamReader {
    private let stored: [UInt8]
    private let entry: ChunkEntry
    private let codec: StreamCodec
    /// Index of the next stream, and offset of its first byte in `stored`.
    private var index = 0, start = 0

    /// A reader at the first stream of a chunk.
    init(_ stored: [UInt8], _ entry: ChunkEntry, _ codec: StreamCodec) {
        (self.stored, self.entry, self.codec) = (stored, entry, codec)
    }

    /// Reads the next stream into the first bytes of `buffer`. It must decompress to `byteCount` bytes.
    ///
    /// - Parameter plainBytes: bytes that the stream would take uncompressed, if not `byteCount`. A compressed stream must be shorter.
    /// - Throws: `StreamCodec.Failure`.
    mutating func read(byteCount: Int, plainBytes: Int? = nil, into buffer: inout [UInt8]) throws {
        let stream = entry.streams[index]
        let end = start + Int(stream.byteCount)
        guard stream.codec == .none || stream.byteCount < plainBytes ?? byteCount else {
            throw StreamCodec.Failure(found: "stream \(index) is compressed, but not shorter for it")
        }
        buffer.grow(to: byteCount)
        try codec.decompress(stored.span.extracting(start..<end), stream.codec, count: byteCount, into: &buffer)
        start = end
        index += 1
    }

    /// Reads `width` byte planes of `count` bytes each into the first bytes of `planes`, one behind the other.
    ///
    /// - Parameter scratch: a buffer for one plane.
    mutating func readPlanes(_ width: Int, of count: Int, into planes: inout [UInt8], _ scratch: inout [UInt8]) throws {
        planes.grow(to: count * width)
        for plane in 0..<width {
            try read(byteCount: count, into: &scratch)
            planes.replaceSubrange(plane * count..<(plane + 1) * count, with: scratch[..<count])
        }
    }

    /// Skips the next stream, which the caller reads in place. Returns its range in `stored`.
    mutating func skip() -> Range<Int> {
        let range = start..<start + Int(entry.streams[index].byteCount)
        start = range.upperBound
        index += 1
        return range
    }
}
