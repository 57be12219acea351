import Container
import TensorModel
import Weights

/// Cuts the tensors of a source into bands of rows.
struct RowBands: Sendable {
    /// Most weights of a band; a single row, or a head of rows that move, may have more.
    private static let weights = 1 << 20

    /// The bands of all tensors that a plan uses, in the order of the source.
    let bands: [RowBand]
    /// Weights of the largest band.
    let largestBand: Int
    /// Weights of the largest band of an encoded tensor; 0 if there is none.
    let largestEncodedBand: Int
    /// Rows of the highest band of a matrix.
    let mostRows: Int

    /// Cuts the tensors.
    init(_ tensors: [RowsExporter.Readable], _ plans: [ExportPlan]) {
        var uses: [[(use: RowBand.Use, rows: Range<Int>)]] = Array(repeating: [], count: tensors.count)
        for (planIndex, plan) in plans.enumerated() {
            for (tensorIndex, tensor) in plan.tensors.enumerated() {
                for source in tensor.sources {
                    uses[source.tensor].append(
                        (
                            RowBand.Use(
                                plan: planIndex, tensor: tensorIndex, firstRow: source.firstRow, move: source.move,
                                input: source.input),
                            source.rows
                        ))
                }
            }
        }
        var bands: [RowBand] = []
        var (largest, largestEncoded, mostRows) = (0, 0, 0)
        for (index, uses) in uses.enumerated() where !uses.isEmpty {
            let tensor = tensors[index]
            let columns = max(1, tensor.stored.shape.columns)
            let step = RowBands.rows(of: tensor, uses.map(\.use.move.unit).max() ?? 1)
            // Bands end where a use begins or ends.
            let ends = Set(uses.flatMap { [$0.rows.lowerBound, $0.rows.upperBound] }).sorted()
            for (start, end) in zip(ends, ends.dropFirst()) {
                let used = uses.filter { $0.rows.contains(start) }
                guard !used.isEmpty else { continue }
                var row = start
                while row < end {
                    let next = min(end, (row / step + 1) * step)
                    bands.append(
                        RowBand(
                            tensor: index, rows: row..<next,
                            uses: used.map { use, rows in
                                .init(
                                    plan: use.plan, tensor: use.tensor, firstRow: use.firstRow + row - rows.lowerBound,
                                    move: use.move, input: use.input)
                            }))
                    largest = max(largest, (next - row) * columns)
                    mostRows = max(mostRows, next - row)
                    if tensor.weights?.grid != nil { largestEncoded = max(largestEncoded, (next - row) * columns) }
                    row = next
                }
            }
        }
        (self.bands, largestBand, largestEncodedBand, self.mostRows) = (bands, largest, largestEncoded, mostRows)
    }

    /// Rows of a band: whole runs of rows that move, and of an encoded tensor whole bands of its tiles, so that each chunk is decoded once.
    private static func rows(of tensor: RowsExporter.Readable, _ unit: Int) -> Int {
        let columns = max(1, tensor.stored.shape.columns)
        let usual = max(1, weights / columns)
        guard let grid = tensor.weights?.grid else { return (usual + unit - 1) / unit * unit }
        let tile = grid.chunkRows
        // The least common multiple of both would be right too; a head rarely divides no tile.
        guard tile % unit == 0 || unit == 1 else { return (max(tile, usual) + unit - 1) / unit * unit }
        return max(tile, usual / tile * tile)
    }
}
