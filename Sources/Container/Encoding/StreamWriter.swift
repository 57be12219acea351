import TensorModel

/// Appends streams to a chunk, compressed if that makes them shorter.
package struct StreamWriter {
    private let codec = StreamCodec()

    /// Makes a writer with its own compression contexts. Each worker needs its own.
    package init() {}

    /// Appends a stream: compressed with `asked` if that is shorter than `stored[range]`, otherwise `stored[range]` unchanged.
    ///
    /// - Parameters:
    ///   - packed: the bytes that the codec compresses instead of `stored[range]`, and their number.
    ///   - symbols: number of symbols in the stream in scheme `trellis`.
    func append(
        _ stored: [UInt8], _ range: Range<Int>, _ asked: Codec, packed: (bytes: [UInt8], count: Int)? = nil,
        symbols: Int = 0, to chunk: inout EncodedChunk
    ) {
        let start = chunk.byteCount
        chunk.bytes.grow(to: start + range.count)
        let size =
            if let packed {
                codec.compress(
                    packed.bytes.span.extracting(0..<packed.count), asked, below: range.count, into: &chunk.bytes,
                    at: start)
            } else {
                codec.compress(
                    stored.span.extracting(range), asked, below: range.count, into: &chunk.bytes, at: start)
            }
        if size == nil { chunk.bytes.replaceSubrange(start..<start + range.count, with: stored[range]) }
        let byteCount = size ?? range.count
        chunk.byteCount += byteCount
        chunk.entry.streams.append(
            .init(byteCount: UInt32(byteCount), codec: size == nil ? .none : asked, symbols: symbols))
    }

    /// Appends a stream that rANS has coded: the first `count` bytes of `bytes`.
    func append(rans bytes: [UInt8], count: Int, symbols: Int, to chunk: inout EncodedChunk) {
        let start = chunk.byteCount
        chunk.bytes.grow(to: start + count)
        chunk.bytes.replaceSubrange(start..<start + count, with: bytes[..<count])
        chunk.byteCount += count
        chunk.entry.streams.append(.init(byteCount: UInt32(count), codec: .rans, symbols: symbols))
    }

    /// Appends `count` empty streams.
    func appendEmpty(_ count: Int, to chunk: inout EncodedChunk) {
        for _ in 0..<count { append([], 0..<0, .none, to: &chunk) }
    }
}
