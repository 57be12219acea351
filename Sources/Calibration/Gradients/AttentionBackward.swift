import Products
import TensorModel
import Work

/// Gradients of causal attention of grouped queries (`Attention`).
struct AttentionBackward: Sendable {
    /// Number of heads of queries, and of keys and values; length of a head.
    let heads: Int, keyValueHeads: Int, headSize: Int
    /// Number of heads in work at the same time.
    let jobs: Int
    private let buffers: StateBuffers

    init(heads: Int, keyValueHeads: Int, headSize: Int, jobs: Int, _ buffers: StateBuffers) {
        (self.heads, self.keyValueHeads, self.headSize) = (heads, keyValueHeads, headSize)
        (self.jobs, self.buffers) = (jobs, buffers)
    }

    private struct Item: Sendable { let sequence: Int, group: Int }

    /// The buffers of a worker: weights of a block of queries, and gradients at its scores.
    private struct Workspace { var weights: [Float] = [], scores: [Float] = [] }

    /// The gradients of a group of a sequence: at its queries (all heads of the group), at its keys and at its values.
    private struct Found: Sendable { var queries: [Float] = [], keys: [Float] = [], values: [Float] = [] }

    /// Gradients at queries and keys (behind the rotary positions) and at values.
    ///
    /// - Parameters:
    ///   - gradients: those at the weighted means of the values, as many columns as the queries have.
    ///   - context: number of tokens of each sequence; the tokens of the states are whole sequences.
    func run(
        _ queries: TokenStates, _ keys: TokenStates, _ values: TokenStates, _ gradients: TokenStates, context: Int
    ) async throws -> (queries: TokenStates, keys: TokenStates, values: TokenStates) {
        let width = heads / keyValueHeads * headSize
        var atQueries = buffers.take(tokens: queries.tokens, width: queries.width)
        var atKeys = buffers.take(tokens: keys.tokens, width: keys.width)
        var atValues = buffers.take(tokens: values.tokens, width: values.width)
        let items = (0..<queries.tokens / context).flatMap { sequence in
            (0..<keyValueHeads).map { Item(sequence: sequence, group: $0) }
        }
        try await Pipeline(jobs: jobs, lookahead: 2 * jobs) { Workspace() }.run(items, makeOutput: { Found() }) {
            item, workspace, output in
            output.queries.grow(to: context * width)
            output.keys = [Float](repeating: 0, count: context * headSize)
            output.values = output.keys
            for head in 0..<heads / keyValueHeads {
                add(
                    item, head, queries, keys, values, gradients, context, &workspace.weights, &workspace.scores,
                    to: &output.queries, &output.keys, &output.values)
            }
        } consume: { item, output in
            let tokens = item.sequence * context..<(item.sequence + 1) * context
            let columns = item.group * headSize..<(item.group + 1) * headSize
            atQueries.store(output.queries, tokens: tokens, columns: item.group * width..<(item.group + 1) * width)
            atKeys.store(output.keys, tokens: tokens, columns: columns)
            atValues.store(output.values, tokens: tokens, columns: columns)
        }
        return (atQueries, atKeys, atValues)
    }

    /// One head of one sequence, block by block of its queries.
    ///
    /// With P the weights, S the scaled scores and O = P V: V' = P^T O', P' = O' V^T, S' = P (P' - the row's sum of P' P), Q' = S' K and
    /// K' = S'^T Q, where X' is the gradient at X.
    private func add(
        _ item: Item, _ head: Int, _ queries: TokenStates, _ keys: TokenStates, _ values: TokenStates,
        _ gradients: TokenStates, _ context: Int, _ weights: inout [Float], _ scores: inout [Float],
        to atQueries: inout [Float], _ atKeys: inout [Float], _ atValues: inout [Float]
    ) {
        let perGroup = heads / keyValueHeads
        let scale = 1 / Float(headSize).squareRoot()
        let start = item.sequence * context * keys.width + item.group * headSize
        let keySpan = keys.values.span.extracting(start..<keys.values.count)
        let valueSpan = values.values.span.extracting(start..<values.values.count)
        for first in stride(from: 0, to: context, by: Attention.blockRows) {
            let rows = min(Attention.blockRows, context - first)
            // Later keys are masked for all queries of the block.
            let seen = first + rows
            let queryStart =
                (item.sequence * context + first) * queries.width + (item.group * perGroup + head) * headSize
            let querySpan = queries.values.span.extracting(queryStart..<queries.values.count)
            let gradientSpan = gradients.values.span.extracting(queryStart..<gradients.values.count)
            let queryShape = MatrixShape(rows: rows, columns: headSize, stride: queries.width)
            let keyShape = MatrixShape(rows: seen, columns: headSize, stride: keys.width)
            let (square, own) = (MatrixShape(rows: rows, columns: seen), MatrixShape(rows: seen, columns: headSize))
            weights.grow(to: rows * seen)
            scores.grow(to: rows * seen)
            var weightSpan = weights.mutableSpan
            Products.multiply(querySpan, queryShape, transposed: keySpan, keyShape, into: &weightSpan, square)
            for row in 0..<rows {
                Elementwise.softmax(&weightSpan, from: row * seen, count: first + row + 1, of: seen, scale: scale)
            }
            var valueTarget = atValues.mutableSpan
            Products.multiply(
                transposed: weights.span, square, by: gradientSpan, queryShape, into: &valueTarget, own,
                adds: true)
            var scoreSpan = scores.mutableSpan
            Products.multiply(gradientSpan, queryShape, transposed: valueSpan, keyShape, into: &scoreSpan, square)
            for row in 0..<rows {
                Elementwise.softmaxBackward(
                    &scoreSpan, weights.span, from: row * seen, count: first + row + 1, of: seen, scale: scale)
            }
            var queryTarget = atQueries.mutableSpan
            Products.multiply(
                scores.span, square, by: keySpan, keyShape, into: &queryTarget,
                from: (first * perGroup + head) * headSize,
                MatrixShape(rows: rows, columns: headSize, stride: perGroup * headSize))
            var keyTarget = atKeys.mutableSpan
            Products.multiply(
                transposed: scores.span, square, by: querySpan, queryShape, into: &keyTarget, own, adds: true)
        }
    }
}
