internal import TensorModel

/// How a matrix is cut into chunks. It depends only on shape and scheme.
package struct ChunkGrid: Sendable, Hashable {
    /// Numbers of rows and columns of the matrix.
    package let rows: Int, columns: Int
    /// Rows and columns of a chunk; chunks at the lower and right edges may be smaller.
    package let chunkRows: Int, chunkColumns: Int
    /// Whether chunks are tiles. A tile is in general not contiguous in the source.
    package let isTiled: Bool

    /// The grid of a tensor (Specs/container.md, "Payload").
    package init(rows: Int, columns: Int, _ scheme: TensorScheme) {
        if case .trellis = scheme {
            self.init(tilesOfRows: rows, columns: columns)
        } else {
            self.init(bandsOfRows: rows, columns: columns)
        }
    }

    /// Chunks are bands of whole rows, or parts of one row if rows are very wide. They are contiguous in the source.
    private init(bandsOfRows rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        isTiled = false
        chunkColumns = min(columns, ContainerFormat.chunkWeights)
        chunkRows =
            columns > ContainerFormat.chunkWeights ? 1 : min(rows, max(1, ContainerFormat.chunkWeights / columns))
    }

    /// Chunks are tiles. They have about 512 rows: fewer if rows are very wide, so that a band of tiles fits in memory, and more if
    /// rows are narrow. All bands have equal numbers of rows, and all tiles of a band equal widths, except the last.
    private init(tilesOfRows rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        isTiled = true
        let strip = ChunkGrid.stripColumns
        let highest = ChunkGrid.largestTileRows(columns: columns)
        chunkRows = ceilingDivide(rows, ceilingDivide(rows, highest))
        let widest = max(1, ContainerFormat.chunkWeights / chunkRows / strip) * strip
        chunkColumns = min(
            columns, ceilingDivide(ceilingDivide(columns, ceilingDivide(columns, widest)), strip) * strip)
    }

    /// The most rows that a tile of a matrix with `columns` columns has.
    package static func largestTileRows(columns: Int) -> Int {
        columns < 512
            ? ContainerFormat.chunkWeights / (ceilingDivide(columns, stripColumns) * stripColumns)
            : max(128, min(512, bandWeights / columns))
    }

    /// Columns per strip of the trellis coder. The width of a tile is a multiple of it.
    static let stripColumns = 64
    /// The largest number of weights in a band of tiles, except if 128 rows have more.
    static let bandWeights = 1 << 23

    /// Number of chunks in a band, side by side.
    package var chunksPerBand: Int { ceilingDivide(columns, chunkColumns) }

    /// Number of chunks.
    package var count: Int { ceilingDivide(rows, chunkRows) * chunksPerBand }

    /// The first row and column of a chunk, and its numbers of rows and columns.
    package func place(of chunk: Int) -> ChunkPlace {
        let row = chunk / chunksPerBand * chunkRows
        let column = chunk % chunksPerBand * chunkColumns
        return ChunkPlace(
            row: row, column: column, rows: min(chunkRows, rows - row), columns: min(chunkColumns, columns - column))
    }

    /// Index in the tensor of the first element of a chunk.
    package func firstElement(of place: ChunkPlace) -> Int { place.row * columns + place.column }

    /// Index in the tensor of element `index` of a chunk, counted row by row.
    package func element(_ index: Int, of place: ChunkPlace) -> Int {
        (place.row + index / place.columns) * columns + place.column + index % place.columns
    }

    /// Whether the elements of a chunk are contiguous in the tensor.
    package func isContiguous(_ place: ChunkPlace) -> Bool { place.columns == columns || place.rows == 1 }

    /// Whether the chunk is the first of its band.
    package func beginsBand(_ chunk: Int) -> Bool { chunk % chunksPerBand == 0 }
    /// Whether the chunk is the last of its band.
    package func endsBand(_ chunk: Int) -> Bool { chunk % chunksPerBand == chunksPerBand - 1 }

    /// The range of elements of the tensor in the rows of a chunk.
    package func band(of chunk: Int) -> Range<Int> {
        let place = place(of: chunk)
        return place.row * columns..<(place.row + place.rows) * columns
    }
}

/// A rectangle of a matrix.
package struct ChunkPlace: Sendable, Hashable {
    /// The first row and the first column.
    package let row: Int, column: Int
    /// Numbers of rows and columns.
    package let rows: Int, columns: Int

    /// A rectangle with the given place and size.
    package init(row: Int, column: Int, rows: Int, columns: Int) {
        (self.row, self.column, self.rows, self.columns) = (row, column, rows, columns)
    }

    /// Number of weights.
    package var count: Int { rows * columns }
}
