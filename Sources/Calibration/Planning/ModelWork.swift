import Moments

/// Floating-point operations that a run of a model on text takes, by its hyperparameters. A multiplication and an addition are two.
struct ModelWork: Sendable, Hashable {
    /// Products of states with the weights of all layers, and with those of the head for the scored tokens.
    let layers: Double, head: Double
    /// Of the products of layers, those of down projections and of routers.
    let down: Double, router: Double
    /// Products of queries with keys, and of scores with values.
    let attention: Double
    /// Sums of moments: the squared columns of a block for each token. Those of blocks of one column are apart, as they are no products.
    let moments: Double, diagonals: Double
    /// Numbers that steps between products go over: norms, rotary positions, the activation, and storing.
    let steps: Double
    /// Logits of scored tokens.
    let logits: Double
    /// Sum of the cubes of the columns of all Cholesky factorizations that choose shrinkages.
    let factored: Double

    /// Counts the work of `sequences` sequences of `context` tokens.
    ///
    /// - Parameter unscored: tokens of each sequence that are not scored.
    init(_ h: ModelHyperparameters, sequences: Int, context: Int, unscored: Int, _ blocks: MomentBlocks) {
        let tokens = Double(sequences) * Double(context)
        let (hidden, feedForward) = (Double(h.hidden), Double(h.feedForward))
        let queries = Double(h.heads) * Double(h.headSize), keys = Double(h.keyValueHeads) * Double(h.headSize)
        let active = Double(h.experts > 0 ? h.expertsPerToken : 1)
        let weights = hidden * (2 * queries + 2 * keys + 3 * active * feedForward + Double(h.experts))
        let count = Double(h.layers)
        layers = 2 * weights * tokens * count
        down = 2 * hidden * active * feedForward * tokens * count
        router = 2 * hidden * Double(h.experts) * tokens * count
        let scored = Double(sequences) * Double(max(0, context - 1 - unscored))
        logits = scored * Double(h.vocabulary)
        head = 2 * hidden * logits
        var pairs = 0.0
        for first in stride(from: 0, to: context, by: Attention.blockRows) {
            let rows = min(Attention.blockRows, context - first)
            pairs += Double(rows) * Double(first + rows)
        }
        attention = 4 * queries * pairs * Double(sequences) * count
        // Norms and both sums; queries and keys are stored and turned; gate and activation of each expert.
        let perToken = 4 * hidden + 3 * queries + 3 * keys + active * (2 * feedForward + hidden)
        steps = perToken * tokens * count

        var (products, squares, cubes) = (0.0, 0.0, 0.0)
        func add(_ columns: Int, _ perToken: Double, of inputs: Double) {
            let layout = blocks.layout(columns: columns)
            if layout.width == 1 {
                squares += Double(columns) * perToken * inputs
            } else {
                for block in 0..<layout.count {
                    let width = Double(layout.columns(of: block).count)
                    products += width * width * perToken * inputs
                }
                cubes += ModelWork.factored(layout) * inputs
            }
        }
        add(h.hidden, tokens, of: 2 * count)
        add(h.heads * h.headSize, tokens, of: count)
        if h.experts > 0 {
            let each = tokens * active / Double(h.experts)
            add(h.hidden, each, of: count * Double(h.experts))
            add(h.feedForward, each, of: count * Double(h.experts))
        } else {
            add(h.feedForward, tokens, of: count)
        }
        add(h.hidden, tokens, of: 1)
        (moments, diagonals, factored) = (products, squares, cubes)
    }

    /// The work of gradients on `sequences` sequences: products with weights, attention, the numbers that steps go over, and logits.
    struct Gradients: Sendable, Hashable {
        let products: Double, attention: Double, steps: Double, logits: Double

        /// Counts the work. The forward pass runs once, and again without its down projections; backwards each matrix but the routers is
        /// multiplied once. Attention has two products forwards, and backwards five. The head is multiplied three times.
        init(_ h: ModelHyperparameters, sequences: Int, context: Int) {
            let work = ModelWork(h, sequences: sequences, context: context, unscored: -1, .diagonal)
            products = 3 * work.layers - work.down - work.router + 3 * work.head
            attention = 4.5 * work.attention
            // Norms, activations and their gradients, and the sums of squares.
            steps = 5 * work.steps
            logits = 2 * work.logits
        }
    }

    /// The cubed columns of the factorizations for one input: each candidate in both directions, on the columns and blocks that are looked at.
    private static func factored(_ layout: BlockLayout) -> Double {
        let blocks = Shrinkage.spaced(layout.count, at: Shrinkage.maximumBlocks)
        return blocks.reduce(0) { sum, block in
            let columns = Double(
                Shrinkage.spaced(layout.columns(of: block).count, at: Shrinkage.maximumColumns).count)
            return sum + 2 * Double(Shrinkage.candidates.count) * columns * columns * columns
        }
    }
}
