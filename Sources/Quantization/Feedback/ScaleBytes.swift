internal import Kernels
internal import TensorModel

/// Which rows and columns of a tensor of scheme `trellis` have a scale of their own (Specs/trellis.md, "Scale bytes"). The raw value is the
/// member of a description.
package enum ScaleBytes: String, Sendable, Hashable {
    /// A byte for each column.
    case columns
    /// A byte for each column, then a byte for each row.
    case columnsAndRows = "columns_rows"

    /// Number of bytes of a matrix.
    package func count(rows: Int, columns: Int) -> Int { self == .columns ? columns : columns + rows }

    /// The byte of scale 1.
    package static let one: UInt8 = 128

    /// 2^(m / 8) for m = 0 ... 7, rounded to binary32.
    private static let eighths: [UInt32] = [
        0x3f80_0000, 0x3f8b_95c2, 0x3f98_37f0, 0x3fa5_fed7, 0x3fb5_04f3, 0x3fc5_672a, 0x3fd7_44fd, 0x3fea_c0c7,
    ]

    /// The scale of a byte b: 2^((b - 128) / 8), as the binary32 number of 2^(m / 8) times a power of two.
    package static func scale(_ byte: UInt8) -> Float {
        let eighths = Int(byte) - Int(one)
        let mantissa = Float(bitPattern: ScaleBytes.eighths[eighths & 7])
        return mantissa * Float(sign: .plus, exponent: eighths >> 3, significand: 1)
    }

    /// The byte whose scale is nearest to 2^`octaves`.
    package static func byte(octaves: Double) -> UInt8 {
        UInt8(min(max((octaves * 8).rounded() + Double(one), 0), 255))
    }
}

/// The steps of the weights of one chunk with scale bytes: the step of weight (i, j) is `rowSteps[i] * columnScales[j]`, rounded to binary32.
package struct ChunkSteps: Sendable, Hashable {
    /// Of each row: the chunk's step times the row's scale, rounded to binary32.
    package var rowSteps: [Float]
    /// The scale of each column.
    package var columnScales: [Float]

    /// The steps of a chunk.
    ///
    /// - Parameters:
    ///   - rows: a scale byte for each row of the chunk; empty if rows have none.
    ///   - columns: a scale byte for each of its columns.
    package init(step: Float, rowCount: Int, rows: [UInt8], columns: [UInt8]) {
        rowSteps =
            rows.isEmpty ? [Float](repeating: step, count: rowCount) : rows.map { step * ScaleBytes.scale($0) }
        columnScales = columns.map(ScaleBytes.scale)
    }

    /// Multiplies the levels of a chunk, row by row, by their steps.
    package func apply(to levels: inout [Float], rows: Int, columns: Int) {
        var target = levels.mutableSpan
        Kernels.applySteps(
            &target, Kernels.ChunkShape(rows: rows, columns: columns), rowSteps: rowSteps.span,
            columnScales: columnScales.span)
    }

    /// The largest step of the chunk.
    package var largest: Float { (rowSteps.max() ?? 0) * (columnScales.max() ?? 0) }
}
