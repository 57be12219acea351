import FileAccess
import Kernels
import TensorModel

/// The numbers beside the codes of a matrix, one for each block of weights: scales, zero points or biases.
///
/// They are a matrix of `gridRows` x `gridColumns` numbers for each slice of a tensor of rank 3.
struct SideValues: Sendable {
    /// How a number is stored.
    enum Storage: Sendable, Hashable {
        case f32, f16, bf16, e4m3, e5m2
        /// A power of two (OCP Microscaling, E8M0).
        case e8m0
        /// A whole number of 8 bits in two's complement, or without sign.
        case i8, u8
        /// Codes of `bits` bits. Each column of the grid is a little-endian bit stream (compressed-tensors).
        ///
        /// `perWord`: codes of a word of 32 bits; 0 for a stream that goes on from word to word.
        case packedRows(bits: Int, perWord: Int)
        /// Codes of `bits` bits. Each row of the transposed grid is a little-endian bit stream in words of 32 bits (GPTQ).
        case packedWords(bits: Int)
        /// A code of four bits in a word of eight, in AWQ's order (`CodeLayout.awqOrder`).
        case interleaved

        /// Bytes of a number; nil for packed codes.
        var width: Int? {
            switch self {
            case .f32: 4
            case .f16, .bf16: 2
            case .e4m3, .e5m2, .e8m0, .i8, .u8: 1
            case .packedRows, .packedWords, .interleaved: nil
            }
        }
    }

    /// What is done with each number after it is read, in binary32.
    enum Adjustment: Sendable, Hashable {
        case none
        /// Added: the offset of a code.
        case add(Float)
        /// GPTQ's zero points, of which 1 was subtracted: of each code for 3 bits, else of all codes of a word at once (GPTQModel 7).
        case plusOne
        /// Divided by the only number of another part.
        case divide(part: Int)
        /// Multiplied with the only number of another part.
        case multiply(part: Int)
        /// bitsandbytes: an index of the table in one part, times a scale of another part for each `block` numbers, plus an offset.
        case nested(table: Int, scales: Int, block: Int, offset: Float)
    }

    /// The index of the part that holds them.
    let part: Int
    let storage: Storage
    /// Rows and columns of weights of a block.
    let blockRows: Int, blockColumns: Int
    /// Rows of weights of a slice; all rows for a matrix.
    let sliceRows: Int
    /// Rows and columns of the grid of a slice.
    let gridRows: Int, gridColumns: Int
    /// Whether the grid is stored column by column: `gridColumns` rows of `gridRows` numbers. Only without slices.
    var isTransposed = false
    var adjustment = Adjustment.none

    /// The rows of all slices' grids that a range of rows of weights needs.
    func gridRows(of rows: Range<Int>) -> Range<Int> {
        gridRow(of: rows.lowerBound)..<gridRow(of: rows.upperBound - 1) + 1
    }

    /// The row of all slices' grids that belongs to a row of weights.
    func gridRow(of row: Int) -> Int { row / sliceRows * gridRows + row % sliceRows / blockRows }

    /// Reads the numbers of a rectangle of the grid, row by row.
    ///
    /// - Parameters:
    ///   - rows: rows of all slices' grids.
    ///   - columns: columns of the grid.
    func read(_ rows: Range<Int>, _ columns: Range<Int>, of parts: [FilePart]) throws -> [Float] {
        var values = try stored(rows, columns, of: parts[part])
        switch adjustment {
        case .none: break
        case .add(let offset): for index in values.indices { values[index] += offset }
        case .plusOne:
            guard case .packedWords(let bits) = storage, SideValues.ones[bits] == nil else { break }
            let limit = Float(1 << bits - 1)
            for index in values.indices { values[index] = values[index] == limit ? 0 : values[index] + 1 }
        case .divide(let other):
            let divisor = try SideValues.only(parts[other])
            for index in values.indices { values[index] /= divisor }
        case .multiply(let other):
            let factor = try SideValues.only(parts[other])
            for index in values.indices { values[index] *= factor }
        case .nested(let table, let scales, let block, let offset):
            let levels = try SideValues.floats(parts[table], from: 0, count: Int(parts[table].range.count) / 4)
            let start = rows.lowerBound * gridColumns + columns.lowerBound
            let outer = try SideValues.floats(
                parts[scales], from: start / block, count: (start + values.count - 1) / block - start / block + 1)
            for index in values.indices {
                let level = Int(values[index])
                values[index] = levels[min(level, levels.count - 1)] * outer[(start + index) / block - start / block]
                values[index] += offset
            }
        }
        return values
    }

    /// A word with 1 in each code, by the bits of a code that divide 32.
    private static let ones: [Int: UInt32] = [2: 0x5555_5555, 4: 0x1111_1111, 8: 0x0101_0101]

    private func stored(_ rows: Range<Int>, _ columns: Range<Int>, of part: FilePart) throws -> [Float] {
        switch storage {
        case .packedRows(let bits, let perWord): return try packedRows(rows, columns, bits, perWord, of: part)
        case .packedWords(let bits): return try packedWords(rows, columns, bits, of: part)
        case .interleaved: return try interleaved(rows, columns, of: part)
        default: break
        }
        guard let width = storage.width else { preconditionFailure("packed codes are read above") }
        let (lines, line) = isTransposed ? (columns, rows) : (rows, columns)
        let length = isTransposed ? gridRows : gridColumns
        var bytes = [UInt8](repeating: 0, count: lines.count * line.count * width)
        try SideValues.fetch(
            part, from: (lines.lowerBound * length + line.lowerBound) * width, width: line.count * width,
            count: lines.count, distance: length * width, into: &bytes)
        if isTransposed, line.count > 1, lines.count > 1 {
            var turned = bytes
            var target = turned.mutableSpan
            Kernels.transpose(bytes.span, rows: lines.count, columns: line.count, width: width, into: &target)
            bytes = turned
        }
        return SideValues.widened(bytes, storage)
    }

    private static func widened(_ bytes: [UInt8], _ storage: Storage) -> [Float] {
        let count = bytes.count / (storage.width ?? 1)
        var values = [Float](repeating: 0, count: count)
        func expand(_ format: FloatFormat) {
            var target = values.mutableSpan
            Kernels.expand(bytes.span, format: format, into: &target)
        }
        func convert(_ kind: Kernels.CodeKind) {
            let table: [Float] = []
            var target = values.mutableSpan
            Kernels.codeValues(bytes.span, kind, table: table.span, into: &target)
        }
        switch storage {
        case .f32: expand(.f32)
        case .f16: expand(.f16)
        case .bf16: expand(.bf16)
        case .e4m3: convert(.e4m3)
        case .e5m2: convert(.e5m2)
        case .e8m0: convert(.e8m0)
        case .i8: convert(.signed)
        default: convert(.unsigned)
        }
        return values
    }

    /// The codes of a grid whose columns are bit streams: words of 32 bits, a row of words for each 32 bits of all columns.
    private func packedRows(
        _ rows: Range<Int>, _ columns: Range<Int>, _ bits: Int, _ perWord: Int, of part: FilePart
    ) throws -> [Float] {
        /// The bit at which the code of a row of a slice begins, counted over all words.
        func place(_ row: Int) -> Int { perWord == 0 ? row * bits : row / perWord * 32 + row % perWord * bits }
        // Slices are packed one by one.
        let wordRows = (place(gridRows - 1) + bits + 31) / 32
        var values = [Float](repeating: 0, count: rows.count * columns.count)
        var row = rows.lowerBound
        while row < rows.upperBound {
            let slice = row / gridRows
            let end = min(rows.upperBound, (slice + 1) * gridRows)
            let start = slice * gridRows
            let (first, last) = (place(row - start) / 32, (place(end - 1 - start) + bits - 1) / 32)
            var bytes = [UInt8](repeating: 0, count: (last + 1 - first) * columns.count * 4)
            try SideValues.fetch(
                part, from: ((slice * wordRows + first) * gridColumns + columns.lowerBound) * 4,
                width: columns.count * 4, count: last + 1 - first, distance: gridColumns * 4, into: &bytes)
            for line in row..<end {
                let bit = place(line - start) - first * 32
                for column in 0..<columns.count {
                    values[(line - rows.lowerBound) * columns.count + column] = SideValues.code(
                        bytes, at: bit, bits, word: { ($0 * columns.count + column) * 4 })
                }
            }
            row = end
        }
        return values
    }

    /// The codes of a transposed grid whose rows are bit streams.
    private func packedWords(
        _ rows: Range<Int>, _ columns: Range<Int>, _ bits: Int, of part: FilePart
    ) throws -> [Float] {
        let words = gridRows * bits / 32
        let (first, last) = (rows.lowerBound * bits / 32, (rows.upperBound * bits - 1) / 32)
        let count = last + 1 - first
        var bytes = [UInt8](repeating: 0, count: count * columns.count * 4)
        try SideValues.fetch(
            part, from: (columns.lowerBound * words + first) * 4, width: count * 4, count: columns.count,
            distance: words * 4, into: &bytes)
        if adjustment == .plusOne, let ones = SideValues.ones[bits] {
            for place in stride(from: 0, to: bytes.count, by: 4) {
                let word = bytes.span.word(place) &+ ones
                for index in 0..<4 { bytes[place + index] = UInt8(truncatingIfNeeded: word >> UInt32(8 * index)) }
            }
        }
        var values = [Float](repeating: 0, count: rows.count * columns.count)
        for row in 0..<rows.count {
            for column in 0..<columns.count {
                values[row * columns.count + column] = SideValues.code(
                    bytes, at: (rows.lowerBound + row) * bits - first * 32, bits, word: { (column * count + $0) * 4 })
            }
        }
        return values
    }

    private func interleaved(_ rows: Range<Int>, _ columns: Range<Int>, of part: FilePart) throws -> [Float] {
        let words = gridRows / 8
        let (first, last) = (rows.lowerBound / 8, (rows.upperBound - 1) / 8)
        let count = last + 1 - first
        var bytes = [UInt8](repeating: 0, count: count * columns.count * 4)
        try SideValues.fetch(
            part, from: (columns.lowerBound * words + first) * 4, width: count * 4, count: columns.count,
            distance: words * 4, into: &bytes)
        var slots = [Int](repeating: 0, count: 8)
        for (slot, row) in CodeLayout.awqOrder.enumerated() { slots[row] = slot }
        var values = [Float](repeating: 0, count: rows.count * columns.count)
        for row in rows {
            for column in 0..<columns.count {
                let word = bytes.span.word((column * count + row / 8 - first) * 4)
                values[(row - rows.lowerBound) * columns.count + column] = Float(
                    word >> UInt32(slots[row % 8] * 4) & 15)
            }
        }
        return values
    }

    /// A code of `bits` bits at bit `place` of a stream of words; `word` gives the byte at which a word begins.
    private static func code(_ bytes: [UInt8], at place: Int, _ bits: Int, word: (Int) -> Int) -> Float {
        let (index, shift) = (place / 32, place % 32)
        var value = UInt64(bytes.span.word(word(index)))
        if shift + bits > 32 { value |= UInt64(bytes.span.word(word(index + 1))) << 32 }
        return Float(value >> UInt64(shift) & (1 << UInt64(bits) - 1))
    }

    /// Reads `count` ranges of `width` bytes, `distance` bytes apart, from byte `start` of a part on.
    static func fetch(
        _ part: FilePart, from start: Int, width: Int, count: Int, distance: Int, into bytes: inout [UInt8]
    ) throws {
        guard let range = ByteRange(start: part.range.start + UInt64(start), count: UInt64(width)) else { return }
        if count == 1 || width == distance {
            try part.file.read(
                ByteRange(start: range.start, count: UInt64(width * count)) ?? range, into: &bytes)
        } else {
            try part.file.readScattered(range, rows: count, stride: distance, into: &bytes)
        }
    }

    /// Numbers of a part of type F32.
    static func floats(_ part: FilePart, from start: Int, count: Int) throws -> [Float] {
        var bytes = [UInt8](repeating: 0, count: count * 4)
        try fetch(part, from: start * 4, width: count * 4, count: 1, distance: 0, into: &bytes)
        return widened(bytes, .f32)
    }

    /// The only number of a part of type F32.
    private static func only(_ part: FilePart) throws -> Float { try floats(part, from: 0, count: 1)[0] }
}
