internal import TensorModel

/// How a matrix is cut into chunks. The cut depends on shape and scheme alone.
package struct ChunkGrid: Sendable, Hashable {
    /// The matrix.
    package let rows: Int, columns: Int
    /// A chunk, except at the lower and right edges.
    package let chunkRows: Int, chunkColumns: Int
    /// Whether chunks are tiles, which in general do not lie in one piece.
    package let isTiled: Bool

    /// The grid of a tensor (Specs/container.md, "Payload").
    package init(rows: Int, columns: Int, _ scheme: TensorScheme) {
        if case .trellis = scheme {
            self.init(tilesOfRows: rows, columns: columns)
        } else {
            self.init(bandsOfRows: rows, columns: columns)
        }
    }

    /// Bands of whole rows, or pieces of one row where rows are very wide: a chunk is contiguous in the source.
    private init(bandsOfRows rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        isTiled = false
        chunkColumns = min(columns, ContainerFormat.chunkWeights)
        chunkRows =
            columns > ContainerFormat.chunkWeights ? 1 : min(rows, max(1, ContainerFormat.chunkWeights / columns))
    }

    /// Tiles as high as a trellis needs, about 512, lower where rows are very wide, so that a band of them stays in memory, and
    /// higher where they are narrow; bands, and tiles of a band, are of equal size, but for the last.
    private init(tilesOfRows rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        isTiled = true
        let strip = ChunkGrid.stripColumns
        let highest =
            columns < 512
            ? ContainerFormat.chunkWeights / (ceilingDivide(columns, strip) * strip)
            : max(128, min(512, ChunkGrid.bandWeights / columns))
        chunkRows = ceilingDivide(rows, ceilingDivide(rows, highest))
        let widest = max(1, ContainerFormat.chunkWeights / chunkRows / strip) * strip
        chunkColumns = min(
            columns, ceilingDivide(ceilingDivide(columns, ceilingDivide(columns, widest)), strip) * strip)
    }

    /// Columns that a trellis coder takes at a time: the width of a tile is a multiple of it.
    static let stripColumns = 64
    /// Weights of a band of tiles at most, unless rows are so wide that 128 of them have more.
    static let bandWeights = 1 << 23

    /// Chunks beside each other.
    package var across: Int { ceilingDivide(columns, chunkColumns) }

    /// Number of chunks.
    package var count: Int { ceilingDivide(rows, chunkRows) * across }

    /// The place of a chunk: its first row and column, and how many of each it has.
    package func place(of chunk: Int) -> ChunkPlace {
        let row = chunk / across * chunkRows
        let column = chunk % across * chunkColumns
        return ChunkPlace(
            row: row, column: column, rows: min(chunkRows, rows - row), columns: min(chunkColumns, columns - column))
    }

    /// Index in the tensor of a chunk's first element.
    package func firstElement(of place: ChunkPlace) -> Int { place.row * columns + place.column }

    /// Index in the tensor of element `index`, counted row by row, of a chunk.
    package func element(_ index: Int, of place: ChunkPlace) -> Int {
        (place.row + index / place.columns) * columns + place.column + index % place.columns
    }

    /// Whether the elements of a chunk lie next to each other in the tensor.
    package func isContiguous(_ place: ChunkPlace) -> Bool { place.columns == columns || place.rows == 1 }

    /// Whether the chunk is the first of those beside each other.
    package func beginsBand(_ chunk: Int) -> Bool { chunk % across == 0 }
    /// Whether the chunk is the last of those beside each other.
    package func endsBand(_ chunk: Int) -> Bool { chunk % across == across - 1 }

    /// The elements of the tensor in the rows a chunk is in.
    package func band(of chunk: Int) -> Range<Int> {
        let place = place(of: chunk)
        return place.row * columns..<(place.row + place.rows) * columns
    }
}

/// A rectangle of a matrix.
package struct ChunkPlace: Sendable, Hashable {
    /// First row and column.
    package let row: Int, column: Int
    /// Number of rows and columns.
    package let rows: Int, columns: Int

    /// The given rectangle.
    package init(row: Int, column: Int, rows: Int, columns: Int) {
        (self.row, self.column, self.rows, self.columns) = (row, column, rows, columns)
    }

    /// Number of weights.
    package var count: Int { rows * columns }
}
