import Checkpoints
import TensorModel

/// `tokenizer.json` and `tokenizer_config.json` from the tokenizer in the metadata of a GGUF file.
struct HuggingFaceTokenizer {
    /// The kinds of tokens (`llama_token_type`).
    enum Kind: UInt64 {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// Why there is no tokenizer, in words.
    struct Unknown: Error {
        let reason: String
    }

    private let metadata: GGUFMetadataReader
    /// The texts of the tokens by number, and their kinds.
    let tokens: [String]
    let kinds: [Kind]

    /// Reads tokens and kinds.
    ///
    /// - Throws: `Unknown` if there are none, or if two tokens have the same text; errors of reading.
    init(_ metadata: GGUFMetadataReader) throws {
        self.metadata = metadata
        guard let tokens = try metadata.strings("tokenizer.ggml.tokens"), !tokens.isEmpty else {
            throw Unknown(reason: "no tokens that are text")
        }
        let numbers = try metadata.unsigneds("tokenizer.ggml.token_type") ?? []
        let kinds = numbers.compactMap { Kind(rawValue: $0) }
        guard kinds.count == tokens.count else { throw Unknown(reason: "tokens without kinds") }
        self.tokens = tokens
        self.kinds = kinds
    }

    /// The files and their bytes.
    ///
    /// - Parameter context: tokens of the longest text.
    /// - Throws: `Unknown` if the tokenizer cannot be stated exactly; errors of reading.
    func files(context: Int) throws -> [(name: String, bytes: [UInt8])] {
        let model = try metadata.string("tokenizer.ggml.model") ?? "none"
        let parts: TokenizerParts
        switch model {
        case "gpt2": parts = try .byteLevel(self, metadata)
        case "llama": parts = try .pieces(self, metadata)
        default: throw Unknown(reason: "a tokenizer of kind \(model)")
        }
        let text = try document(parts).text() + "\n"
        return [
            ("tokenizer.json", Array(text.utf8)), ("tokenizer_config.json", try settings(context)),
        ]
    }

    /// The text of the token whose number a key states; nil if it states none.
    private func special(_ key: String) throws -> (id: Int, text: String)? {
        guard let id = try metadata.unsigned("tokenizer.ggml.\(key)_token_id"), id < UInt64(tokens.count) else {
            return nil
        }
        return (Int(id), tokens[Int(id)])
    }

    /// The numbers of the tokens by their texts, without those that only fill the table.
    ///
    /// - Throws: `Unknown` if two tokens have the same text.
    func vocabulary() throws -> [TensorName: Int] {
        var numbers: [TensorName: Int] = [:]
        for (id, token) in tokens.enumerated() where kinds[id] != .unused {
            guard numbers.updateValue(id, forKey: TensorName(token)) == nil else {
                throw Unknown(reason: "two tokens of the same text, of which one has number \(id)")
            }
        }
        return numbers
    }

    /// `tokenizer.json`.
    private func document(_ parts: TokenizerParts) throws -> JSONValue {
        let known = tokens.indices.filter { kinds[$0] != .unused }
        let added = known.filter { [.control, .userDefined, .unknown].contains(kinds[$0]) }.map { id -> JSONValue in
            .object([
                .init("id", .unsigned(UInt64(id))), .init("content", .string(tokens[id])),
                .init("single_word", .bool(false)), .init("lstrip", .bool(false)), .init("rstrip", .bool(false)),
                .init("normalized", .bool(false)), .init("special", .bool(kinds[id] != .userDefined)),
            ])
        }
        let model = JSONValue.object(
            [.init("type", .string("BPE")), .init("dropout", .null)] + parts.model + [
                .init("vocab", .object(known.map { .init(tokens[$0], .unsigned(UInt64($0))) })),
                .init("merges", .array(parts.merges.map { .string($0) })),
            ])
        return .object([
            .init("version", .string("1.0")), .init("truncation", .null), .init("padding", .null),
            .init("added_tokens", .array(added)), .init("normalizer", parts.normalizer),
            .init("pre_tokenizer", parts.preTokenizer), .init("post_processor", try template(parts)),
            .init("decoder", parts.decoder), .init("model", model),
        ])
    }

    /// The post-processor that adds the tokens of beginning and end; null if it adds none.
    private func template(_ parts: TokenizerParts) throws -> JSONValue {
        let begins = try metadata.bool("tokenizer.ggml.add_bos_token") ?? parts.addsBeginning
        let ends = try metadata.bool("tokenizer.ggml.add_eos_token") ?? false
        let begin = begins ? try special("bos") : nil
        let end = ends ? try special("eos") : nil
        guard begin != nil || end != nil else { return .null }
        func token(_ token: (id: Int, text: String)?, _ type: UInt64) -> [JSONValue] {
            guard let token else { return [] }
            let members: [JSONValue.Member] = [.init("id", .string(token.text)), .init("type_id", .unsigned(type))]
            return [.object([.init("SpecialToken", .object(members))])]
        }
        func sequence(_ name: String, _ type: UInt64) -> [JSONValue] {
            let members: [JSONValue.Member] = [.init("id", .string(name)), .init("type_id", .unsigned(type))]
            return token(begin, type) + [.object([.init("Sequence", .object(members))])] + token(end, type)
        }
        var specials: [JSONValue.Member] = []
        for token in [begin, end].compactMap({ $0 }) where !specials.contains(where: { $0.key == token.text }) {
            specials.append(
                .init(
                    token.text,
                    .object([
                        .init("id", .string(token.text)), .init("ids", .array([.unsigned(UInt64(token.id))])),
                        .init("tokens", .array([.string(token.text)])),
                    ])))
        }
        return .object([
            .init("type", .string("TemplateProcessing")), .init("single", .array(sequence("A", 0))),
            .init("pair", .array(sequence("A", 0) + sequence("B", 1))), .init("special_tokens", .object(specials)),
        ])
    }

    /// `tokenizer_config.json`.
    private func settings(_ context: Int) throws -> [UInt8] {
        var members: [JSONValue.Member] = [
            .init("tokenizer_class", .string("PreTrainedTokenizerFast")),
            .init("model_max_length", .unsigned(UInt64(context))), .init("clean_up_tokenization_spaces", .bool(false)),
        ]
        for (name, key) in [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")] {
            if let token = try special(key) { members.append(.init("\(name)_token", .string(token.text))) }
        }
        if let chat = try metadata.string("tokenizer.chat_template") {
            members.append(.init("chat_template", .string(chat)))
        }
        return Array((JSONValue.object(members).text(indented: true) + "\n").utf8)
    }
}
