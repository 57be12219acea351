import FileAccess
package import SystemPackage
internal import TensorModel
package import Weights

/// An opened model: its checkpoint, and its weights by their places in the forward pass.
package struct EvaluatedModel: Sendable {
    /// The checkpoint.
    package let checkpoint: OpenedCheckpoint
    /// The weights.
    package let weights: ModelWeights

    private static let configuration = "config.json"
    private static let maximumBytes: UInt64 = 16 << 20

    /// Opens a checkpoint and reads the `config.json` beside its weights.
    ///
    /// - Throws: `missingField` if there is no `config.json`; what `ModelHyperparameters` and `ModelWeights` throw; errors of reading.
    package init(_ path: FilePath) throws {
        checkpoint = try OpenedCheckpoint(path)
        let directory = try Directory.kind(path) == .directory ? path : path.removingLastComponent()
        let place = directory.appending(EvaluatedModel.configuration)
        guard try Directory.kind(place) == .file else {
            throw IngotError(
                .missingField, file: path.string, found: "no config.json beside the weights",
                expected: "the hyperparameters of the model", remedy: "put the config.json of the model beside it")
        }
        let hyperparameters = try ModelHyperparameters(
            configuration: WholeFile.read(place, limit: EvaluatedModel.maximumBytes), path: place)
        weights = try ModelWeights(checkpoint, hyperparameters)
    }
}
