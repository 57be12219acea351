import TensorModel

/// A `tokenizer.json` of kind BPE, read and checked as far as a GGUF file needs it.
struct TokenizerDocument {
    /// A token of the member `added_tokens`.
    struct Added {
        let id: Int
        let text: String
        var isSpecial: Bool
    }

    /// The document.
    let document: ModelDocument
    /// The texts of the vocabulary by their ids.
    let vocabulary: [(id: Int, text: String)]
    /// Ids of the texts of the vocabulary.
    let ids: [TensorName: Int]
    /// Merges in order, as both parts.
    let merges: [(left: String, right: String)]
    /// The tokens of `added_tokens`, in order.
    let added: [Added]
    /// Whether a piece that is a token is taken without merging.
    let ignoresMerges: Bool
    /// Whether characters outside of the vocabulary become tokens of their bytes.
    let hasByteFallback: Bool
    /// The text of the token for what is not in the vocabulary.
    let unknown: String?

    /// Tokens and merges at most. Ids are below four times this.
    private static let maximumCount = 1_000_000

    /// An error about what a GGUF file cannot state.
    func unsupported(_ found: String, _ expected: String) -> IngotError {
        TokenizerDocument.failure(
            document, found, expected,
            remedy: """
                convert it with llama.cpp's convert_hf_to_gguf.py if that knows it, and name the file that it makes; \
                without tokenizer.json in the directory, the export runs on token ids alone
                """)
    }

    private static func failure(
        _ document: ModelDocument, _ found: String, _ expected: String,
        remedy: Remedy = "check that tokenizer.json is complete, as the library tokenizers saves it"
    ) -> IngotError {
        IngotError(.tokenizerInvalid, file: document.path, found: found, expected: expected, remedy: remedy)
    }

    /// Reads the parts.
    ///
    /// - Throws: `tokenizerInvalid` for another kind of model, and for parts that contradict each other.
    init(_ document: ModelDocument) throws {
        self.document = document
        func failure(_ found: String, _ expected: String) -> IngotError {
            TokenizerDocument.failure(document, found, expected)
        }
        guard let model = document["model"], model.object != nil else { throw failure("no `model`", "an object") }
        let type = model["type"]?.string ?? (model["merges"] == nil ? "none" : "BPE")
        guard type == "BPE" else {
            throw failure(
                "a model of type \(type.prefix(80))", "BPE, the only one that GGUF files of these models state")
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] where !(model[key]?.string ?? "").isEmpty {
            throw failure("`\(key)` in the model", "no such text")
        }
        func flag(_ key: String) throws -> Bool {
            guard let value = model[key], value != .null else { return false }
            guard let flag = value.bool else { throw failure("`\(key)` in the model", "true or false") }
            return flag
        }
        ignoresMerges = try flag("ignore_merges")
        hasByteFallback = try flag("byte_fallback")
        unknown = model["unk_token"]?.string
        guard let members = model["vocab"]?.object, let list = model["merges"]?.array,
            members.count <= TokenizerDocument.maximumCount, list.count <= TokenizerDocument.maximumCount
        else {
            throw failure(
                "a model without `vocab` or `merges`, or with too many",
                "both, of at most \(TokenizerDocument.maximumCount)")
        }
        var vocabulary: [(id: Int, text: String)] = []
        var ids: [TensorName: Int] = [:]
        ids.reserveCapacity(members.count)
        for member in members {
            let id = try TokenizerDocument.id(member.value, of: member.key, document)
            vocabulary.append((id, member.key))
            ids[TensorName(member.key)] = id
        }
        self.vocabulary = vocabulary
        self.ids = ids
        merges = try list.enumerated().map { number, value in
            let pair = TokenizerDocument.parts(value)
            guard let pair, ids[TensorName(pair.left)] != nil, ids[TensorName(pair.right)] != nil,
                ids[TensorName(pair.left + pair.right)] != nil
            else { throw failure("merge \(number): \(value.text().prefix(80))", "two tokens that make a third") }
            return pair
        }
        added = try TokenizerDocument.added(document)
    }

    /// The two parts of a merge: an array of two texts, or a text with one space. nil for anything else.
    private static func parts(_ value: JSONValue) -> (left: String, right: String)? {
        if let pair = value.array {
            guard pair.count == 2, let left = pair[0].string, let right = pair[1].string else { return nil }
            return (left, right)
        }
        guard let text = value.string else { return nil }
        let pair = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard pair.count == 2 else { return nil }
        return (String(decoding: pair[0], as: UTF8.self), String(decoding: pair[1], as: UTF8.self))
    }

    private static func id(_ value: JSONValue?, of text: String, _ document: ModelDocument) throws -> Int {
        guard let id = value?.unsigned, id < UInt64(4 * maximumCount) else {
            throw failure(
                document, "the token `\(text.prefix(80))` with the id \(value?.text().prefix(40) ?? "none")",
                "an id below \(4 * maximumCount)")
        }
        return Int(id)
    }

    private static func added(_ document: ModelDocument) throws -> [Added] {
        guard let list = document["added_tokens"] else { return [] }
        guard let tokens = list.array, tokens.count <= maximumCount else {
            throw failure(document, "`added_tokens`", "an array")
        }
        return try tokens.map { token in
            guard let text = token["content"]?.string else {
                throw failure(document, "an added token without `content`", "its text")
            }
            return Added(
                id: try id(token["id"], of: text, document), text: text, isSpecial: token["special"]?.bool ?? false)
        }
    }

    /// The parts of a member that is one object, or a sequence of objects; nested sequences count as one. Empty if the member is missing.
    ///
    /// - Parameters:
    ///   - key: the key of the member: `normalizer`, `pre_tokenizer` or `post_processor`.
    ///   - list: the key of the parts of a sequence.
    /// - Throws: `tokenizerInvalid` if there is something else.
    func steps(_ key: String, list: String) throws -> [(type: String, step: JSONValue)] {
        var steps: [(type: String, step: JSONValue)] = []
        func add(_ value: JSONValue, depth: Int) throws {
            guard let type = value["type"]?.string, depth < 8, steps.count < 64 else {
                throw TokenizerDocument.failure(document, "`\(key)` of an unknown form", "an object with a `type`")
            }
            guard type == "Sequence" else { return steps.append((type, value)) }
            guard let parts = value[list]?.array else {
                throw TokenizerDocument.failure(document, "a sequence in `\(key)` without `\(list)`", "an array")
            }
            for part in parts { try add(part, depth: depth + 1) }
        }
        if let value = document[key] { try add(value, depth: 0) }
        return steps
    }
}
