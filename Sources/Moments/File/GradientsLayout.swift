package import Architectures
import Checkpoints
import TensorModel

/// The gradients of a file of moments: which matrices have them, and the tokens of the vocabulary.
package struct GradientsLayout: Sendable, Hashable {
    /// A matrix and its rows.
    package struct Matrix: Sendable, Hashable {
        /// The matrix.
        package let matrix: LinearMatrix
        /// Its rows: outputs of the linear layer, 1 or more.
        package let rows: Int

        /// Makes an entry.
        package init(_ matrix: LinearMatrix, rows: Int) { (self.matrix, self.rows) = (matrix, rows) }
    }

    /// Rows of a matrix, and tokens of a vocabulary, at most.
    package static let maximumRows = 1 << 24

    /// The matrices in their order (`LinearMatrix`), each once.
    package let matrices: [Matrix]
    /// Tokens of the vocabulary.
    package let vocabulary: Int

    /// Makes a layout of matrices in any order.
    ///
    /// - Throws: `momentsInvalid` if there is none, one occurs twice, or a number is not from 1 to `maximumRows`.
    package init(_ matrices: [Matrix], vocabulary: Int) throws {
        func failure(_ name: String, _ found: String, _ expected: String) -> IngotError {
            IngotError(.momentsInvalid, tensor: TensorName(name), found: found, expected: expected)
        }
        self.matrices = matrices.sorted { $0.matrix < $1.matrix }
        self.vocabulary = vocabulary
        guard let first = matrices.first else {
            throw failure("gradients", "no matrix of a linear layer", "one or more")
        }
        let range = 1...GradientsLayout.maximumRows
        for entry in matrices where !range.contains(entry.rows) {
            throw failure(entry.matrix.text, "\(entry.rows) rows", "1 to \(GradientsLayout.maximumRows)")
        }
        guard range.contains(vocabulary) else {
            throw failure(
                first.matrix.text, "a vocabulary of \(vocabulary)", "1 to \(GradientsLayout.maximumRows)")
        }
        for (one, other) in zip(self.matrices, self.matrices.dropFirst()) where one.matrix == other.matrix {
            throw failure(one.matrix.text, "the matrix a second time", "each matrix once")
        }
    }

    /// The tensors, in the order of the file: gradients and sensitivity of each matrix, and the weights of the tokens.
    var tensors: [(tensor: GradientTensor, type: ElementType, count: Int)] {
        matrices.flatMap { entry -> [(tensor: GradientTensor, type: ElementType, count: Int)] in
            [(.gradients(entry.matrix), .f32, entry.rows), (.sensitivity(entry.matrix), .f64, 1)]
        } + [(.embeddingWeights, .f64, vocabulary)]
    }
}

/// A tensor of gradients in a file of moments (Specs/moments.md).
enum GradientTensor: Sendable, Hashable {
    /// F32, rows: of each output of a matrix the mean of the square of its gradient.
    case gradients(LinearMatrix)
    /// F64, one number: what a small random error of a matrix costs.
    case sensitivity(LinearMatrix)
    /// F64, vocabulary: of each token of the vocabulary the sum of its weights in the text.
    case embeddingWeights

    private static let gradientsEnding = ".gradients", sensitivityEnding = ".sensitivity"

    /// Its name.
    var name: TensorName {
        switch self {
        case .gradients(let matrix): TensorName(matrix.text + GradientTensor.gradientsEnding)
        case .sensitivity(let matrix): TensorName(matrix.text + GradientTensor.sensitivityEnding)
        case .embeddingWeights: TensorName("embedding.weights")
        }
    }

    /// The type of its elements.
    var type: ElementType {
        switch self {
        case .gradients: .f32
        case .sensitivity, .embeddingWeights: .f64
        }
    }

    /// Reads the name of a tensor; nil for any other name.
    static func read(_ name: TensorName) -> GradientTensor? {
        if name == GradientTensor.embeddingWeights.name { return .embeddingWeights }
        if let owner = matrix(name, gradientsEnding) { return .gradients(owner) }
        return matrix(name, sensitivityEnding).map { .sensitivity($0) }
    }

    /// The matrix whose text and an ending a name is.
    private static func matrix(_ name: TensorName, _ ending: String) -> LinearMatrix? {
        let (text, count) = (name.text.utf8, ending.utf8.count)
        guard text.count > count, text.suffix(count).elementsEqual(ending.utf8) else { return nil }
        return LinearMatrix(text: String(Substring(text.dropLast(count))))
    }
}
