import FileAccess
import SystemPackage
import TensorModel
import Weights

/// What a Hugging Face checkpoint becomes in a GGUF file.
struct HuggingFaceModel {
    /// The metadata that do not depend on the types of the tensors.
    let metadata: GGUFKeyValues
    /// The tensors, in the order of the file.
    let tensors: [GGUFTensorPlan]
    /// What was left out, and what llama.cpp does otherwise.
    let warnings: [IngotWarning]

    /// Reads the files of the checkpoint.
    ///
    /// - Parameter name: the name of the model; nil for that in `config.json`, or that of the directory.
    /// - Throws: `unsupportedSource` without a configuration, and what the parts throw.
    init(_ checkpoint: OpenedCheckpoint, name: String?) throws {
        let files = ModelFiles(checkpoint)
        guard let document = try files.object("config.json") else {
            throw IngotError(
                .unsupportedSource, file: checkpoint.path.string,
                found: "neither a config.json nor the metadata of a GGUF file",
                expected: "one of them, to say what model the tensors are of",
                remedy: "name the directory of the model, with its config.json and tokenizer.json")
        }
        let configuration = try DecoderConfiguration(document)
        let (tensors, tensorWarnings) = try DecoderTensors.plan(checkpoint, configuration)
        self.tensors = tensors
        let tokenizer = try GGUFTokenizer(files, configuration)
        var fileWarnings: [IngotWarning] = []
        let general = GeneralMetadata(
            architecture: configuration.family.architecture, name: name ?? HuggingFaceModel.name(files, document),
            sizeLabel: HuggingFaceModel.sizeLabel(tensors, experts: configuration.experts),
            generation: try HuggingFaceModel.generation(files, &fileWarnings),
            card: ModelCard(try files.bytes("README.md").flatMap { String(validating: $0, as: UTF8.self) }))
        var metadata = GGUFKeyValues()
        general.write(to: &metadata)
        configuration.write(to: &metadata, hasTokens: tokenizer.hasTokens)
        tokenizer.write(to: &metadata)
        self.metadata = metadata
        warnings = configuration.warnings + tensorWarnings + fileWarnings + tokenizer.warnings
    }

    /// `generation_config.json`; nil, with a warning, if it is no JSON object: nothing but settings of sampling depends on it.
    private static func generation(_ files: ModelFiles, _ warnings: inout [IngotWarning]) throws -> ModelDocument? {
        let name = "generation_config.json"
        guard let bytes = try files.bytes(name) else { return nil }
        do {
            return try ModelDocument(bytes, path: files.path(name))
        } catch let error as IngotError {
            warnings.append(
                IngotWarning(file: files.path(name), "no settings of sampling are written: \(error.found)"))
            return nil
        }
    }

    /// The name of the model: that under which `config.json` says it was loaded, or that of the directory.
    private static func name(_ files: ModelFiles, _ document: ModelDocument) -> String {
        if let path = document["_name_or_path"]?.string {
            let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            // More parts are those of a path on somebody's disk.
            if parts.count <= 2, let last = parts.last, !last.isEmpty {
                return GeneralMetadata.title(String(decoding: last, as: UTF8.self))
            }
        }
        let directory = files.directory.lastComponent?.string ?? ""
        return directory.isEmpty || directory == "." || directory == ".."
            ? "model" : GeneralMetadata.title(directory)
    }

    /// Number of weights as a label. With experts, the weights of one expert of each matrix are counted: `8x7.2B`.
    private static func sizeLabel(_ tensors: [GGUFTensorPlan], experts: Int) -> String {
        let total = tensors.reduce(0 as UInt64) { total, tensor in
            let isStacked = experts > 0 && tensor.shape.dimensions.count == 3
            let count = isStacked ? tensor.elementCount / experts : tensor.elementCount
            return Checked.add(total, UInt64(count)) ?? .max
        }
        let label = GeneralMetadata.label(total)
        return experts > 0 ? "\(experts)x\(label)" : label
    }
}
