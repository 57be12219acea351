import FileAccess
import Kernels
import TensorModel

/// Where the codes of a matrix lie in the tensor that stores them.
enum CodeLayout: Sendable, Hashable {
    /// Each row is a little-endian bit stream of codes of `bits` bits, from a multiple of `rowBytes` bytes on.
    ///
    /// `highFirst`: with 4 bits, the first code of a byte is in its upper half.
    case rows(bits: Int, rowBytes: Int, highFirst: Bool = false)
    /// Each row is words of 32 bits that hold 32 / `bits` whole codes, the first in the lowest bits. The upper bits are not used.
    ///
    /// compressed-tensors wrote codes of 3, 5, 6 and 7 bits like this before June 2026.
    case paddedWords(bits: Int, rowBytes: Int)
    /// GPTQ: a matrix of words, as many columns of words as the weights have rows. Each column is a little-endian bit stream of the codes of
    /// one row of weights.
    case columns(bits: Int)
    /// AWQ: one row of words for each column of the weights. A word holds the codes of eight rows of weights, in the order of `awqOrder`.
    case interleaved

    /// The row, of eight, whose code AWQ stores in each four bits of a word, lowest bits first.
    static let awqOrder = [0, 2, 4, 6, 1, 3, 5, 7]

    /// Bits of a code.
    var bits: Int {
        switch self {
        case .rows(let bits, _, _), .paddedWords(let bits, _), .columns(let bits): bits
        case .interleaved: 4
        }
    }

    /// Whether rows of weights are columns in the file, so that large rectangles are read at less cost than small ones.
    var isTransposed: Bool {
        switch self {
        case .rows, .paddedWords: false
        case .columns, .interleaved: true
        }
    }
}

/// Reads the codes of rectangles, in reusable buffers.
struct CodeReader {
    private let layout: CodeLayout
    /// Rows and columns of the weights.
    private let rows: Int, columns: Int
    private var bytes: [UInt8] = []
    private var turned: [UInt8] = []
    /// The codes of the last rectangle, row by row, a byte each; `stride` codes from row to row, the first at `start`.
    private(set) var codes: [UInt8] = []
    private(set) var start = 0, stride = 0

    init(_ layout: CodeLayout, rows: Int, columns: Int) {
        (self.layout, self.rows, self.columns) = (layout, rows, columns)
    }

    /// Reads the codes of a rectangle that is not empty.
    mutating func read(_ rows: Range<Int>, _ columns: Range<Int>, of part: FilePart) throws {
        switch layout {
        case .rows(let bits, let rowBytes, let highFirst):
            try readRows(rows, columns, bits, rowBytes, highFirst, of: part)
        case .paddedWords(let bits, let rowBytes): try readPadded(rows, columns, bits, rowBytes, of: part)
        case .columns(let bits): try readColumns(rows, columns, bits, of: part)
        case .interleaved: try readInterleaved(rows, columns, of: part)
        }
    }

    /// Reads `count` ranges of `width` bytes, `distance` bytes apart from `start` on, into `bytes`, and clears eight bytes behind them.
    private mutating func fetch(
        _ part: FilePart, from start: Int, width: Int, count: Int, distance: Int
    ) throws {
        bytes.grow(to: width * count + 8)
        guard let range = ByteRange(start: part.range.start + UInt64(start), count: UInt64(width)) else { return }
        if count == 1 || distance == width {
            let all = ByteRange(start: range.start, count: UInt64(width * count)) ?? range
            try part.file.read(all, into: &bytes)
        } else {
            try part.file.readScattered(range, rows: count, stride: distance, into: &bytes)
        }
        for index in width * count..<width * count + 8 { bytes[index] = 0 }
    }

    private mutating func readRows(
        _ rows: Range<Int>, _ columns: Range<Int>, _ bits: Int, _ rowBytes: Int, _ highFirst: Bool, of part: FilePart
    ) throws {
        // Eight codes fill whole bytes.
        let first = columns.lowerBound / 8 * 8
        let eights = (columns.upperBound - first + 7) / 8
        let place = first / 8 * bits
        let width = min(eights * bits, rowBytes - place)
        try fetch(
            part, from: rows.lowerBound * rowBytes + place, width: width, count: rows.count, distance: rowBytes)
        start = columns.lowerBound - first
        stride = eights * 8
        if width == eights * bits {
            codes.grow(to: rows.count * stride)
            let (packed, count) = (bytes, rows.count * stride)
            var target = codes.mutableSpan
            Kernels.unpackCodes(packed.span, count: count, bits: bits, highFirst: highFirst, into: &target)
            return
        }
        // The last eight codes of a row are cut short: what is read behind them belongs to the next row.
        codes.grow(to: rows.count * stride)
        bytes.grow(to: width * rows.count + 64)
        let (packed, length) = (bytes, stride)
        for row in 0..<rows.count {
            var all = codes.mutableSpan
            var target = all._mutatingExtracting(row * length..<(row + 1) * length)
            Kernels.unpackCodes(
                packed.span.extracting(row * width..<row * width + eights * bits), count: length, bits: bits,
                highFirst: highFirst, into: &target)
        }
    }

    private mutating func readPadded(
        _ rows: Range<Int>, _ columns: Range<Int>, _ bits: Int, _ rowBytes: Int, of part: FilePart
    ) throws {
        let each = 32 / bits
        let first = columns.lowerBound / each
        let words = (columns.upperBound + each - 1) / each - first
        try fetch(
            part, from: rows.lowerBound * rowBytes + first * 4, width: words * 4, count: rows.count,
            distance: rowBytes)
        (start, stride) = (columns.lowerBound - first * each, words * each)
        codes.grow(to: rows.count * stride)
        let mask = UInt32(1 << bits - 1)
        let packed = bytes
        var target = codes.mutableSpan
        for word in 0..<rows.count * words {
            let value = packed.span.word(word * 4)
            for index in 0..<each {
                target[word * each + index] = UInt8(truncatingIfNeeded: value >> UInt32(index * bits) & mask)
            }
        }
    }

    private mutating func readColumns(
        _ rows: Range<Int>, _ columns: Range<Int>, _ bits: Int, of part: FilePart
    ) throws {
        // 32 codes fill whole words.
        let first = columns.lowerBound / 32 * 32
        let blocks = (columns.upperBound - first + 31) / 32
        let words = min(blocks * bits, self.columns * bits / 32 - first / 32 * bits)
        try fetch(
            part, from: (first / 32 * bits * self.rows + rows.lowerBound) * 4, width: rows.count * 4, count: words,
            distance: self.rows * 4)
        turned.grow(to: words * rows.count * 4 + 8)
        let packed = bytes
        var target = turned.mutableSpan
        Kernels.transpose(packed.span, rows: words, columns: rows.count, width: 4, into: &target)
        (start, stride) = (columns.lowerBound - first, words * 32 / bits)
        codes.grow(to: rows.count * stride)
        let (stream, count) = (turned, rows.count * stride)
        var unpacked = codes.mutableSpan
        Kernels.unpackCodes(stream.span, count: count, bits: bits, highFirst: false, into: &unpacked)
    }

    private mutating func readInterleaved(_ rows: Range<Int>, _ columns: Range<Int>, of part: FilePart) throws {
        let first = rows.lowerBound / 8
        let words = (rows.upperBound + 7) / 8 - first
        try fetch(
            part, from: (columns.lowerBound * self.rows / 8 + first) * 4, width: words * 4, count: columns.count,
            distance: self.rows / 8 * 4)
        let count = columns.count * words * 8
        turned.grow(to: count)
        let packed = bytes
        var slots = turned.mutableSpan
        Kernels.unpackCodes(packed.span, count: count, bits: 4, highFirst: false, into: &slots)
        codes.grow(to: count)
        let unpacked = turned
        var target = codes.mutableSpan
        Kernels.transpose(unpacked.span, rows: columns.count, columns: words * 8, width: 1, into: &target)
        // Rows of codes are in AWQ's order now: bring those that are asked for to their places.
        var ordered = [UInt8](repeating: 0, count: rows.count * columns.count)
        for row in rows {
            let slot = CodeLayout.awqOrder.firstIndex(of: row % 8) ?? 0
            let from = ((row / 8 - first) * 8 + slot) * columns.count
            let to = (row - rows.lowerBound) * columns.count
            ordered.replaceSubrange(to..<to + columns.count, with: codes[from..<from + columns.count])
        }
        codes = ordered
        (start, stride) = (0, columns.count)
    }
}

extension Span<UInt8> {
    /// The little-endian word of 32 bits at byte `index`.
    @inline(__always)
    func word(_ index: Int) -> UInt32 {
        UInt32(self[index]) | UInt32(self[index + 1]) << 8 | UInt32(self[index + 2]) << 16
            | UInt32(self[index + 3]) << 24
    }
}
