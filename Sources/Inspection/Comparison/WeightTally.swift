import Container
import Quantization
import TensorModel

/// Adds up what is counted of the pieces of a tensor, and the energies of its rows and columns.
struct WeightTally {
    private var counts: WeightCounts
    private var rowEnergies: [Double] = [], columnEnergies: [Double] = []
    private let rows: Int, columns: Int

    /// Rows or columns at most whose energies are kept.
    private static let mostLines = 1 << 20

    init(_ tensor: ReadableWeights, shift: Double) {
        counts = WeightCounts(tensor.countedFormat, shift: shift)
        (rows, columns) = (tensor.rows, tensor.columns)
        guard tensor.tensor.shape.isMatrix, max(rows, columns) <= WeightTally.mostLines else { return }
        rowEnergies = [Double](repeating: 0, count: rows)
        columnEnergies = [Double](repeating: 0, count: columns)
    }

    mutating func add(_ piece: PieceCounts, _ place: ChunkPlace) {
        counts.add(piece)
        guard !rowEnergies.isEmpty else { return }
        for row in 0..<place.rows { rowEnergies[place.row + row] += Double(piece.rowEnergies[row]) }
        for column in 0..<place.columns {
            columnEnergies[place.column + column] += Double(piece.columnEnergies[column])
        }
    }

    /// The weights in the bins of another histogram.
    func histogram(binnedAs other: Histogram) -> Histogram { Histogram(counts, from: other.from, to: other.to) }

    var statistics: WeightStatistics {
        var statistics = WeightStatistics(counts)
        guard !rowEnergies.isEmpty else { return statistics }
        statistics.rows = WeightStatistics.Spread(rowEnergies.map { ($0 / Double(columns)).squareRoot() })
        statistics.columns = WeightStatistics.Spread(columnEnergies.map { ($0 / Double(rows)).squareRoot() })
        return statistics
    }
}
