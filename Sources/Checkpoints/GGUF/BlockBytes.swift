import FileAccess
import TensorModel

/// Decodes a tensor that is stored in blocks of codes to little-endian binary32.
struct BlockBytes: DerivedBytes {
    let byteCount: UInt64
    private let decoder: any BlockDecoder.Type

    /// Number of blocks decoded at a time. Blocks of 18 bytes then take 72 KiB.
    private static let blocksAtOnce: UInt64 = 4096

    /// - Parameter elementCount: number of elements of the tensor. Its blocks are the only part.
    init(_ decoder: any BlockDecoder.Type, elementCount: Int) {
        self.decoder = decoder
        byteCount = UInt64(elementCount) * 4
    }

    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws {
        var blocks: [UInt8] = []
        let width = UInt64(decoder.elements * 4)
        let end = start + UInt64(count)
        var position = start
        while position < end {
            let first = position / width
            let last = min((end + width - 1) / width, first + BlockBytes.blocksAtOnce)
            try readBlocks(first..<last, of: parts[0], into: &blocks)
            let part = Int(min(end, last * width) - position)
            BlockBytes.decode(
                decoder, blocks, skipping: Int(position - first * width), count: part, into: &buffer,
                at: offset + Int(position - start))
            position += UInt64(part)
        }
    }

    private func readBlocks(_ numbers: Range<UInt64>, of part: FilePart, into buffer: inout [UInt8]) throws {
        let width = UInt64(decoder.bytes)
        let count = UInt64(numbers.count) * width
        guard let range = ByteRange(start: part.range.start + numbers.lowerBound * width, count: count) else { return }
        if buffer.count < Int(count) { buffer = [UInt8](repeating: 0, count: Int(count)) }
        try part.file.read(range, into: &buffer)
    }

    /// Decodes `count` bytes of elements, after the first `skipping` bytes of the first block.
    private static func decode<Decoder: BlockDecoder>(
        _ decoder: Decoder.Type, _ blocks: [UInt8], skipping: Int, count: Int, into buffer: inout [UInt8],
        at offset: Int
    ) {
        let width = Decoder.elements * 4
        let codes = blocks.span
        // A block that is needed only in part is decoded into a buffer of its own.
        var (block, done) = (0, 0)
        func decodePart(from: Int, to: Int) {
            var whole = [UInt8](repeating: 0, count: width)
            Decoder.decode(codes, block * Decoder.bytes, into: &whole, at: 0)
            for index in from..<to { buffer[offset + done + index - from] = whole[index] }
            done += to - from
            block += 1
        }
        if skipping > 0 || count < width { decodePart(from: skipping, to: min(width, skipping + count)) }
        while count - done >= width {
            Decoder.decode(codes, block * Decoder.bytes, into: &buffer, at: offset + done)
            done += width
            block += 1
        }
        if done < count { decodePart(from: 0, to: count - done) }
    }
}
