/// What the files of a checkpoint say about the model. Members that they do not state are nil; nothing is derived from the tensors.
package struct ModelDescription: Sendable, Hashable {
    /// The architecture, such as `llama`.
    package var architecture: String?
    /// The name of the model.
    package var name: String?
    /// Number of parameters as a number, and as a label such as `135M`.
    package var parameters: UInt64?, sizeLabel: String?
    /// Number of layers.
    package var layers: UInt64?
    /// Length of a token's embedding.
    package var embeddingLength: UInt64?
    /// Number of attention heads, and of heads of keys and values. nil if each layer has a number of its own.
    package var heads: UInt64?, keyValueHeads: UInt64?
    /// Maximum number of tokens of a context.
    package var contextLength: UInt64?
    /// Number of tokens that the model has embeddings for.
    package var vocabulary: UInt64?
    /// The element type that the model was made for, as `config.json` spells it: `bfloat16`.
    package var elementType: String?
    /// llama.cpp's number of the mix of types in a GGUF file.
    package var fileType: UInt64?
    /// The version of ggml's block formats.
    package var quantizationVersion: UInt64?
    /// The kind of the tokenizer, such as `gpt2`, and the number of its tokens.
    package var tokenizer: String?, tokens: UInt64?
    /// The licence.
    package var licence: String?

    /// A description that states nothing.
    package init() {}

    /// The description; nil if it states nothing.
    var ifAny: ModelDescription? { self == ModelDescription() ? nil : self }

    /// llama.cpp's name of the file type, such as `MOSTLY_Q4_K_M`; nil if there is no file type, or none of this number.
    package var fileTypeName: String? { fileType.flatMap(GGUFFileType.name) }
}
