internal import CKernels

extension Kernels {
    /// The number of rows and columns of a chunk. Its weights are row-major.
    package struct ChunkShape: Sendable, Hashable {
        /// Number of rows.
        package var rows: Int
        /// Number of columns.
        package var columns: Int

        /// A chunk of `rows` x `columns` weights. Traps if one is negative.
        package init(rows: Int, columns: Int) {
            precondition(rows >= 0 && columns >= 0, "ChunkShape: negative")
            self.rows = rows
            self.columns = columns
        }

        /// Number of weights in the chunk.
        package var weightCount: Int { rows * columns }

        /// The shape as the C kernels take it.
        var kernel: ingot_chunk_shape { ingot_chunk_shape(rows: rows, columns: columns) }
    }
}
