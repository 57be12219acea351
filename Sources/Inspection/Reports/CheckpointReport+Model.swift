import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

extension OpenedCheckpoint {
    /// What the files say about the model: the first GGUF file that says something, or the metadata of a GGUF file that was converted;
    /// otherwise `config.json` of the directory.
    ///
    /// - Returns: the description; nil if the files say nothing. A warning if `config.json` or the metadata cannot be read.
    func describedModel() -> (model: ModelDescription?, warning: IngotWarning?) {
        switch content {
        case .sealed(let checkpoint):
            guard checkpoint.manifest.files.contains(where: { !$0.isShard && $0.name == GGUFMetadataBytes.fileName })
            else { return ModelConfiguration.read(in: checkpoint.path) }
            return OpenedCheckpoint.carriedModel(checkpoint.path.appending(GGUFMetadataBytes.fileName))
        case .plain(let checkpoint):
            if let model = checkpoint.shards.lazy.compactMap(\.header.model).first { return (model, nil) }
            return checkpoint.directory.map { ModelConfiguration.read(in: $0) } ?? (nil, nil)
        }
    }

    /// What the metadata of a GGUF source say; its types of blocks are those of the source, and left out.
    private static func carriedModel(_ path: FilePath) -> (model: ModelDescription?, warning: IngotWarning?) {
        do {
            var model = try GGUFFile.readHeader(MappedFile.open(path), undecodable: .listed).model
            model?.fileType = nil
            model?.quantizationVersion = nil
            return (model, nil)
        } catch {
            let found = (error as? IngotError)?.found ?? "\(error)"
            return (nil, IngotWarning(file: path.string, "cannot be read, so the model is not described: \(found)"))
        }
    }
}

extension ModelDescription {
    /// The description as JSON (Specs/json.md, `model`). Members that are not stated are left out.
    var json: JSONValue {
        func text(_ key: String, _ value: String?) -> JSONValue.Member? { value.map { .init(key, .string($0)) } }
        func number(_ key: String, _ value: UInt64?) -> JSONValue.Member? { value.map { .init(key, .unsigned($0)) } }
        let members: [JSONValue.Member?] = [
            text("architecture", architecture), text("name", name), number("parameters", parameters),
            text("size_label", sizeLabel), number("layers", layers), number("embedding_length", embeddingLength),
            number("heads", heads), number("kv_heads", keyValueHeads), number("context_length", contextLength),
            number("vocab_size", vocabulary), text("dtype", elementType), number("file_type", fileType),
            text("file_type_name", fileTypeName), number("quantization_version", quantizationVersion),
            text("tokenizer", tokenizer), number("tokens", tokens), text("license", licence),
        ]
        return .object(members.compactMap { $0 })
    }
}
