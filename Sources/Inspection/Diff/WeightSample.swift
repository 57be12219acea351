import Container
import Weights

/// Samples of weights, which tell tensors apart without reading them whole.
enum WeightSample {
    private static let runLength = 64

    /// Reads up to `runs` runs of up to 64 weights of a row, spread over the rows. Two matrices of the same shape have theirs at the same
    /// places. There must be at least one weight.
    ///
    /// - Throws: errors of reading; damage of an encoded tensor names the tensor.
    static func read(_ rows: ReadableRows, runs: Int, _ reader: inout RowReader) throws -> [Float] {
        var weights: [Float] = []
        var read = ReadWeights()
        let columns = rows.weights.columns
        let length = min(columns, runLength)
        let places = min(runs, rows.rows * (columns / length))
        for run in 0..<places {
            // Runs lie along the diagonal of the matrix, or spread over its only row.
            let row = rows.rows == 1 ? 0 : (rows.rows - 1) * run / max(1, places - 1)
            let column = (columns - length) * run / max(1, places - 1)
            let place = ChunkPlace(row: row, column: column, rows: 1, columns: length)
            try reader.read(rows.place(place), of: rows.weights, into: &read)
            weights += read.weights.prefix(length)
        }
        return weights
    }

    /// The sum of squares of `first`, and that of the differences, over pairs of finite weights.
    static func sums(_ first: [Float], _ second: [Float]) -> (signal: Double, noise: Double) {
        var (signal, noise) = (0.0, 0.0)
        for (a, b) in zip(first, second) where a.isFinite && b.isFinite {
            signal += Double(a) * Double(a)
            noise += (Double(a) - Double(b)) * (Double(a) - Double(b))
        }
        return (signal, noise)
    }
}
