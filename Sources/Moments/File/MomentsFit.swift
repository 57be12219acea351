import Architectures
import SystemPackage
package import TensorModel

extension MomentsFile {
    /// Requires that the file can be one of a model: it has every input that the model's linear layers need, with as many columns, and none
    /// of layers or experts that the model does not have. Gradients of a matrix are as many as it has rows, if there are any.
    ///
    /// Inputs of heads and of routers may be missing, because these are rarely quantized. The head's input may be there without a head: a
    /// tied embedding reads it.
    ///
    /// - Parameters:
    ///   - tensors: all tensors of the model.
    ///   - modelHash: the model's hash; empty if it is not known.
    /// - Returns: a warning if the file was made from another model with the same shapes, and others about doubts.
    /// - Throws: `momentsInvalid` if it does not fit.
    package func requireFits(_ tensors: [(name: TensorName, shape: Shape)], modelHash: String) throws -> [IngotWarning]
    {
        var needed: Set<LinearInput> = []
        for (name, shape) in tensors where shape.isMatrix {
            guard let inputs = TensorInputs(name) else { continue }
            for expert in 0..<MomentsFit.matrices(inputs, shape) {
                guard let input = inputs.input(ofExpert: expert) else { continue }
                needed.insert(input)
                guard let entry = self[input] else {
                    if MomentsFit.isOptional(inputs, name) { continue }
                    throw failure(name, "no moments of \(input), which it reads", "moments of all linear layers")
                }
                guard entry.blocks.columns == shape.columns else {
                    throw failure(
                        name, "\(shape.columns) columns, for which there are moments of \(entry.blocks.columns)",
                        "moments of this model")
                }
                if let matrix = LinearMatrix(name, expert: expert), let rows = gradientRows(of: matrix),
                    rows != MomentsFit.rows(inputs, shape)
                {
                    throw failure(
                        name, "\(MomentsFit.rows(inputs, shape)) rows, for which there are gradients of \(rows)",
                        "gradients of this model")
                }
            }
        }
        if let other = entries.first(where: { !needed.contains($0.input) && $0.input != .head }) {
            throw failure(nil, "moments of \(other.input), which the model does not have", "moments of this model")
        }
        guard !modelHash.isEmpty, !description.modelHash.isEmpty, modelHash != description.modelHash else { return [] }
        return [
            IngotWarning(
                file: path.string, "the moments are those of another model with the same shapes; used all the same")
        ]
    }

    private func failure(_ tensor: TensorName?, _ found: String, _ expected: String) -> IngotError {
        IngotError(
            .momentsInvalid, file: path.string, tensor: tensor, found: found, expected: expected,
            remedy: "gather the moments anew, on the model that is converted")
    }
}

private enum MomentsFit {
    /// Matrices of a tensor that have an input each.
    static func matrices(_ inputs: TensorInputs, _ shape: Shape) -> Int {
        if case .perExpert = inputs, shape.dimensions.count == 3 { return shape.dimensions[0] }
        return 1
    }

    /// Rows of each of these matrices.
    static func rows(_ inputs: TensorInputs, _ shape: Shape) -> Int {
        if case .perExpert = inputs, shape.dimensions.count == 3 { return shape.dimensions[1] }
        return shape.dimensions.first ?? 0
    }

    /// Whether the moments of a tensor's input may be missing.
    static func isOptional(_ inputs: TensorInputs, _ name: TensorName) -> Bool {
        inputs == .one(.head) || TensorRole(name).kind == .router
    }
}
