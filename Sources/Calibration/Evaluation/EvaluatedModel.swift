import Checkpoints
import FileAccess
package import SystemPackage
import TensorModel
package import Weights

/// An opened model: its checkpoint, and its weights by their places in the forward pass.
package struct EvaluatedModel: Sendable {
    /// The checkpoint.
    package let checkpoint: OpenedCheckpoint
    /// The weights.
    package let weights: ModelWeights
    /// Where the tokenizer of the model is sought: a `tokenizer.json`, a GGUF file, or a directory.
    package let tokenizerPath: FilePath

    private static let configuration = "config.json"
    private static let maximumBytes: UInt64 = 16 << 20

    /// Opens a checkpoint. The hyperparameters are those of the GGUF metadata, if the tensors have the names of GGUF and the checkpoint has
    /// metadata, and otherwise those of the `config.json` beside the weights.
    ///
    /// - Throws: `missingField` if there is neither; what `ModelHyperparameters` and `ModelWeights` throw; errors of reading.
    package init(_ path: FilePath) throws {
        checkpoint = try OpenedCheckpoint(path)
        let isDirectory = try Directory.kind(path) == .directory
        let directory = isDirectory ? path : path.removingLastComponent()
        let hyperparameters: ModelHyperparameters
        if let metadata = try EvaluatedModel.metadata(of: checkpoint) {
            hyperparameters = try EvaluatedModel.hyperparameters(metadata, checkpoint)
            let own = directory.appending(Tokenizer.fileName)
            tokenizerPath = try isDirectory && Directory.kind(own) == .file ? own : metadata.path
        } else {
            let place = directory.appending(EvaluatedModel.configuration)
            guard try Directory.kind(place) == .file else {
                throw IngotError(
                    .missingField, file: path.string, found: "no config.json beside the weights",
                    expected: "the hyperparameters of the model", remedy: "put the config.json of the model beside it")
            }
            hyperparameters = try ModelHyperparameters(
                configuration: WholeFile.read(place, limit: EvaluatedModel.maximumBytes), path: place)
            tokenizerPath = path
        }
        weights = try ModelWeights(checkpoint, hyperparameters)
    }

    /// The GGUF metadata that describe a checkpoint; nil if its tensors do not have the names of GGUF, or if there are none.
    private static func metadata(of checkpoint: OpenedCheckpoint) throws -> GGUFMetadataReader? {
        guard checkpoint.tensors.contains(where: { $0.name == GGUFDecoder.embedding }) else { return nil }
        return try GGUFDecoder.metadata(of: checkpoint)
    }

    private static func hyperparameters(
        _ metadata: GGUFMetadataReader, _ checkpoint: OpenedCheckpoint
    ) throws -> ModelHyperparameters {
        let remedy: Remedy = "evaluate it with the program that it was made for"
        do {
            guard let decoder = try GGUFDecoder(metadata, checkpoint) else {
                throw IngotError(
                    .unsupportedSource, file: metadata.path.string,
                    found: "metadata of no model that can be evaluated: \(try GGUFDecoder.reasonUnknown(metadata))",
                    expected: "the metadata of a decoder of the Llama type")
            }
            return try ModelHyperparameters(decoder)
        } catch var error as IngotError where error.code == .unsupportedSource {
            error.remedy = remedy
            throw error
        }
    }
}
