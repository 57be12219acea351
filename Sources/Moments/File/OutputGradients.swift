package import Architectures

/// What a backward pass found: squares of gradients at the outputs of linear layers, and how often each token occurs.
package struct OutputGradients: Sendable {
    /// For each matrix, a number per row: the mean over the tokens that reached it, by weight, of the square of the gradient of the
    /// log-probability of labels at this output. Zeros for an expert that no token reached.
    package var squares: [LinearMatrix: [Float]]
    /// For each matrix the mean over the tokens that reached it, by weight, of the mean square of the gradients at its outputs times the
    /// leverage of its input (Specs/moments.md, "Gradients").
    package var sensitivities: [LinearMatrix: Double]
    /// For each token of the vocabulary the sum of its weights in the text.
    package var tokenWeights: [Double]

    /// Makes a value.
    package init(squares: [LinearMatrix: [Float]], sensitivities: [LinearMatrix: Double], tokenWeights: [Double]) {
        (self.squares, self.sensitivities, self.tokenWeights) = (squares, sensitivities, tokenWeights)
    }
}
