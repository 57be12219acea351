package import Architectures
import TensorModel

/// The figures of the gradients in a file of moments.
package struct GradientsSummary: Sendable {
    /// The figures of all matrices of a kind.
    package struct Row: Sendable {
        /// The kind.
        package let kind: TensorRole.Kind
        /// Number of matrices, and of their rows together.
        package let matrices: Int, rows: Int
        /// The mean of the numbers of all rows, and that of the sensitivities, by rows.
        package let mean: Double, sensitivity: Double
    }

    /// What the file says about its gradients.
    package let description: GradientsDescription
    /// The rows, in the order of the kinds.
    package let rows: [Row]
    /// Tokens of the vocabulary, and how many of them occur in the text.
    package let vocabulary: Int, seenTokens: Int

    /// Reads the figures; nil if the file has no gradients.
    ///
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    init?(_ file: MomentsFile) throws {
        guard let description = file.description.gradients, let weights = try file.tokenWeights() else { return nil }
        self.description = description
        (vocabulary, seenTokens) = (weights.count, weights.count { $0 > 0 })
        var sums: [TensorRole.Kind: (matrices: Int, rows: Int, sum: Double, sensitivity: Double)] = [:]
        for matrix in file.gradientMatrices {
            let squares = try file.gradients(of: matrix) ?? []
            let old = sums[matrix.kind] ?? (0, 0, 0, 0)
            let sensitivity = try file.sensitivity(of: matrix) ?? 0
            sums[matrix.kind] = (
                old.matrices + 1, old.rows + squares.count, squares.reduce(old.sum) { $0 + Double($1) },
                old.sensitivity + sensitivity * Double(squares.count)
            )
        }
        rows = sums.sorted { $0.key < $1.key }.map { kind, all in
            Row(
                kind: kind, matrices: all.matrices, rows: all.rows, mean: all.sum / Double(all.rows),
                sensitivity: all.sensitivity / Double(all.rows))
        }
    }
}
