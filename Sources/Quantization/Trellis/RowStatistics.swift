internal import Kernels
import TensorModel

/// Estimates the rate of a chunk before it is encoded.
package enum RowStatistics {
    /// The mean over rows of log2(row RMS), and the sum of squares of all weights.
    ///
    /// At a fixed step, the bits per weight are this mean plus a constant. The sum of squares of a row counts as at least 2^-40 of the
    /// largest row's, so that rows of zeros have a logarithm.
    package static func logScale(_ weights: [Float], rows: Int, columns: Int) -> (scale: Double, energy: Double) {
        let energies = energies(weights, rows, columns)
        let minimum = max((energies.max() ?? 0) * 0x1p-40, Double.leastNormalMagnitude)
        let sum = energies.reduce(0) { $0 + ExactMath.log2(max($1, minimum) / Double(columns)) }
        return (sum / Double(2 * max(rows, 1)), energies.reduce(0, +))
    }

    /// The sum of squares of each row: by the kernel in binary32, or in binary64 if a sum overflows or is close to underflow.
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
