internal import Kernels
import TensorModel

/// What can be said of a chunk's rate before it is encoded.
package enum RowStatistics {
    /// Half the mean, over the rows of a chunk, of log2 of their mean square: at a given step, the bits a weight but for a constant; and
    /// the sum of squares of all weights.
    ///
    /// Rows of zeros count as 2^-40 of the chunk's largest row.
    package static func logScale(_ weights: [Float], rows: Int, columns: Int) -> (scale: Double, energy: Double) {
        let energies = energies(weights, rows, columns)
        let least = max((energies.max() ?? 0) * 0x1p-40, Double.leastNormalMagnitude)
        let sum = energies.reduce(0) { $0 + ExactMath.log2(max($1, least) / Double(columns)) }
        return (sum / Double(2 * max(rows, 1)), energies.reduce(0, +))
    }

    /// The sum of squares of each row: by the kernel, in binary32, where no sum can leave the range of that.
    private static func energies(_ weights: [Float], _ rows: Int, _ columns: Int) -> [Double] {
        var energies = [Float](repeating: 0, count: rows)
        var target = energies.mutableSpan
        Kernels.rowEnergies(weights.span, Kernels.ChunkShape(rows: rows, columns: columns), into: &target)
        let largest = energies.max() ?? 0
        if largest.isFinite, largest > 0x1p-80 { return energies.map(Double.init) }
        return (0..<rows).map { row in
            (row * columns..<(row + 1) * columns).reduce(0) { $0 + Double(weights[$1]) * Double(weights[$1]) }
        }
    }
}
