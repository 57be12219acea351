import Quantization
import TensorModel

/// What is added up over the pieces of a tensor, in their order.
struct TensorSums {
    private var weights: WeightCounts
    private var codes: CodeCounts?
    private var rowEnergies: [Double] = [], columnEnergies: [Double] = []

    /// Sums of nothing.
    ///
    /// - Parameter energies: rows and columns, where their energies are kept.
    init(_ format: FloatFormat, energies: (rows: Int, columns: Int)?) {
        weights = WeightCounts(format)
        if let energies {
            rowEnergies = [Double](repeating: 0, count: energies.rows)
            columnEnergies = [Double](repeating: 0, count: energies.columns)
        }
    }

    /// Sums of no pieces of a tensor.
    init(_ tensor: ReadableWeights) {
        self.init(tensor.countedFormat, energies: tensor.hasEnergies ? (tensor.rows, tensor.columns) : nil)
    }

    /// The weights in the bins of another histogram.
    func histogram(binnedAs other: Histogram) -> Histogram { Histogram(weights, from: other.from, to: other.to) }

    /// Adds a piece that stands at a place of the tensor.
    mutating func add(_ piece: PieceCounts, at place: PiecePlace, _ codes: CodeCounts? = nil) {
        weights.add(piece)
        if let codes {
            if self.codes == nil { self.codes = codes } else { self.codes?.add(codes) }
        }
        guard !rowEnergies.isEmpty else { return }
        let (rows, columns) = (piece.rowEnergies, piece.columnEnergies)
        for row in 0..<place.rows { rowEnergies[place.row + row] += Double(rows[row]) }
        for column in 0..<place.columns { columnEnergies[place.column + column] += Double(columns[column]) }
    }

    /// The statistics of the tensor; what was added up is used up.
    ///
    /// - Parameter isLossless: whether the elements themselves are what was encoded.
    mutating func finish(isLossless: Bool = false) -> WeightStatistics {
        var result = WeightStatistics(weights)
        result.codeEntropy = isLossless ? result.valueEntropy : codes?.entropy
        if !rowEnergies.isEmpty {
            let (rows, columns) = (rowEnergies.count, columnEnergies.count)
            result.rows = TensorSums.spread(&rowEnergies, over: columns)
            result.columns = TensorSums.spread(&columnEnergies, over: rows)
        }
        return result
    }

    /// How far root mean squares lie apart; the energies are used up, so that they need no second buffer.
    private static func spread(_ energies: inout [Double], over count: Int) -> WeightStatistics.Spread? {
        for index in 0..<energies.count { energies[index] = (energies[index] / Double(count)).squareRoot() }
        var roots: [Double] = []
        swap(&roots, &energies)
        return WeightStatistics.Spread(roots)
    }
}
