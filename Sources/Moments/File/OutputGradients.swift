package import Architectures

/// What a backward pass found: squares of gradients at the outputs of linear layers, and how often each token occurs.
package struct OutputGradients: Sendable {
    /// For each matrix, a number per row: the mean over the tokens that reached it, by weight, of the square of the gradient of the
    /// log-probability of labels at this output. Zeros for an expert that no token reached.
    package var squares: [LinearMatrix: [Float]]
    /// For each token of the vocabulary the sum of its weights in the text.
    package var tokenWeights: [Double]

    /// Makes a value.
    package init(squares: [LinearMatrix: [Float]], tokenWeights: [Double]) {
        (self.squares, self.tokenWeights) = (squares, tokenWeights)
    }
}
