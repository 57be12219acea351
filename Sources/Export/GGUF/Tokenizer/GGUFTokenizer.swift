import Checkpoints
import SystemPackage
import TensorModel

/// The tokenizer of a Hugging Face checkpoint as metadata of a GGUF file (`tokenizer.ggml.*`).
///
/// Kinds and texts of the tokens are those of llama.cpp's converter (`conversion/base.py`).
struct GGUFTokenizer {
    /// The kinds of tokens (`llama_token_type`).
    private enum Kind: Int32 {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// A token of the list.
    private struct Token {
        var text: String
        var kind: Kind
        var score: Float
    }

    /// Whether the file lists tokens.
    let hasTokens: Bool
    /// What was left out, and what llama.cpp does otherwise.
    private(set) var warnings: [IngotWarning] = []
    private var metadata = GGUFKeyValues()

    /// The score of tokens that no merge makes because they are found before: those that were added to the vocabulary.
    private static let addedScore: Float = -1000
    private static let padScore: Float = -10_000
    private static let prefix = "tokenizer.ggml."

    /// Reads the files.
    ///
    /// - Throws: `tokenizerInvalid` for a tokenizer that llama.cpp does not have, and for one whose tokens do not fit the embedding.
    init(_ files: ModelFiles, _ configuration: DecoderConfiguration) throws {
        let fileName = "tokenizer.json"
        guard let document = try files.object(fileName) else {
            hasTokens = false
            let hasPieces = try files.has("tokenizer.model")
            warnings.append(
                IngotWarning(
                    file: files.directory.string,
                    "no \(fileName)\(hasPieces ? ", only a tokenizer.model" : ""), so the GGUF file has no tokenizer and "
                        + "runs on token ids alone; transformers' AutoTokenizer, loaded and saved again, makes one"))
            metadata.append(GGUFTokenizer.prefix + "model", .text("no_vocab"))
            return
        }
        hasTokens = true
        let tokenizer = try TokenizerDocument(document)
        let settings = try files.object("tokenizer_config.json")
        let isByteLevel = try tokenizer.steps("pre_tokenizer", list: "pretokenizers").contains {
            $0.type == "ByteLevel"
        }
        guard isByteLevel || tokenizer.hasByteFallback else {
            throw tokenizer.unsupported(
                "a tokenizer with neither the pre-tokenizer ByteLevel nor byte_fallback",
                "one of them, as GGUF files have tokenizers of kind gpt2 and llama")
        }
        let tokens = try tokens(tokenizer, settings, configuration, isByteLevel: isByteLevel)
        try writeKind(tokenizer, settings, configuration.family, isByteLevel: isByteLevel)
        write("tokens", .texts(tokens.map(\.text)))
        if !isByteLevel { write("scores", .numbers(.f32, tokens.map { UInt64($0.score.bitPattern) })) }
        write("token_type", .numbers(.i32, tokens.map { UInt64($0.kind.rawValue) }))
        if isByteLevel { write("merges", .texts(tokenizer.merges.map(GGUFTokenizer.line))) }
        var special = try SpecialTokens(
            tokenizer, settings: settings, configuration: configuration.document, count: tokens.count)
        try complete(&special, tokenizer, settings, isByteLevel: isByteLevel)
        special.write(to: &metadata)
        for warning in special.warnings { warn(tokenizer, warning) }
        try ChatTemplates(files, settings: settings).write(to: &metadata)
        try writeNormalizer(tokenizer, isByteLevel: isByteLevel)
    }

    /// Appends the entries.
    func write(to metadata: inout GGUFKeyValues) { metadata.append(self.metadata) }

    private mutating func write(_ key: String, _ value: GGUFMetadataValue) {
        metadata.append(GGUFTokenizer.prefix + key, value)
    }

    private mutating func warn(_ tokenizer: TokenizerDocument, _ text: String) {
        warnings.append(IngotWarning(file: tokenizer.document.path, text))
    }

    /// A merge as one text: both parts with a space between. A space inside of a part is written as `Ġ`, the letter for its byte.
    private static func line(_ merge: (left: String, right: String)) -> String {
        func escaped(_ part: String) -> String {
            guard part.utf8.contains(UInt8(ascii: " ")) else { return part }
            return String(String.UnicodeScalarView(part.unicodeScalars.map { $0 == " " ? "\u{120}" : $0 }))
        }
        return "\(escaped(merge.left)) \(escaped(merge.right))"
    }

    // MARK: - Kind and rules

    /// Appends the kind of the tokenizer and the rules before the merges.
    private mutating func writeKind(
        _ tokenizer: TokenizerDocument, _ settings: ModelDocument?, _ family: DecoderConfiguration.Family,
        isByteLevel: Bool
    ) throws {
        let stated = settings?["add_prefix_space"]?.bool
        guard !isByteLevel else {
            let pre = try PreTokenizerName(
                tokenizer, cleansUp: settings?["clean_up_tokenization_spaces"]?.bool)
            // llama.cpp does not add a space before the text of such a tokenizer, and its converter does not state this for Qwen2.
            if let stated, family != .qwen2 { write("add_space_prefix", .bool(stated)) }
            write("model", .text("gpt2"))
            write("pre", .text(pre.name))
            let composes = try tokenizer.steps("normalizer", list: "normalizers").contains { $0.type == "NFC" }
            if composes, !pre.composes {
                warn(tokenizer, "characters are composed (NFC) before the merges, which llama.cpp does not do")
            }
            return
        }
        let addsSpace = try stated ?? GGUFTokenizer.addsSpace(tokenizer)
        if stated != nil || !addsSpace { write("add_space_prefix", .bool(addsSpace)) }
        let onlyFirst = try tokenizer.steps("pre_tokenizer", list: "pretokenizers").contains {
            $0.step["prepend_scheme"]?.string == "first"
        }
        if addsSpace, onlyFirst {
            warn(tokenizer, "a space before the text alone, where llama.cpp puts one after each special token, too")
        }
        write("model", .text("llama"))
        write("pre", .text("default"))
    }

    /// Whether a tokenizer of pieces puts a space before a text. Its normalizer or its pre-tokenizer says so.
    ///
    /// - Throws: `tokenizerInvalid` for other rules than those of Llama 2.
    private static func addsSpace(_ tokenizer: TokenizerDocument) throws -> Bool {
        var addsSpace = false
        let space = TensorName("\u{2581}")
        func failure(_ found: String) -> IngotError {
            tokenizer.unsupported(
                found, "a sign for spaces as in Llama 2: Prepend and Replace as normalizers, or Metaspace")
        }
        for (type, step) in try tokenizer.steps("normalizer", list: "normalizers") {
            switch type {
            case "Prepend" where step["prepend"]?.string.map({ TensorName($0) }) == space: addsSpace = true
            case "Replace"
            where step["pattern"]?["String"]?.string == " " && step["content"]?.string.map({ TensorName($0) }) == space:
                break
            default: throw failure("the normalizer \(type.prefix(80))")
            }
        }
        for (type, step) in try tokenizer.steps("pre_tokenizer", list: "pretokenizers") {
            guard type == "Metaspace", step["replacement"]?.string.map({ TensorName($0) }) == space else {
                throw failure("the pre-tokenizer \(type.prefix(80))")
            }
            addsSpace = step["prepend_scheme"]?.string.map { $0 != "never" } ?? step["add_prefix_space"]?.bool ?? true
        }
        return addsSpace
    }

    /// Appends the normalizers that GGUF files state.
    ///
    /// - Throws: `tokenizerInvalid` for a normalizer that llama.cpp does not have.
    private mutating func writeNormalizer(_ tokenizer: TokenizerDocument, isByteLevel: Bool) throws {
        guard isByteLevel else { return }
        for (type, _) in try tokenizer.steps("normalizer", list: "normalizers") where type != "NFC" {
            throw tokenizer.unsupported(
                "the normalizer \(type.prefix(80)) of a tokenizer of kind gpt2", "NFC or none")
        }
    }

    /// States whether the first token is added where nothing says so, because llama.cpp's defaults depend on the kind.
    ///
    /// - Throws: `tokenizerInvalid` if a token is added whose id is not known: llama.cpp would add another.
    private func complete(
        _ special: inout SpecialTokens, _ tokenizer: TokenizerDocument, _ settings: ModelDocument?, isByteLevel: Bool
    ) throws {
        if special.isAdded("bos") == nil {
            // transformers' class for Llama 2 adds it by itself.
            let usesClass = settings?["tokenizer_class"]?.string?.utf8.starts(with: "LlamaTokenizer".utf8) ?? false
            special.setAdded("bos", !isByteLevel && usesClass)
        }
        for kind in ["bos", "eos", "sep"] where special.isAdded(kind) == true && special.id(kind) == nil {
            throw tokenizer.unsupported(
                "a token `\(kind)` that is added to texts, without an id", "its id in tokenizer.json or config.json")
        }
    }

    // MARK: - Tokens

    /// The tokens by their ids, one for each row of the embedding.
    private mutating func tokens(
        _ tokenizer: TokenizerDocument, _ settings: ModelDocument?, _ configuration: DecoderConfiguration,
        isByteLevel: Bool
    ) throws -> [Token] {
        let rows = configuration.vocabulary
        var tokens = (0..<rows).map { Token(text: "[PAD\($0)]", kind: .unused, score: GGUFTokenizer.padScore) }
        func require(_ id: Int, _ text: String) throws {
            guard id < rows else {
                throw tokenizer.unsupported(
                    "the token `\(text.prefix(80))` with the id \(id)",
                    "ids below \(rows), the rows of the embedding (vocab_size)")
            }
        }
        for (id, text) in tokenizer.vocabulary {
            try require(id, text)
            guard tokens[id].kind == .unused else {
                throw tokenizer.unsupported(
                    "the tokens `\(tokens[id].text.prefix(80))` and `\(text.prefix(80))` with the id \(id)",
                    "one token for each id")
            }
            tokens[id] = Token(text: text, kind: .normal, score: 0)
        }
        for token in added(tokenizer, settings) {
            try require(token.id, token.text)
            let isSpecial = token.isSpecial || GGUFTokenizer.looksSpecial(token.text)
            let text = isSpecial ? token.text : GGUFTokenizer.spaced(token.text)
            tokens[token.id] = Token(
                text: text, kind: isSpecial ? .control : .userDefined, score: GGUFTokenizer.addedScore)
        }
        if !isByteLevel { try setPieces(&tokens, tokenizer) }
        var seen: Set<TensorName> = []
        for (id, token) in tokens.enumerated() where !seen.insert(TensorName(token.text)).inserted {
            // llama.cpp ends the process for such a file.
            throw tokenizer.unsupported(
                "the token `\(token.text.prefix(80))` a second time, with the id \(id)", "one id")
        }
        return tokens
    }

    /// The tokens that are found before all others: those of `added_tokens`, those of `tokenizer_config.json`, which decides which of them
    /// are special, and those of the vocabulary that it names as special.
    private mutating func added(
        _ tokenizer: TokenizerDocument, _ settings: ModelDocument?
    ) -> [TokenizerDocument.Added] {
        var tokens: [TokenizerDocument.Added] = []
        var places: [Int: Int] = [:]
        func add(_ token: TokenizerDocument.Added) {
            if let place = places[token.id] {
                tokens[place] = token
            } else {
                places[token.id] = tokens.count
                tokens.append(token)
            }
        }
        for token in tokenizer.added { add(token) }
        let vocabulary = Dictionary(
            tokenizer.vocabulary.map { ($0.id, $0.text) }, uniquingKeysWith: { first, _ in first })
        for member in settings?["added_tokens_decoder"]?.object ?? [] {
            guard let id = Int(member.key), (0..<1 << 22).contains(id), let text = member.value["content"]?.string
            else {
                continue
            }
            let known = places[id].map { tokens[$0].text } ?? vocabulary[id]
            guard known.map({ TensorName($0) == TensorName(text) }) ?? true else {
                warn(
                    tokenizer,
                    "token \(id) is `\((known ?? "").prefix(80))`, and not `\(text.prefix(80))` as in "
                        + "tokenizer_config.json")
                continue
            }
            add(.init(id: id, text: text, isSpecial: member.value["special"]?.bool ?? false))
        }
        for kind in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"] {
            let value = settings?["\(kind)_token"]
            guard let text = value?.string ?? value?["content"]?.string, let id = tokenizer.ids[TensorName(text)],
                places[id] == nil
            else { continue }
            add(.init(id: id, text: text, isSpecial: true))
        }
        return tokens
    }

    /// Gives kinds and scores to the tokens of a SentencePiece model.
    ///
    /// - Throws: `tokenizerInvalid` if a byte has no token.
    private mutating func setPieces(_ tokens: inout [Token], _ tokenizer: TokenizerDocument) throws {
        for byte in UInt8.min...UInt8.max {
            let name = "<0x\(NumberText.padded(byte, digits: 2, radix: 16).uppercased())>"
            guard let id = tokenizer.ids[TensorName(name)] else {
                throw tokenizer.unsupported(
                    "no token for the byte \(byte)", "the token \(name), and so on for all bytes")
            }
            tokens[id].kind = .byte
            tokens[id].score = 0
        }
        if let id = tokenizer.unknown.flatMap({ tokenizer.ids[TensorName($0)] }) {
            tokens[id].kind = .unknown
            tokens[id].score = 0
        }
        let scores = PieceScores(tokenizer) { tokens[$0].kind == .normal }
        // Single characters follow in the order of their ids, as in SentencePiece's files.
        var next = scores.next
        for id in tokens.indices where tokens[id].kind == .normal {
            if let score = scores.score(tokens[id].text) {
                tokens[id].score = score
            } else {
                tokens[id].score = next
                next -= 1
            }
        }
        if scores.foreignPairs > 0 || scores.isOutOfOrder {
            let reason =
                scores.foreignPairs > 0
                ? "llama.cpp merges \(scores.foreignPairs) pairs that tokenizer.json does not merge"
                : "the merges to one piece do not follow each other"
            warn(tokenizer, "\(reason): it may cut some texts into other tokens")
        }
    }

    /// Whether the text of an added token looks like that of a control token: some models do not say that they are.
    private static func looksSpecial(_ text: String) -> Bool {
        func encloses(_ start: String, _ end: String) -> Bool {
            text.utf8.starts(with: start.utf8) && TensorName.hasSuffix(text, end)
        }
        return ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(text) || encloses("<|", "|>")
            || encloses("<\u{FF5C}", "\u{FF5C}>") || encloses("<unused", ">")
    }

    /// The text with spaces for U+2581.
    private static func spaced(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == "\u{2581}" ? " " : $0 }))
    }
}
