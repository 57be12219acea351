/// What one half of the text gave for one input: sums over its tokens.
package struct HalfMoments: Sendable {
    /// Tokens of the half that reached the input. For a weighted text each counts once here.
    package var tokens: UInt64
    /// Weights of these tokens, added up; equal to `tokens` if each weighs 1.
    package var weight: Double
    /// Sums over the tokens of weight times `x x^T`, for each block of the layout a square, row by row, one block after the other
    /// (`BlockLayout.squareCount` numbers). Only the upper triangles are read, the diagonal among them.
    package var sums: [Float]

    /// Whether `sums` has means already, as an importance matrix has them. The file then has them to the bit. Only for a text of one half.
    package var areMeans: Bool

    /// Makes a half of its parts.
    package init(tokens: UInt64, weight: Double, sums: [Float], areMeans: Bool = false) {
        (self.tokens, self.weight, self.sums, self.areMeans) = (tokens, weight, sums, areMeans)
    }

    /// What the sums are divided by to get means.
    var divisor: Double { areMeans && weight > 0 ? 1 : weight }
}
