import FileAccess
import Kernels
import TensorModel

/// Decodes sums of vectors of codebooks (AQLM). The parts are codes, codebooks and scales.
struct AdditiveBytes: DerivedBytes {
    /// Rows and columns of blocks.
    let blocks: (rows: Int, columns: Int)
    /// Rows and columns of weights of a block.
    let block: (rows: Int, columns: Int)
    /// Number of codebooks, and of vectors of each, a power of two.
    let codebooks: Int, vectors: Int
    /// Bytes of a code.
    let codeWidth: Int
    /// The format of codebooks and decoded weights, and of scales.
    let format: FloatFormat, scaleFormat: FloatFormat

    private var columns: Int { blocks.columns * block.columns }

    var byteCount: UInt64 {
        UInt64(blocks.rows * block.rows) * UInt64(columns) * UInt64(format.byteWidth)
    }

    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws {
        guard count > 0 else { return }
        let books = try AdditiveBytes.floats(parts[1], format)
        let lineBytes = columns * block.rows * format.byteWidth
        let first = Int(start) / lineBytes
        let last = (Int(start) + count - 1) / lineBytes
        var (place, position) = (offset, Int(start))
        for line in first...last {
            let bytes = try decode(line, books, parts)
            let from = position - line * lineBytes
            let length = min(lineBytes - from, Int(start) + count - position)
            buffer.replaceSubrange(place..<place + length, with: bytes[from..<from + length])
            place += length
            position += length
        }
    }

    /// Decodes a row of blocks: `block.rows` rows of weights.
    private func decode(_ line: Int, _ books: [Float], _ parts: [FilePart]) throws -> [UInt8] {
        let size = block.rows * block.columns
        let codeCount = blocks.columns * codebooks
        var codes = [UInt8](repeating: 0, count: codeCount * codeWidth)
        try SideValues.fetch(
            parts[0], from: line * codes.count, width: codes.count, count: 1, distance: 0, into: &codes)
        var scaleBytes = [UInt8](repeating: 0, count: scaleFormat.byteWidth)
        try SideValues.fetch(
            parts[2], from: line * scaleBytes.count, width: scaleBytes.count, count: 1, distance: 0, into: &scaleBytes)
        let scale = AdditiveBytes.widened(scaleBytes, scaleFormat)[0]
        var sums = [Float](repeating: 0, count: columns * block.rows)
        let mask = vectors - 1
        for index in 0..<blocks.columns {
            for book in 0..<codebooks {
                let place = (index * codebooks + book) * codeWidth
                let code = (Int(codes[place]) | (codeWidth == 2 ? Int(codes[place + 1]) << 8 : 0)) & mask
                let vector = (book * vectors + code) * size
                for element in 0..<size {
                    let target = element / block.columns * columns + index * block.columns + element % block.columns
                    sums[target] = book == 0 ? books[vector + element] : sums[target] + books[vector + element]
                }
            }
        }
        var bytes = [UInt8](repeating: 0, count: sums.count * format.byteWidth)
        var target = bytes.mutableSpan
        _ = Kernels.narrow(sums.span, format: format, into: &target)
        sums = AdditiveBytes.widened(bytes, format)
        for index in sums.indices { sums[index] *= scale }
        target = bytes.mutableSpan
        _ = Kernels.narrow(sums.span, format: format, into: &target)
        return bytes
    }

    private static func floats(_ part: FilePart, _ format: FloatFormat) throws -> [Float] {
        var bytes = [UInt8](repeating: 0, count: Int(part.range.count))
        try part.file.read(part.range, into: &bytes)
        return widened(bytes, format)
    }

    private static func widened(_ bytes: [UInt8], _ format: FloatFormat) -> [Float] {
        var values = [Float](repeating: 0, count: bytes.count / format.byteWidth)
        var target = values.mutableSpan
        Kernels.expand(bytes.span, format: format, into: &target)
        return values
    }
}
