package import TensorModel

/// What is added up over the pieces of a tensor, in their order.
package struct TensorSums: Sendable {
    /// Rows or columns up to which energies are kept.
    package static let mostLines = 1 << 20

    private var weights: WeightCounts
    private var codes: CodeCounts?
    private var rowEnergies: [Double] = [], columnEnergies: [Double] = []

    /// Sums of nothing.
    ///
    /// - Parameter energies: rows and columns, where their energies are kept.
    package init(_ format: FloatFormat, energies: (rows: Int, columns: Int)?) {
        weights = WeightCounts(format)
        if let energies {
            rowEnergies = [Double](repeating: 0, count: energies.rows)
            columnEnergies = [Double](repeating: 0, count: energies.columns)
        }
    }

    /// Sums of no pieces of a tensor; energies of rows and columns are kept of a matrix that has not too many of them.
    package init(_ format: FloatFormat, _ shape: Shape) {
        self.init(format, energies: TensorSums.keepsEnergies(of: shape) ? (shape.rows, shape.columns) : nil)
    }

    /// Whether energies of rows and columns are kept of a tensor; its pieces then are rectangles.
    package static func keepsEnergies(of shape: Shape) -> Bool {
        shape.isMatrix && shape.rows <= mostLines && shape.columns <= mostLines
    }

    /// The weights in the bins of another histogram.
    package func histogram(binnedAs other: Histogram) -> Histogram {
        Histogram(weights, from: other.from, to: other.to)
    }

    /// Adds a piece whose first weight stands in a row and a column of the tensor.
    package mutating func add(_ piece: PieceCounts, row: Int, column: Int, _ codes: CodeCounts? = nil) {
        weights.add(piece)
        if let codes {
            if self.codes == nil { self.codes = codes } else { self.codes?.add(codes) }
        }
        guard !rowEnergies.isEmpty else { return }
        let (rows, columns) = (piece.rowEnergies, piece.columnEnergies)
        for index in rows.indices { rowEnergies[row + index] += Double(rows[index]) }
        for index in columns.indices { columnEnergies[column + index] += Double(columns[index]) }
    }

    /// The statistics of the tensor; what was added up is used up.
    ///
    /// - Parameter isLossless: whether the elements themselves are what was encoded.
    package mutating func finish(isLossless: Bool = false) -> WeightStatistics {
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
