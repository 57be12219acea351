internal import CKernels

extension Kernels {
    /// The size of a chunk, whose weights are row-major.
    package struct ChunkShape: Sendable, Hashable {
        /// Rows of the chunk.
        package var rows: Int
        /// Columns of the chunk.
        package var columns: Int

        /// A chunk of `rows` x `columns` weights.
        package init(rows: Int, columns: Int) {
            precondition(rows >= 0 && columns >= 0, "ChunkShape: negative")
            self.rows = rows
            self.columns = columns
        }

        /// Weights in the chunk.
        package var weightCount: Int { rows * columns }

        /// The shape as the C kernels take it.
        var kernel: ingot_chunk_shape { ingot_chunk_shape(rows: rows, columns: columns) }
    }
}
