internal import Kernels
import TensorModel

/// What can be said of a chunk's rate before it is encoded.
public enum RowStatistics {
    /// Half the mean, over the rows of a chunk, of log2 of their mean square: at a given step, the bits a weight but for a constant; and
    /// the sum of squares of all weights.
    ///
    /// Rows of zeros count as 2^-40 of the chunk's largest row.
    public static func logScale(_ weights: [Float], rows: Int, columns: Int) -> (scale: Double, energy: Double) {
        var energies = [Float](repeating: 0, count: rows)
        var target = energies.mutableSpan
        Kernels.rowEnergies(weights.span, rows: rows, columns: columns, into: &target)
        let least = max(Double(energies.max() ?? 0) * 0x1p-40, Double.leastNormalMagnitude)
        var sum = 0.0
        var energy = 0.0
        for value in energies.map(Double.init) {
            sum += ExactMath.log2(max(value, least) / Double(columns))
            energy += value
        }
        return (sum / Double(2 * max(rows, 1)), energy)
    }
}
