import Products
import TensorModel
import Work

/// Causal attention of grouped queries within sequences.
struct Attention: Sendable {
    /// Number of heads of queries, and of keys and values; length of a head.
    let heads: Int, keyValueHeads: Int, headSize: Int
    /// Number of heads in work at the same time.
    let jobs: Int
    private let means = FloatBuffers()
    private let buffers: StateBuffers

    init(heads: Int, keyValueHeads: Int, headSize: Int, jobs: Int, _ buffers: StateBuffers) {
        self.buffers = buffers
        (self.heads, self.keyValueHeads, self.headSize, self.jobs) = (heads, keyValueHeads, headSize, jobs)
    }

    /// Rows of queries whose scores are in memory at a time.
    static let blockRows = 256

    private struct Item: Sendable { let sequence: Int, group: Int }

    /// The buffers of a worker: scores of a block of queries.
    private struct Workspace { var scores: [Float] = [] }

    /// The weighted means of the values, before the output projection.
    ///
    /// - Parameter context: number of tokens of each sequence; the tokens of the states are whole sequences.
    func run(
        _ queries: TokenStates, _ keys: TokenStates, _ values: TokenStates, context: Int
    ) async throws -> TokenStates {
        let perGroup = heads / keyValueHeads
        var result = buffers.take(tokens: queries.tokens, width: queries.width)
        let items = (0..<queries.tokens / context).flatMap { sequence in
            (0..<keyValueHeads).map { Item(sequence: sequence, group: $0) }
        }
        let width = perGroup * headSize
        try await Pipeline(jobs: jobs, lookahead: 2 * jobs) { Workspace() }.run(items, makeOutput: { [Float]() }) {
            item, workspace, output in
            output = means.take()
            output.grow(to: context * width)
            for head in 0..<perGroup {
                attend(item, head, queries, keys, values, context, &workspace.scores, into: &output)
            }
        } consume: { item, output in
            result.store(
                output, tokens: item.sequence * context..<(item.sequence + 1) * context,
                columns: item.group * width..<(item.group + 1) * width)
            means.give(&output)
        }
        return result
    }

    /// One head of one sequence, block by block of its queries.
    private func attend(
        _ item: Item, _ head: Int, _ queries: TokenStates, _ keys: TokenStates, _ values: TokenStates, _ context: Int,
        _ scores: inout [Float], into output: inout [Float]
    ) {
        let perGroup = heads / keyValueHeads
        let scale = 1 / Float(headSize).squareRoot()
        let keyStart = item.sequence * context * keys.width + item.group * headSize
        for first in stride(from: 0, to: context, by: Attention.blockRows) {
            let rows = min(Attention.blockRows, context - first)
            // Later keys are masked for all queries of the block.
            let seen = first + rows
            let queryStart =
                (item.sequence * context + first) * queries.width + (item.group * perGroup + head) * headSize
            scores.grow(to: rows * seen)
            let scoreShape = MatrixShape(rows: rows, columns: seen)
            var target = scores.mutableSpan
            Products.multiply(
                queries.values.span.extracting(queryStart..<queries.values.count),
                MatrixShape(rows: rows, columns: headSize, stride: queries.width),
                transposed: keys.values.span.extracting(keyStart..<keys.values.count),
                MatrixShape(rows: seen, columns: headSize, stride: keys.width), into: &target, scoreShape)
            for row in 0..<rows {
                Elementwise.softmax(&target, from: row * seen, count: first + row + 1, of: seen, scale: scale)
            }
            var means = output.mutableSpan
            Products.multiply(
                scores.span, scoreShape, by: values.values.span.extracting(keyStart..<values.values.count),
                MatrixShape(rows: seen, columns: headSize, stride: values.width), into: &means,
                from: (first * perGroup + head) * headSize,
                MatrixShape(rows: rows, columns: headSize, stride: perGroup * headSize))
        }
    }
}
