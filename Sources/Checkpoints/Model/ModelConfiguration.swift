import FileAccess
package import SystemPackage
package import TensorModel

/// Reads what the `config.json` of a model on Hugging Face says about it.
///
/// Only the members below are kept. For a member that the outer object does not have, that of `text_config` counts, as in configurations
/// of models for images and text.
package enum ModelConfiguration {
    /// The name of the file.
    private static let fileName = "config.json"
    /// Maximum size of the file in bytes.
    private static let maximumBytes: UInt64 = 16 << 20
    private static let inner = "text_config"

    /// Members with texts: their keys, the usual one first, as in the configurations of transformers.
    private static let texts: [(keys: [String], member: any WritableKeyPath<ModelDescription, String?> & Sendable)] = [
        (["model_type"], \.architecture), (["torch_dtype", "dtype"], \.elementType),
    ]
    /// Members with whole numbers.
    private static let numbers: [(keys: [String], member: any WritableKeyPath<ModelDescription, UInt64?> & Sendable)] =
        [
            (["num_hidden_layers", "n_layer", "n_layers", "num_layers"], \.layers),
            (["hidden_size", "n_embd", "d_model"], \.embeddingLength),
            (["num_attention_heads", "n_head", "n_heads", "num_heads"], \.heads),
            (["num_key_value_heads"], \.keyValueHeads),
            (["max_position_embeddings", "n_positions", "max_seq_len"], \.contextLength),
            (["vocab_size"], \.vocabulary),
        ]
    private static let wanted = Set((texts.flatMap(\.keys) + numbers.flatMap(\.keys)).map { TensorName($0) })

    /// Reads the configuration in a directory. Nothing here stops the work.
    ///
    /// - Returns: the description; nil if there is no configuration, or it states nothing. A warning if there is one that cannot be read.
    package static func read(in directory: FilePath) -> (model: ModelDescription?, warning: IngotWarning?) {
        let path = directory.appending(fileName)
        do {
            guard try Directory.kind(path) == .file else { return (nil, nil) }
            return (try parse(WholeFile.read(path, limit: maximumBytes)), nil)
        } catch let error as IngotError {
            return (
                nil, IngotWarning(file: path.string, "cannot be read, so the model is not described: \(error.found)")
            )
        } catch {
            return (nil, IngotWarning(file: path.string, "cannot be read, so the model is not described"))
        }
    }

    /// Reads a configuration. Values of unexpected types are left out.
    ///
    /// - Returns: the description; nil if it states nothing.
    /// - Throws: `headerSyntax` or a similar code if it is not a JSON object.
    package static func parse(_ bytes: [UInt8]) throws -> ModelDescription? {
        var reader = JSONReader(bytes, maximumDepth: Limits.standard.documentDepth)
        // Python writes NaN and Infinity, and some models' configurations have them.
        reader.acceptsNonFiniteNumbers = true
        var (outer, nested): ([TensorName: JSONValue], [TensorName: JSONValue]) = ([:], [:])
        try readObject(&reader, &outer) { reader, key in
            guard key == inner, reader.peek() == UInt8(ascii: "{") else { return try reader.skipValue() }
            try readObject(&reader, &nested) { reader, _ in try reader.skipValue() }
        }
        try reader.requireEnd()
        func first<Value>(_ keys: [String], _ convert: (JSONValue) -> Value?) -> Value? {
            for members in [outer, nested] {
                for key in keys { if let value = members[TensorName(key)].flatMap(convert) { return value } }
            }
            return nil
        }
        var model = ModelDescription()
        for (keys, member) in texts { model[keyPath: member] = first(keys, \.string) }
        for (keys, member) in numbers { model[keyPath: member] = first(keys, \.unsigned) }
        return model.ifAny
    }

    /// Reads an object and keeps the wanted texts and whole numbers of it. `other` reads the value of any other key.
    private static func readObject(
        _ reader: inout JSONReader, _ members: inout [TensorName: JSONValue],
        _ other: (inout JSONReader, String) throws -> Void
    ) throws {
        try reader.readObject { reader, key in
            let name = TensorName(key)
            guard wanted.contains(name) else { return try other(&reader, key) }
            switch reader.peek() {
            case UInt8(ascii: "\""): members[name] = .string(try reader.readString())
            case .some(0x30...0x39):
                let text = try reader.readNumberText()
                members[name] = UInt64(text).map { .unsigned($0) }
            default: try reader.skipValue()
            }
        }
    }
}
