import Container
import FileAccess
import Products
import Quantization
import SystemPackage
import TensorModel
import Weights
import Work

/// Multiplies states of tokens by matrices of a checkpoint. Workers read and decode one band of rows at a time.
struct LinearRunner: Sendable {
    /// Number of bands in work at the same time, and between reading and storing.
    let jobs: Int, lookahead: Int
    private let products = FloatBuffers()
    private let buffers: StateBuffers

    /// A runner.
    ///
    /// - Parameter buffers: where results are taken from.
    init(jobs: Int, lookahead: Int, _ buffers: StateBuffers) {
        (self.jobs, self.lookahead, self.buffers) = (jobs, lookahead, buffers)
    }

    /// The buffers of a worker.
    private struct Workspace {
        var reader = RowReader()
        var band = ReadWeights()
    }

    /// A band of a matrix: the unit of work.
    private struct Band: Sendable {
        let matrix: Int
        let rows: Range<Int>
    }

    /// Calls `consume` with the product of `states` and each band of some matrices: the number of the matrix, its rows (from 0), and the
    /// products, tokens x rows.
    private func run(
        _ states: TokenStates, _ matrices: [WeightMatrix],
        consume: @escaping (Int, Range<Int>, [Float]) throws -> Void
    ) async throws {
        let bands = matrices.indices.flatMap { number in
            matrices[number].bands(jobs: jobs).map { Band(matrix: number, rows: $0) }
        }
        let products = products
        try await Pipeline(jobs: jobs, lookahead: lookahead) { Workspace() }.run(bands, makeOutput: { [Float]() }) {
            band, workspace, output in
            output = products.take()
            let matrix = matrices[band.matrix]
            try workspace.reader.read(
                ChunkPlace(row: band.rows.lowerBound, column: 0, rows: band.rows.count, columns: matrix.columns),
                of: matrix.weights, into: &workspace.band)
            try LinearRunner.requireFinite(workspace.band, matrix)
            LinearRunner.multiply(states, workspace.band, band.rows.count, into: &output)
        } consume: { band, output in
            let start = matrices[band.matrix].rows.lowerBound
            try consume(band.matrix, band.rows.lowerBound - start..<band.rows.upperBound - start, output)
            products.give(&output)
        }
    }

    private static func requireFinite(_ read: ReadWeights, _ matrix: WeightMatrix) throws {
        guard !read.hasNonFinite else {
            throw IngotError(
                .nonFinite, file: matrix.weights.tensor.file.path.string, tensor: matrix.weights.tensor.name,
                found: "NaN or infinity", expected: "finite weights: the model has no meaning otherwise")
        }
    }

    private static func multiply(_ states: TokenStates, _ read: ReadWeights, _ rows: Int, into output: inout [Float]) {
        output.grow(to: states.tokens * rows)
        var target = output.mutableSpan
        Products.multiply(
            states.values.span, states.shape, transposed: read.weights.span,
            MatrixShape(rows: rows, columns: states.width), into: &target,
            MatrixShape(rows: states.tokens, columns: rows))
    }

    /// The outputs of linear layers with the same input.
    func apply(_ layers: [Linear], to states: TokenStates) async throws -> [TokenStates] {
        var results = layers.map { buffers.take(tokens: states.tokens, width: $0.matrix.rows.count) }
        try await run(states, layers.map(\.matrix)) { number, rows, product in
            results[number].store(product, tokens: 0..<states.tokens, columns: rows)
        }
        for (number, layer) in layers.enumerated() {
            if let bias = layer.bias { results[number].addToRows(bias) }
        }
        return results
    }

    /// Adds the output of a linear layer to the states of chosen tokens, times a factor per token.
    ///
    /// - Parameters:
    ///   - inputs: one row per chosen token.
    ///   - chosen: the token that each row is for, and its factor; nil for all tokens, with the factor 1.
    func add(
        _ layer: Linear, of inputs: TokenStates, to states: inout TokenStates,
        chosen: [(token: Int, factor: Float)]? = nil
    ) async throws {
        var sum = states
        states.values = []
        try await run(inputs, [layer.matrix]) { _, rows, product in
            sum.add(product, inputs.tokens, columns: rows, bias: layer.bias, chosen: chosen)
        }
        states = sum
    }

    /// silu(gate x) * (up x): the inputs of the down projection.
    func gated(_ part: GatedLinear, _ states: TokenStates) async throws -> TokenStates {
        let (gate, up) = (part.gate, part.up)
        let width = gate.matrix.rows.count
        var result = buffers.take(tokens: states.tokens, width: width)
        // Bands of the gate; the same rows of the up projection are read with them.
        let offset = up.matrix.rows.lowerBound - gate.matrix.rows.lowerBound
        let bands = gate.matrix.bands(jobs: jobs)
        let products = products
        try await Pipeline(jobs: jobs, lookahead: lookahead) { Workspace() }.run(bands, makeOutput: { [Float]() }) {
            band, workspace, output in
            func multiply(_ linear: Linear, _ rows: Range<Int>, _ output: inout [Float]) throws {
                try workspace.reader.read(
                    ChunkPlace(row: rows.lowerBound, column: 0, rows: rows.count, columns: linear.matrix.columns),
                    of: linear.matrix.weights, into: &workspace.band)
                try LinearRunner.requireFinite(workspace.band, linear.matrix)
                LinearRunner.multiply(states, workspace.band, rows.count, into: &output)
            }
            output = products.take()
            try multiply(gate, band, &output)
            var product = products.take()
            try multiply(up, band.lowerBound + offset..<band.upperBound + offset, &product)
            let start = band.lowerBound - gate.matrix.rows.lowerBound
            let rows = start..<start + band.count
            var target = output.mutableSpan
            Elementwise.gate(
                &target, product.span, rows: states.tokens, columns: band.count, gate.bias.map { Array($0[rows]) },
                up.bias.map { Array($0[rows]) })
            products.give(&product)
        } consume: { band, output in
            let start = band.lowerBound - gate.matrix.rows.lowerBound
            result.store(output, tokens: 0..<states.tokens, columns: start..<start + band.count)
            products.give(&output)
        }
        return result
    }
}
