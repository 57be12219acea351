import TensorModel

/// Collects what the metadata of a GGUF file says about the model, with the types of the values.
///
/// The keys are those of `Keys` in the Python package gguf 0.19.0, and `general.parameter_count` of older files.
struct GGUFModel {
    /// Values of the keys below. Keys of architectures other than the file's are among them.
    private var values: [TensorName: GGUFValue] = [:]

    /// Maximum number of values that are collected, because a file may have a million keys that end alike.
    private static let maximumValues = 1000

    private static let architecture = TensorName("general.architecture")
    private static let name = TensorName("general.name")
    private static let parameters = TensorName("general.parameter_count")
    private static let sizeLabel = TensorName("general.size_label")
    private static let fileType = TensorName("general.file_type")
    private static let quantizationVersion = TensorName("general.quantization_version")
    private static let licence = TensorName("general.license")
    private static let tokenizer = TensorName("tokenizer.ggml.model")
    private static let tokens = TensorName("tokenizer.ggml.tokens")
    /// Keys of all files.
    private static let general: Set<TensorName> = [
        architecture, name, parameters, sizeLabel, fileType, quantizationVersion, licence, tokenizer, tokens,
    ]
    /// Ends of keys that begin with the name of the architecture, and the members for their values.
    private static let ends: [(end: String, member: any WritableKeyPath<ModelDescription, UInt64?> & Sendable)] = [
        (".block_count", \.layers), (".embedding_length", \.embeddingLength), (".context_length", \.contextLength),
        (".attention.head_count", \.heads), (".attention.head_count_kv", \.keyValueHeads),
        (".vocab_size", \.vocabulary),
    ]

    /// Keeps a value if the description needs it.
    mutating func note(_ key: String, _ value: GGUFValue) {
        let name = TensorName(key)
        if !GGUFModel.general.contains(name) {
            guard values.count < GGUFModel.maximumValues, value.unsigned != nil,
                GGUFModel.ends.contains(where: { TensorName.hasSuffix(key, $0.end) })
            else { return }
        }
        values[name] = value
    }

    /// What was collected; nil if it states nothing. Values of unexpected types are left out.
    var description: ModelDescription? {
        var model = ModelDescription()
        model.architecture = values[GGUFModel.architecture]?.string
        model.name = values[GGUFModel.name]?.string
        model.parameters = values[GGUFModel.parameters]?.unsigned
        model.sizeLabel = values[GGUFModel.sizeLabel]?.string
        model.fileType = values[GGUFModel.fileType]?.unsigned
        model.quantizationVersion = values[GGUFModel.quantizationVersion]?.unsigned
        model.licence = values[GGUFModel.licence]?.string
        model.tokenizer = values[GGUFModel.tokenizer]?.string
        model.tokens = values[GGUFModel.tokens]?.count
        if let architecture = model.architecture {
            for (end, member) in GGUFModel.ends {
                model[keyPath: member] = values[TensorName(architecture + end)]?.unsigned
            }
        }
        return model.ifAny
    }
}
