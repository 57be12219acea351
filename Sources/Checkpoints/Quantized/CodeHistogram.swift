import FileAccess
import Kernels
import TensorModel

/// How often each code of a tensor occurs. Histograms of parts of a tensor can be added.
package struct CodeHistogram: Sendable, Hashable {
    /// Counts by code.
    package private(set) var counts: [UInt64] = []

    /// No counts.
    package init() {}

    /// Number of values of a code that occur.
    package var used: Int { counts.reduce(0) { $1 > 0 ? $0 + 1 : $0 } }

    /// Adds the counts of another part of the tensor.
    package mutating func add(_ other: CodeHistogram) {
        counts.grow(to: other.counts.count)
        for index in other.counts.indices { counts[index] &+= other.counts[index] }
    }

    /// Counts the codes of part `index` of `count` equal parts of a tensor. Replaces the counts before.
    ///
    /// - Throws: errors of reading.
    package mutating func count(_ index: Int, of count: Int, _ form: QuantizedForm) throws {
        counts = [UInt64](repeating: 0, count: form.levels)
        let part = FilePart(form.parts[0].file, form.parts[0].tensor.range)
        guard let matrix = form.matrix else {
            return try countWords(index, of: count, part, width: form.codeBits / 8)
        }
        if matrix.layout.bits.nonzeroBitCount == 1, matrix.isDense {
            try countBytes(index, of: count, part, bits: matrix.layout.bits)
        } else {
            try countCodes(index, of: count, part, matrix)
        }
    }

    /// The range of part `index` of `count` equal parts of `length`, in multiples of `unit`.
    private static func share(_ index: Int, of count: Int, _ length: Int, unit: Int) -> Range<Int> {
        func bound(_ index: Int) -> Int {
            index >= count ? length : min(length, Int(Double(length / unit) * Double(index) / Double(count)) * unit)
        }
        return bound(index)..<bound(index + 1)
    }

    /// Bytes that are read at a time.
    private static let stepBytes = 1 << 18

    private static func forEachStep(
        _ range: Range<Int>, of part: FilePart, _ body: (Span<UInt8>) -> Void
    ) throws {
        var bytes = [UInt8](repeating: 0, count: min(stepBytes, range.count))
        var start = range.lowerBound
        while start < range.upperBound {
            let count = min(stepBytes, range.upperBound - start)
            try SideValues.fetch(part, from: start, width: count, count: 1, distance: 0, into: &bytes)
            body(bytes.span.extracting(0..<count))
            start += count
        }
    }

    /// Counts whole bytes, and divides them into codes of 1, 2, 4 or 8 bits.
    private mutating func countBytes(_ index: Int, of count: Int, _ part: FilePart, bits: Int) throws {
        var bytesFound = [UInt64](repeating: 0, count: 256)
        let range = CodeHistogram.share(index, of: count, Int(part.range.count), unit: 4)
        try CodeHistogram.forEachStep(range, of: part) { bytes in
            var found = bytesFound.mutableSpan
            Kernels.countBytes(bytes, into: &found)
        }
        for byte in 0..<256 {
            let found = bytesFound[byte]
            guard found > 0 else { continue }
            for shift in stride(from: 0, to: 8, by: bits) { counts[byte >> shift & (1 << bits - 1)] &+= found }
        }
    }

    private mutating func countCodes(
        _ index: Int, of count: Int, _ part: FilePart, _ matrix: QuantizedForm.Matrix
    ) throws {
        var reader = CodeReader(matrix.layout, rows: matrix.rows, columns: matrix.columns)
        func add(_ rows: Range<Int>, _ columns: Range<Int>) throws {
            guard !rows.isEmpty, !columns.isEmpty else { return }
            try reader.read(rows, columns, of: part)
            let codes = reader.codes
            for row in 0..<rows.count {
                let start = row * reader.stride + reader.start
                for place in start..<start + columns.count { counts[Int(codes[place]) & (counts.count - 1)] &+= 1 }
            }
        }
        if matrix.rows == 1 {
            let range = CodeHistogram.share(index, of: count, matrix.columns, unit: 8)
            for start in stride(from: range.lowerBound, to: range.upperBound, by: CodeHistogram.stepBytes) {
                try add(0..<1, start..<min(range.upperBound, start + CodeHistogram.stepBytes))
            }
        } else {
            let range = CodeHistogram.share(index, of: count, matrix.rows, unit: matrix.rows.isMultiple(of: 8) ? 8 : 1)
            let step = max(8, CodeHistogram.stepBytes / matrix.columns / 8 * 8)
            for row in stride(from: range.lowerBound, to: range.upperBound, by: step) {
                try add(row..<min(range.upperBound, row + step), 0..<matrix.columns)
            }
        }
    }

    /// Counts codes of whole bytes, 1 or 2 (AQLM).
    private mutating func countWords(_ index: Int, of count: Int, _ part: FilePart, width: Int) throws {
        let range = CodeHistogram.share(index, of: count, Int(part.range.count), unit: width)
        let mask = counts.count - 1
        try CodeHistogram.forEachStep(range, of: part) { bytes in
            for place in stride(from: 0, to: bytes.count - width + 1, by: width) {
                let code = Int(bytes[place]) | (width == 2 ? Int(bytes[place + 1]) << 8 : 0)
                counts[code & mask] &+= 1
            }
        }
    }
}
