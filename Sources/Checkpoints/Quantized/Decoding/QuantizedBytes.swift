import FileAccess
import Kernels
import SystemPackage
import TensorModel

/// Decodes a matrix of codes with scales to elements of a float format.
///
/// A weight is (code value - zero point) * scale, or code value * scale + bias. The arithmetic is binary32. The result is rounded once to the
/// format. With a bias, the product is rounded to the format too, before the bias is added, as in MLX. The codes are the first part.
struct QuantizedBytes: DerivedBytes {
    /// The rows and columns of the weights. A tensor whose groups run across rows is one row.
    let rows: Int, columns: Int
    /// The format of the decoded elements.
    let format: FloatFormat
    let layout: CodeLayout
    let kind: Kernels.CodeKind
    /// The values of the codes of `CodeKind.table`: 256, or none.
    var table: [Float] = []
    let scales: SideValues
    /// What is subtracted before, or added after the scale; nil for nothing.
    var offsets: Offsets?
    /// The group of each column, in a part of type I32, instead of `scales.blockColumns` (GPTQ's g_idx).
    var groupIndexPart: Int?
    /// A factor after the scale; nil for none.
    var factor: Float?

    /// Numbers that are subtracted from the values of codes, or added to products. Indirect, since most checkpoints have many matrices and
    /// no offsets.
    indirect enum Offsets: Sendable {
        /// A zero point for all weights.
        case zero(Float)
        /// A zero point for each group.
        case zeros(SideValues)
        /// A bias for each group.
        case biases(SideValues)
    }

    /// Weights that are decoded at a time.
    private static let stripWeights = 1 << 16
    /// The same for layouts that store rows as columns.
    private static let transposedStripWeights = 1 << 19

    var byteCount: UInt64 { UInt64(rows) * UInt64(columns) * UInt64(format.byteWidth) }

    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws {
        guard count > 0 else { return }
        let width = format.byteWidth
        let (first, skipped) = Int(start).quotientAndRemainder(dividingBy: width)
        let end = (Int(start) + count - 1) / width + 1
        if skipped == 0, count % width == 0 { return try decode(first..<end, of: parts, into: &buffer, at: offset) }
        // The range begins or ends inside an element.
        var whole = [UInt8](repeating: 0, count: (end - first) * width)
        try decode(first..<end, of: parts, into: &whole, at: 0)
        buffer.replaceSubrange(offset..<offset + count, with: whole[skipped..<skipped + count])
    }

    func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of parts: [FilePart], into buffer: inout [UInt8]
    ) throws {
        let width = format.byteWidth
        let (row, column) = (Int(start) / width).quotientAndRemainder(dividingBy: columns)
        guard Int(start) % width == 0, count % width == 0, stride == columns * width, column + count / width <= columns
        else {
            for index in 0..<rows {
                try read(start + UInt64(index * stride), count: count, of: parts, into: &buffer, at: index * count)
            }
            return
        }
        try decode(row..<row + rows, column..<column + count / width, of: parts, into: &buffer, at: 0)
    }

    /// Decodes neighbouring elements, counted row by row.
    private func decode(_ elements: Range<Int>, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws
    {
        var (first, offset) = (elements.lowerBound, offset)
        while first < elements.upperBound {
            let (row, column) = first.quotientAndRemainder(dividingBy: columns)
            let rest = elements.upperBound - first
            let isWhole = column == 0 && rest >= columns
            let place = isWhole ? row..<row + rest / columns : row..<row + 1
            let part = isWhole ? 0..<columns : column..<min(columns, column + rest)
            try decode(place, part, of: parts, into: &buffer, at: offset)
            first += place.count * part.count
            offset += place.count * part.count * format.byteWidth
        }
    }

    /// Decodes a rectangle into the buffer, row by row without gaps, strip by strip.
    private func decode(
        _ rows: Range<Int>, _ columns: Range<Int>, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int
    ) throws {
        guard !rows.isEmpty, !columns.isEmpty else { return }
        let limit = layout.isTransposed ? QuantizedBytes.transposedStripWeights : QuantizedBytes.stripWeights
        // Columns of a strip begin at multiples of 32, where codes of all widths begin at whole bytes.
        let width = min(columns.count, limit)
        let height = max(1, limit / width)
        var strip = Strip(self, groups: try groupIndex(of: parts))
        var row = rows.lowerBound
        while row < rows.upperBound {
            let band = row..<min(rows.upperBound, row + height)
            var column = columns.lowerBound
            while column < columns.upperBound {
                let piece = column..<min(columns.upperBound, column + width)
                let place = (row - rows.lowerBound) * columns.count + column - columns.lowerBound
                try strip.decode(
                    band, piece, of: parts, into: &buffer, at: offset + place * format.byteWidth,
                    stride: columns.count * format.byteWidth)
                column = piece.upperBound
            }
            row = band.upperBound
        }
    }

    /// The group of each column; empty if neighbouring columns form groups.
    private func groupIndex(of parts: [FilePart]) throws -> [Int] {
        guard let groupIndexPart else { return [] }
        var bytes = [UInt8](repeating: 0, count: columns * 4)
        try SideValues.fetch(
            parts[groupIndexPart], from: 0, width: columns * 4, count: 1, distance: 0, into: &bytes)
        return try (0..<columns).map { column in
            let group = Int(Int32(bitPattern: bytes.span.word(column * 4)))
            guard (0..<scales.gridColumns).contains(group) else {
                throw IngotError(
                    .unsupportedSource, file: parts[groupIndexPart].file.path.string,
                    offset: parts[groupIndexPart].range.start + UInt64(column * 4),
                    found: "group \(group) for input \(column) in g_idx",
                    expected: "a group from 0 to \(scales.gridColumns - 1)",
                    remedy: "the file is damaged or of another checkpoint: fetch it again")
            }
            return group
        }
    }
}

/// The buffers in which a strip of a matrix is decoded.
private struct Strip {
    let matrix: QuantizedBytes
    private let groups: [Int]
    private var reader: CodeReader
    private var values: [Float] = []

    init(_ matrix: QuantizedBytes, groups: [Int]) {
        self.matrix = matrix
        self.groups = groups
        reader = CodeReader(matrix.layout, rows: matrix.rows, columns: matrix.columns)
    }

    /// The side values of a strip: those of its rows, for its columns.
    private struct Side {
        let values: [Float]
        let source: SideValues
        let firstRow: Int, width: Int

        init(_ source: SideValues, _ rows: Range<Int>, _ columns: Range<Int>, _ parts: [FilePart]) throws {
            self.source = source
            let lines = source.gridRows(of: rows)
            (firstRow, width) = (lines.lowerBound, columns.count)
            values = try source.read(lines, columns, of: parts)
        }

        func row(_ row: Int) -> Range<Int> {
            let start = (source.gridRow(of: row) - firstRow) * width
            return start..<start + width
        }
    }

    /// Decodes a rectangle; row k of it goes to `offset + k * stride`.
    mutating func decode(
        _ rows: Range<Int>, _ columns: Range<Int>, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int,
        stride: Int
    ) throws {
        try reader.read(rows, columns, of: parts[0])
        values.grow(to: columns.count)
        let group = matrix.scales.blockColumns
        let grid =
            groups.isEmpty
            ? columns.lowerBound / group..<(columns.upperBound - 1) / group + 1 : 0..<matrix.scales.gridColumns
        let scales = try Side(matrix.scales, rows, grid, parts)
        var zeros: Side?
        var biases: Side?
        var constant: [Float] = []
        switch matrix.offsets {
        case .zeros(let source): zeros = try Side(source, rows, grid, parts)
        case .biases(let source): biases = try Side(source, rows, grid, parts)
        case .zero(let zero): constant = [Float](repeating: zero, count: groups.isEmpty ? grid.count : columns.count)
        case nil: break
        }
        let width = columns.count * matrix.format.byteWidth
        let (matrix, table, codes, groups) = (self.matrix, self.matrix.table, reader.codes, self.groups)
        let (firstCode, codeStride) = (reader.start, reader.stride)
        for (index, row) in rows.enumerated() {
            let start = index * codeStride + firstCode
            var all = values.mutableSpan
            var target = all._mutatingExtracting(0..<columns.count)
            Kernels.codeValues(
                codes.span.extracting(start..<start + columns.count), matrix.kind, table: table.span, into: &target)
            if groups.isEmpty {
                let (scale, zero, bias) = (scales.values, zeros?.values ?? constant, biases?.values ?? [])
                let none = 0..<0
                Kernels.scaleCodes(
                    &target, first: columns.lowerBound - grid.lowerBound * group, group: group,
                    scales: scale.span.extracting(scales.row(row)),
                    zeros: zero.span.extracting(zeros?.row(row) ?? 0..<constant.count),
                    biases: bias.span.extracting(biases?.row(row) ?? none), between: matrix.format)
            } else {
                // Each column has the scale of its own group.
                let (from, zeroFrom) = (scales.row(row).lowerBound, zeros?.row(row).lowerBound ?? 0)
                let scale = columns.map { scales.values[from + groups[$0]] }
                let zero = zeros.map { zeros in columns.map { zeros.values[zeroFrom + groups[$0]] } } ?? constant
                Kernels.scaleCodes(
                    &target, first: 0, group: 1, scales: scale.span, zeros: zero.span, biases: [Float]().span,
                    between: matrix.format)
            }
            if let factor = matrix.factor {
                Kernels.scaleCodes(
                    &target, first: 0, group: columns.count, scales: [factor].span, zeros: [Float]().span,
                    biases: [Float]().span, between: matrix.format)
            }
            let (place, floats) = (offset + index * stride, values)
            var bytes = buffer.mutableSpan
            var result = bytes._mutatingExtracting(place..<place + width)
            _ = Kernels.narrow(floats.span.extracting(0..<columns.count), format: matrix.format, into: &result)
        }
    }
}
