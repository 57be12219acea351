package import TensorModel

/// Sums over the pieces of a tensor, for its statistics. Pieces are added in order.
package struct TensorSums: Sendable {
    /// The largest number of rows, and of columns, for which energies (sums of squares) are kept.
    package static let maximumLines = 1 << 20

    private var weights: WeightCounts
    private var codes: CodeCounts?
    private var rowEnergies: [Double] = [], columnEnergies: [Double] = []

    /// Sums over no pieces.
    ///
    /// - Parameter energies: numbers of rows and columns whose energies are kept; nil to keep none.
    package init(_ format: CountedFormat, energies: (rows: Int, columns: Int)?) {
        weights = WeightCounts(format)
        if let energies {
            rowEnergies = [Double](repeating: 0, count: energies.rows)
            columnEnergies = [Double](repeating: 0, count: energies.columns)
        }
    }

    /// Sums over no pieces. Keeps energies of rows and columns if `keepsEnergies` is true for the shape.
    package init(_ format: FloatFormat, _ shape: Shape) {
        self.init(
            CountedFormat(format), energies: TensorSums.keepsEnergies(of: shape) ? (shape.rows, shape.columns) : nil)
    }

    /// Whether energies of rows and columns are kept for a tensor. Its pieces must then be rectangles.
    package static func keepsEnergies(of shape: Shape) -> Bool {
        shape.isMatrix && shape.rows <= maximumLines && shape.columns <= maximumLines
    }

    /// A histogram of the weights with the bounds of `other`.
    package func histogram(binnedAs other: Histogram) -> Histogram {
        Histogram(weights, from: other.from, to: other.to)
    }

    /// Adds a piece whose first weight is at `row` and `column` of the tensor, and the counts of its codes if there are any.
    package mutating func add(_ piece: PieceCounts, row: Int, column: Int, _ codes: CodeCounts? = nil) {
        weights.add(piece)
        if let codes {
            if self.codes == nil { self.codes = codes } else { self.codes?.add(codes) }
        }
        guard !rowEnergies.isEmpty else { return }
        piece.addEnergies(to: &rowEnergies, from: row, and: &columnEnergies, from: column)
    }

    /// The statistics of the tensor. Call it once: it consumes the energies.
    ///
    /// - Parameter isLossless: whether the elements themselves were encoded; their entropy is then the code entropy.
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

    /// The spread of the RMS of rows or columns. Uses the memory of `energies` and leaves them empty.
    private static func spread(_ energies: inout [Double], over count: Int) -> WeightStatistics.Spread? {
        for index in 0..<energies.count { energies[index] = (energies[index] / Double(count)).squareRoot() }
        var roots: [Double] = []
        swap(&roots, &energies)
        return WeightStatistics.Spread(roots)
    }
}
