import Checkpoints
import TensorModel

/// The parts of a `tokenizer.json`, read but not yet put together.
struct TokenizerJSON {
    /// Vocabulary and merges.
    private(set) var model: ModelJSON
    /// The member `normalizer`.
    private(set) var normalizer: JSONValue?
    /// The member `pre_tokenizer`.
    private(set) var preTokenizer: JSONValue?
    /// The member `post_processor`.
    private(set) var postProcessor: JSONValue?
    /// The member `added_tokens`.
    private(set) var addedTokens: [JSONValue] = []

    /// Bytes of the file at most.
    static let maximumBytes = 256 << 20
    /// Bytes of each member except `model`, at most.
    private static let maximumPartBytes = 16 << 20

    /// Reads a document.
    ///
    /// - Throws: `headerSyntax` and the like for what is no JSON, `tokenizerInvalid` for what is no tokenizer.
    init(_ bytes: [UInt8]) throws {
        var reader = JSONReader(bytes, maximumDepth: Limits.standard.documentDepth)
        var parts: [TensorName: Range<Int>] = [:]
        try reader.readObject { reader, key in
            reader.skipWhitespace()
            let start = reader.position
            try reader.skipValue()
            guard parts.updateValue(start..<reader.position, forKey: TensorName(key)) == nil else {
                throw reader.failure("the key `\(key.prefix(80))` a second time", as: .duplicateKey)
            }
        }
        try reader.requireEnd()
        guard let place = parts[TensorName("model")] else {
            throw TokenizerFailure.invalid("no `model`", "a tokenizer.json of the library tokenizers")
        }
        model = try ModelJSON(bytes, place)
        func part(_ key: String) throws -> JSONValue? {
            guard let place = parts[TensorName(key)] else { return nil }
            guard place.count <= TokenizerJSON.maximumPartBytes else {
                throw TokenizerFailure.invalid(
                    "`\(key)` of \(place.count) bytes", "at most \(TokenizerJSON.maximumPartBytes) bytes")
            }
            do {
                return try JSONValue.parse(Array(bytes[place]))
            } catch var error as IngotError {
                error.offset = error.offset.map { $0 + UInt64(place.lowerBound) }
                throw error
            }
        }
        normalizer = try part("normalizer")
        preTokenizer = try part("pre_tokenizer")
        postProcessor = try part("post_processor")
        if let list = try part("added_tokens"), list != .null {
            guard let tokens = list.array else { throw TokenizerFailure.invalid("`added_tokens`", "an array") }
            addedTokens = tokens
        }
    }
}

/// The member `model`: a vocabulary and merges, as texts.
struct ModelJSON {
    /// The tokens, in the order of the file.
    private(set) var vocabulary = BytesTable()
    /// Their ids.
    private(set) var ids: [Int32] = []
    /// Merges, in order: both parts of each, one after the other, by their numbers in `vocabulary`.
    private(set) var merges: [(first: Int32, second: Int32)] = []
    /// Name of the token for what is not in the vocabulary.
    private(set) var unknown: [UInt8]?
    private(set) var fusesUnknown = false
    private(set) var hasByteFallback = false
    private(set) var ignoresMerges = false

    /// Tokens at most, and merges at most.
    static let maximumTokens = 1_000_000
    /// Ids are below this.
    static let maximumID = 1 << 22

    /// Reads the member.
    init(_ bytes: [UInt8], _ range: Range<Int>) throws {
        var reader = JSONReader(bytes, range: range, maximumDepth: Limits.standard.documentDepth)
        var type: String?
        var mergesPlace: Range<Int>?
        var keys: Set<TensorName> = []
        guard reader.peek() == UInt8(ascii: "{") else { throw TokenizerFailure.invalid("`model`", "an object") }
        try reader.readObject { reader, key in
            guard keys.insert(TensorName(key)).inserted else {
                throw reader.failure("the key `\(key.prefix(80))` a second time", as: .duplicateKey)
            }
            switch key {
            case "type": type = try reader.readString()
            // An array is the vocabulary of another kind of model, which is refused below.
            case "vocab" where reader.peek() == UInt8(ascii: "{"): try readVocabulary(&reader)
            case "merges":
                reader.skipWhitespace()
                let start = reader.position
                try reader.skipValue()
                mergesPlace = start..<reader.position
            case "unk_token": unknown = try ModelJSON.text(&reader)
            case "continuing_subword_prefix", "end_of_word_suffix":
                guard try ModelJSON.text(&reader)?.isEmpty ?? true else {
                    throw TokenizerFailure.unsupported("`\(key)` in the model")
                }
            case "dropout":
                let text = reader.peek() == UInt8(ascii: "n") ? "0" : try reader.readNumberText()
                if text == "0" { try ModelJSON.skipNull(&reader) }
                guard Double(text) == 0 else { throw TokenizerFailure.unsupported("`dropout` in the model") }
            case "fuse_unk": fusesUnknown = try ModelJSON.flag(&reader, key)
            case "byte_fallback": hasByteFallback = try ModelJSON.flag(&reader, key)
            case "ignore_merges": ignoresMerges = try ModelJSON.flag(&reader, key)
            default: try reader.skipValue()
            }
        }
        guard type == "BPE" || type == nil && mergesPlace != nil else {
            throw TokenizerFailure.unsupported("a model of type \(type.map { "\($0.prefix(80))" } ?? "unknown")")
        }
        guard vocabulary.count > 0, let place = mergesPlace else {
            throw TokenizerFailure.invalid("a model without `vocab` or `merges`", "both")
        }
        var merging = JSONReader(bytes, range: place, maximumDepth: 4)
        try readMerges(&merging)
    }

    /// Makes a model of the arrays of a GGUF file.
    ///
    /// - Throws: `tokenizerInvalid` for merges that are not two tokens.
    init(_ vocabulary: BytesTable, _ ids: [Int32], merges list: GGUFTexts, ignoresMerges: Bool) throws {
        self.vocabulary = vocabulary
        self.ids = ids
        self.ignoresMerges = ignoresMerges
        guard list.count > 0 else { throw TokenizerFailure.invalid("no merges", "`tokenizer.ggml.merges`") }
        for index in 0..<list.count {
            let parts = list[index].split(separator: 0x20, maxSplits: 3, omittingEmptySubsequences: false)
            guard parts.count == 2, let first = vocabulary.find(Array(parts[0])),
                let second = vocabulary.find(Array(parts[1]))
            else { throw TokenizerFailure.invalid("merge \(index), which is not two tokens", "two tokens") }
            merges.append((Int32(first), Int32(second)))
        }
    }

    private static func skipNull(_ reader: inout JSONReader) throws {
        if reader.peek() == UInt8(ascii: "n") { _ = try reader.readLiteral() }
    }

    private static func text(_ reader: inout JSONReader) throws -> [UInt8]? {
        if reader.peek() == UInt8(ascii: "n") {
            _ = try reader.readLiteral()
            return nil
        }
        return Array(try reader.readString().utf8)
    }

    private static func flag(_ reader: inout JSONReader, _ key: String) throws -> Bool {
        let value = try reader.readLiteral()
        guard let flag = value == .null ? false : value.bool else { throw reader.unexpected("true or false") }
        return flag
    }

    private mutating func readVocabulary(_ reader: inout JSONReader) throws {
        var seen: Set<Int32> = []
        try reader.readObject { reader, key in
            let token = Array(key.utf8)
            let place = reader.position
            let id = try reader.readUnsigned(.tokenizerInvalid)
            guard ids.count < ModelJSON.maximumTokens else {
                throw TokenizerFailure.invalid("more than \(ModelJSON.maximumTokens) tokens", "fewer")
            }
            guard id < ModelJSON.maximumID else {
                throw TokenizerFailure.invalid(
                    "the id \(id)", "an id below \(ModelJSON.maximumID)", offset: UInt64(place))
            }
            guard vocabulary.insert(token, 0..<token.count) else {
                throw reader.failure("the token `\(key.prefix(80))` a second time", as: .duplicateKey, at: place)
            }
            guard seen.insert(Int32(id)).inserted else {
                throw TokenizerFailure.invalid(
                    "the id \(id) for a second token, `\(key.prefix(80))`", "one token for each id",
                    offset: UInt64(place))
            }
            ids.append(Int32(id))
        }
    }

    private mutating func readMerges(_ reader: inout JSONReader) throws {
        guard reader.peek() == UInt8(ascii: "[") else { throw TokenizerFailure.invalid("`merges`", "an array") }
        var isPairs: Bool?
        try reader.readArray { reader in
            guard merges.count < ModelJSON.maximumTokens else {
                throw TokenizerFailure.invalid("more than \(ModelJSON.maximumTokens) merges", "fewer")
            }
            let isPair = reader.peek() == UInt8(ascii: "[")
            let place = reader.position
            guard isPairs ?? isPair == isPair else {
                throw TokenizerFailure.invalid("merges of two forms", "one form", offset: UInt64(place))
            }
            isPairs = isPair
            var parts: [[UInt8]] = []
            if isPair {
                try reader.readArray { reader in
                    let part = Array(try reader.readString().utf8)
                    if parts.count < 3 { parts.append(part) }
                }
            } else {
                let line = Array(try reader.readString().utf8)
                if line.starts(with: "#version".utf8) { return }
                parts = line.split(separator: 0x20, maxSplits: 3, omittingEmptySubsequences: false).map(Array.init)
            }
            guard parts.count == 2 else {
                throw TokenizerFailure.invalid("a merge of \(parts.count) parts", "two parts", offset: UInt64(place))
            }
            guard let first = vocabulary.find(parts[0]), let second = vocabulary.find(parts[1]) else {
                throw TokenizerFailure.invalid(
                    "a merge of a token that is not in the vocabulary", "tokens of the vocabulary",
                    offset: UInt64(place))
            }
            merges.append((Int32(first), Int32(second)))
        }
    }
}
