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
            let start = token * width
            for index in 0..<width { target[start + index] += vector[index] }
        }
    }

    /// Stores a block: the given columns of the given tokens. `block` has them row by row.
    mutating func store(_ block: [Float], tokens: Range<Int>, columns: Range<Int>) {
        let width = width
        var target = values.mutableSpan
        let source = block.span
        var from = 0
        for token in tokens {
            let start = token * width + columns.lowerBound
            for index in 0..<columns.count { target[start + index] = source[from + index] }
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
            let (start, from) = (token * width + columns.lowerBound, row * columns.count)
            if let bias {
                for index in 0..<columns.count {
                    target[start + index] += factor * (source[from + index] + bias[columns.lowerBound + index])
                }
            } else {
                for index in 0..<columns.count { target[start + index] += factor * source[from + index] }
            }
        }
    }

    /// The rows of chosen tokens.
    func rows(_ chosen: [(token: Int, factor: Float)]) -> TokenStates {
        var picked: [Float] = []
        picked.reserveCapacity(chosen.count * width)
        for (token, _) in chosen { picked += values[token * width..<(token + 1) * width] }
        return TokenStates(tokens: chosen.count, width: width, values: picked)
    }

    /// RMSNorm of every row: x / sqrt(mean x^2 + epsilon) * scale.
    func normed(_ scale: [Float], epsilon: Double) -> TokenStates {
        var result = self
        var target = result.values.mutableSpan
        for token in 0..<tokens {
            let start = token * width
            var sum = 0.0
            for index in 0..<width { sum += Double(target[start + index]) * Double(target[start + index]) }
            let factor = 1 / (Float(sum / Double(width)) + Float(epsilon)).squareRoot()
            for index in 0..<width { target[start + index] = target[start + index] * factor * scale[index] }
        }
        return result
    }
}
