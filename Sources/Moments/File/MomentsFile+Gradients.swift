package import Architectures
import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// Where the gradients of a file of moments are.
struct GradientPlaces: Sendable {
    /// The tensors.
    fileprivate let ranges: [GradientTensor: ByteRange]

    /// Finds the tensors.
    ///
    /// - Throws: `momentsInvalid` if one has another type or shape than its name says, or if their presence contradicts the metadata.
    init(_ header: SafetensorsHeader, _ description: MomentsDescription) throws {
        var ranges: [GradientTensor: ByteRange] = [:]
        for stored in header.tensors {
            guard let tensor = GradientTensor.read(stored.name) else { continue }
            let dimensions = stored.shape.dimensions
            var counts = 1...GradientsLayout.maximumRows
            if case .sensitivity = tensor { counts = 1...1 }
            guard stored.elementType == tensor.type, dimensions.count == 1, counts.contains(dimensions[0]) else {
                let expected = counts.count == 1 ? "[1]" : "in one dimension of 1 to \(GradientsLayout.maximumRows)"
                throw IngotError(
                    .momentsInvalid, tensor: stored.name, found: "\(stored.elementType.rawValue) \(stored.shape)",
                    expected: "\(tensor.type.rawValue) \(expected)")
            }
            ranges[tensor] = stored.range
        }
        for tensor in ranges.keys.sorted(by: { $0.name.text < $1.name.text }) {
            let other: GradientTensor? =
                switch tensor {
                case .gradients(let matrix): .sensitivity(matrix)
                case .sensitivity(let matrix): .gradients(matrix)
                case .embeddingWeights: nil
                }
            if let other, ranges[other] == nil {
                throw IngotError(
                    .momentsInvalid, tensor: tensor.name, found: "no tensor \(other.name) beside it",
                    expected: "gradients and sensitivity of each matrix",
                    remedy: "gather the moments anew, with this version")
            }
        }
        if let first = ranges.keys.map(\.name.text).min(), description.gradients == nil {
            throw IngotError(
                .momentsInvalid, tensor: TensorName(first), found: "gradients beside metadata without gradients",
                expected: "`gradients`: fisher in the metadata")
        }
        if description.gradients != nil {
            guard ranges[.embeddingWeights] != nil, ranges.count > 1 else {
                throw IngotError(
                    .momentsInvalid, found: "no gradients, which the metadata promise",
                    expected: "gradients of matrices, and embedding.weights")
            }
        }
        self.ranges = ranges
    }
}

extension MomentsFile {
    /// The matrices that the file has gradients of, in their order.
    package var gradientMatrices: [LinearMatrix] {
        gradientPlaces.ranges.keys.compactMap {
            if case .gradients(let matrix) = $0 { return matrix }
            return nil
        }.sorted()
    }

    /// How many gradients there are of a matrix: as many as it has rows; nil if the file has none of it.
    package func gradientRows(of matrix: LinearMatrix) -> Int? {
        if let range = gradientPlaces.ranges[.gradients(matrix)] { return Int(range.count / 4) }
        let parts = matrix.parts.map { gradientRows(of: $0) }
        return parts.isEmpty || parts.contains(nil) ? nil : parts.reduce(0) { $0 + ($1 ?? 0) }
    }

    /// The gradients of a matrix: for each row the mean over the tokens that reached it of the square of the gradient at this output. Those
    /// of a fused projection are put together from its parts, if the file has the parts.
    ///
    /// - Returns: nil if the file has none of this matrix.
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    package func gradients(of matrix: LinearMatrix) throws -> [Float]? {
        let tensor = GradientTensor.gradients(matrix)
        guard let range = gradientPlaces.ranges[tensor] else {
            guard gradientRows(of: matrix) != nil else { return nil }
            return try matrix.parts.flatMap { try gradients(of: $0) ?? [] }
        }
        let squares = try file.floats(range)
        for (row, square) in squares.enumerated() where !(square >= 0 && square.isFinite) {
            throw failure(tensor, "\(square) for row \(row)")
        }
        return squares
    }

    /// The sensitivity of a matrix: the mean over the tokens that reached it of the mean square of the gradients at its outputs times the
    /// leverage of its input. That of a fused projection is the mean over all rows of its parts, if the file has the parts.
    ///
    /// - Returns: nil if the file has none of this matrix.
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    package func sensitivity(of matrix: LinearMatrix) throws -> Double? {
        let tensor = GradientTensor.sensitivity(matrix)
        guard let range = gradientPlaces.ranges[tensor] else {
            guard let rows = gradientRows(of: matrix) else { return nil }
            return try matrix.parts.reduce(0.0) { sum, part in
                sum + (try sensitivity(of: part) ?? 0) * Double(gradientRows(of: part) ?? 0)
            } / Double(rows)
        }
        let number = try file.words(range).first.map { Double(bitPattern: $0) } ?? .nan
        guard number >= 0, number.isFinite else { throw failure(tensor, "\(number)") }
        return number
    }

    /// For each token of the vocabulary the sum of its weights in the text; nil if the file has no gradients.
    ///
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    package func tokenWeights() throws -> [Double]? {
        guard let range = gradientPlaces.ranges[.embeddingWeights] else { return nil }
        let weights = try file.words(range).map { Double(bitPattern: $0) }
        for (token, weight) in weights.enumerated() where !(weight >= 0 && weight.isFinite) {
            throw failure(.embeddingWeights, "\(weight) for token \(token)")
        }
        return weights
    }

    /// Reads all gradients, sensitivities and token weights, and checks them.
    ///
    /// - Throws: as `gradients(of:)`.
    func checkGradients() throws {
        for matrix in gradientMatrices {
            _ = try gradients(of: matrix)
            _ = try sensitivity(of: matrix)
        }
        _ = try tokenWeights()
    }

    private func failure(_ tensor: GradientTensor, _ found: String) -> IngotError {
        IngotError(
            .momentsInvalid, file: path.string, tensor: tensor.name, found: found,
            expected: "finite numbers of 0 or more")
    }
}
