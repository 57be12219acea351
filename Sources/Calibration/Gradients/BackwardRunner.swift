import Container
import Products
import Quantization
import TensorModel
import Weights
import Work

/// Multiplies gradients at the outputs of linear layers by the transposed matrices, which gives gradients at their input.
///
/// Each worker has a share of the tokens, and goes over all bands of rows: a sum over rows stays in one place. A band is decoded once per
/// worker, which costs little beside its product.
struct BackwardRunner: Sendable {
    /// Number of shares of the tokens in work at the same time.
    let jobs: Int
    private let buffers: StateBuffers

    /// Least tokens of a share: with fewer, decoding takes longer than the product.
    private static let leastTokens = 64

    /// A runner.
    ///
    /// - Parameter buffers: where results are taken from.
    init(jobs: Int, _ buffers: StateBuffers) { (self.jobs, self.buffers) = (jobs, buffers) }

    /// The buffers of a worker.
    private struct Workspace {
        var reader = RowReader()
        var band = ReadWeights()
    }

    /// About equal shares of some tokens for each job.
    static func shares(of tokens: Int, jobs: Int, least: Int = leastTokens, most: Int = .max) -> [Range<Int>] {
        let count = max(min(jobs, tokens / least), ceilingDivide(tokens, most), 1)
        return (0..<count).map { tokens * $0 / count..<tokens * ($0 + 1) / count }.filter { !$0.isEmpty }
    }

    /// Gradients at the common input of some matrices: the sum of W^T g over them.
    ///
    /// - Parameter parts: the gradients at the outputs of each matrix, a row per token, and the matrix.
    /// - Returns: a row per token.
    func run(_ parts: [(gradients: TokenStates, matrix: WeightMatrix)]) async throws -> TokenStates {
        let (tokens, columns) = (parts[0].gradients.tokens, parts[0].matrix.columns)
        var result = buffers.take(tokens: tokens, width: columns)
        let shares = BackwardRunner.shares(of: tokens, jobs: jobs)
        try await Pipeline(jobs: jobs, lookahead: jobs) { Workspace() }.run(shares, makeOutput: { [Float]() }) {
            share, workspace, output in
            output.grow(to: share.count * columns)
            var isFirst = true
            for (gradients, matrix) in parts {
                for band in matrix.bands(jobs: 1) {
                    try workspace.reader.read(
                        ChunkPlace(row: band.lowerBound, column: 0, rows: band.count, columns: columns),
                        of: matrix.weights, into: &workspace.band)
                    let start = share.lowerBound * gradients.width + band.lowerBound - matrix.rows.lowerBound
                    var target = output.mutableSpan
                    Products.multiply(
                        gradients.values.span.extracting(start..<gradients.values.count),
                        MatrixShape(rows: share.count, columns: band.count, stride: gradients.width),
                        by: workspace.band.weights.span, MatrixShape(rows: band.count, columns: columns), into: &target,
                        from: 0, MatrixShape(rows: share.count, columns: columns), adds: !isFirst)
                    isFirst = false
                }
            }
        } consume: { share, output in
            result.store(output, tokens: share, columns: 0..<columns)
        }
        return result
    }
}
