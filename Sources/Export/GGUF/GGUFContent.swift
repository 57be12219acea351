import Checkpoints
package import TensorModel
package import Weights

/// The content of a GGUF file that is made of a checkpoint: its metadata and its tensors. The types of the elements are open.
///
/// A GGUF source, and a sealed checkpoint that was made of one, keep their metadata as they are, and the names and rows of their tensors. A
/// Hugging Face checkpoint of a known family gets the metadata, names and rows that llama.cpp's converter gives it.
package struct GGUFContent: Sendable {
    /// The tensors in the order of the file: those outside of layers, then layer by layer, each by name. llama-quantize writes this order.
    package let tensors: [GGUFTensorPlan]
    /// What was left out, and what llama.cpp does otherwise.
    package let warnings: [IngotWarning]
    /// The metadata that do not depend on the types of the tensors.
    private let base: GGUFKeyValues

    private static let fileTypeKey = "general.file_type"
    private static let quantizationKey = "general.quantization_version"
    private static let alignmentKey = "general.alignment"

    /// Plans the content. Reads the files beside the weights, and no weights.
    ///
    /// - Parameters:
    ///   - checkpoint: the source.
    ///   - name: `general.name` of a file that is made of a Hugging Face checkpoint; nil for the name that its files or its directory state.
    /// - Throws: `unsupportedSource` for a model that the format has no layout for, and for tensors that do not fit the configuration;
    ///   `tokenizerInvalid` for a tokenizer that GGUF cannot state; `missingField` and `valueOutOfRange` for numbers; errors of reading.
    package init(_ checkpoint: OpenedCheckpoint, name: String? = nil) throws {
        if let metadata = try GGUFDecoder.metadata(of: checkpoint) {
            let stored = try metadata.storedEntries { key in
                !GGUFSplit.isKey(key)
                    && ![GGUFContent.fileTypeKey, GGUFContent.quantizationKey, GGUFContent.alignmentKey].contains(key)
            }
            base = GGUFKeyValues(stored: stored.count, stored.bytes)
            tensors = checkpoint.tensors.map { GGUFTensorPlan($0.name, $0) }.sorted(by: GGUFTensorPlan.isBefore)
            warnings = []
        } else {
            let model = try HuggingFaceModel(checkpoint, name: name)
            (base, tensors, warnings) = (model.metadata, model.tensors, model.warnings)
        }
        for tensor in tensors { try GGUFFileHeader.check(tensor.name, tensor.shape) }
    }

    /// The metadata of the file.
    ///
    /// - Parameters:
    ///   - fileType: llama.cpp's number of the mix of types (`general.file_type`).
    ///   - quantizationVersion: the version of ggml's block formats, 2 today; nil for a file without blocks.
    package func metadata(fileType: UInt32, quantizationVersion: UInt32?) -> GGUFKeyValues {
        var metadata = base
        if let quantizationVersion { metadata.append(GGUFContent.quantizationKey, .u32(quantizationVersion)) }
        metadata.append(GGUFContent.fileTypeKey, .u32(fileType))
        return metadata
    }
}
