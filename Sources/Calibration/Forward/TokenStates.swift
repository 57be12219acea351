import Products

/// States of tokens: one row per token.
struct TokenStates: Sendable {
    /// Number of tokens, and of numbers per token.
    let tokens: Int, width: Int
    /// The numbers, row by row.
    var values: [Float]

    /// Zeros.
    init(tokens: Int, width: Int) {
        self.init(tokens: tokens, width: width, values: [Float](repeating: 0, count: tokens * width))
    }

    /// Given numbers.
    init(tokens: Int, width: Int, values: [Float]) {
        precondition(values.count == tokens * width, "a row per token")
        (self.tokens, self.width, self.values) = (tokens, width, values)
    }

    /// The shape as a matrix.
    var shape: MatrixShape { MatrixShape(rows: tokens, columns: width) }

    /// Adds a vector to every row.
    mutating func addToRows(_ vector: [Float]) {
        let (tokens, width) = (tokens, width)
        var target = values.mutableSpan
        for token in 0..<tokens {
            Elementwise.add(
                vector.span, from: 0, count: width, bias: nil, factor: 1, to: &target, at: token * width)
        }
    }

    /// Stores a block: the given columns of the given tokens. `block` has them row by row.
    mutating func store(_ block: [Float], tokens: Range<Int>, columns: Range<Int>) {
        let width = width
        var target = values.mutableSpan
        let source = block.span
        var from = 0
        for token in tokens {
            Elementwise.copy(
                source, from: from, count: columns.count, to: &target, at: token * width + columns.lowerBound)
            from += columns.count
        }
    }

    /// Adds a block plus a bias, times a factor per row, to the given columns.
    ///
    /// - Parameters:
    ///   - block: `count` rows of these columns.
    ///   - bias: a number per column of the states; nil for none.
    ///   - chosen: the token that each row of the block is added to, and its factor; nil for tokens 0, 1 and so on, and 1.
    mutating func add(
        _ block: [Float], _ count: Int, columns: Range<Int>, bias: [Float]?, chosen: [(token: Int, factor: Float)]?
    ) {
        let width = width
        var target = values.mutableSpan
        let source = block.span
        for row in 0..<count {
            let (token, factor) = chosen?[row] ?? (row, 1)
            Elementwise.add(
                source, from: row * columns.count, count: columns.count, bias: bias?.span.extracting(columns),
                factor: factor, to: &target, at: token * width + columns.lowerBound)
        }
    }

    /// The rows of chosen tokens.
    func rows(_ chosen: [(token: Int, factor: Float)]) -> TokenStates {
        var picked: [Float] = []
        picked.reserveCapacity(chosen.count * width)
        for (token, _) in chosen { picked += values[token * width..<(token + 1) * width] }
        return TokenStates(tokens: chosen.count, width: width, values: picked)
    }

    /// Adds the gradients at the inputs of an RMSNorm.
    ///
    /// - Parameters:
    ///   - gradients: those at its outputs.
    ///   - x: its inputs.
    mutating func addNormBackward(_ gradients: TokenStates, at x: TokenStates, _ scale: [Float], epsilon: Double) {
        var target = values.mutableSpan
        Elementwise.normBackward(gradients.values.span, at: x.values.span, scale.span, epsilon: epsilon, to: &target)
    }

    /// RMSNorm of every row: x / sqrt(mean x^2 + epsilon) * scale.
    ///
    /// - Parameter buffers: where the result is taken from.
    func normed(_ scale: [Float], epsilon: Double, from buffers: StateBuffers = StateBuffers()) -> TokenStates {
        var result = buffers.take(tokens: tokens, width: width)
        var target = result.values.mutableSpan
        Elementwise.norm(values.span, scale.span, epsilon: epsilon, into: &target)
        return result
    }
}
