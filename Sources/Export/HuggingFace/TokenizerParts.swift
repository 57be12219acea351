import Checkpoints
import TensorModel

/// The parts of `tokenizer.json` that differ between the two kinds of tokenizers in GGUF files.
struct TokenizerParts {
    var normalizer = JSONValue.null
    var preTokenizer = JSONValue.null
    var decoder = JSONValue.null
    /// Members of the model other than its tables.
    var model: [JSONValue.Member] = []
    /// Pairs of tokens, the first merged first, each as both texts with a space between.
    var merges: [String] = []
    /// Whether the token of the beginning is added if the metadata do not say so. These are llama.cpp's defaults.
    var addsBeginning = false

    private static func object(_ type: String, _ members: [JSONValue.Member] = []) -> JSONValue {
        .object([.init("type", .string(type))] + members)
    }

    private static func sequence(_ key: String, _ parts: [JSONValue]) -> JSONValue {
        object("Sequence", [.init(key, .array(parts))])
    }
}

// MARK: - Bytes as letters, with merges (kind gpt2)

extension TokenizerParts {
    private static func byteLevel(usesPattern: Bool) -> JSONValue {
        object(
            "ByteLevel",
            [
                .init("add_prefix_space", .bool(false)), .init("trim_offsets", .bool(true)),
                .init("use_regex", .bool(usesPattern)),
            ])
    }

    private static func split(_ pattern: String) -> JSONValue {
        object(
            "Split",
            [
                .init("pattern", .object([.init("Regex", .string(pattern))])),
                .init("behavior", .string("Isolated")), .init("invert", .bool(false)),
            ])
    }

    /// The pattern of Llama 3 and Qwen2, with the longest run of digits that stays together.
    private static func pattern(digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// The parts of a tokenizer of kind `gpt2`. How texts are cut before the merges depends on `tokenizer.ggml.pre`.
    ///
    /// - Throws: `Unknown` for a way of cutting whose model's tokenizer is not known exactly, and for merges of unknown tokens.
    static func byteLevel(_ tokenizer: HuggingFaceTokenizer, _ metadata: GGUFMetadataReader) throws -> TokenizerParts {
        var parts = TokenizerParts()
        var ignoresMerges = false
        let cut = try metadata.string("tokenizer.ggml.pre") ?? "none"
        switch cut {
        case "gpt-2": parts.preTokenizer = byteLevel(usesPattern: true)
        case "smollm":
            parts.preTokenizer = sequence(
                "pretokenizers",
                [object("Digits", [.init("individual_digits", .bool(true))]), byteLevel(usesPattern: true)])
        case "llama-bpe":
            parts.preTokenizer = sequence(
                "pretokenizers", [split(pattern(digits: "{1,3}")), byteLevel(usesPattern: false)])
            ignoresMerges = true
            parts.addsBeginning = true
        case "qwen2":
            parts.normalizer = object("NFC")
            parts.preTokenizer = sequence("pretokenizers", [split(pattern(digits: "")), byteLevel(usesPattern: false)])
        default:
            throw HuggingFaceTokenizer.Unknown(reason: "texts cut as `\(cut)` before the merges (tokenizer.ggml.pre)")
        }
        parts.decoder = object(
            "ByteLevel",
            [
                .init("add_prefix_space", .bool(true)), .init("trim_offsets", .bool(true)),
                .init("use_regex", .bool(true)),
            ])
        parts.model = [
            .init("unk_token", .null), .init("continuing_subword_prefix", .null), .init("end_of_word_suffix", .null),
            .init("fuse_unk", .bool(false)), .init("byte_fallback", .bool(false)),
            .init("ignore_merges", .bool(ignoresMerges)),
        ]
        parts.merges = try metadata.strings("tokenizer.ggml.merges") ?? []
        try requireMerges(parts.merges, of: tokenizer)
        return parts
    }

    /// Requires that every merge is of two tokens, to a third.
    private static func requireMerges(_ merges: [String], of tokenizer: HuggingFaceTokenizer) throws {
        let numbers = try tokenizer.vocabulary()
        for (index, merge) in merges.enumerated() {
            let pair = merge.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map {
                String(decoding: $0, as: UTF8.self)
            }
            guard pair.count == 2,
                ([pair[0], pair[1], pair[0] + pair[1]].allSatisfy { numbers[TensorName($0)] != nil })
            else {
                throw HuggingFaceTokenizer.Unknown(reason: "merge \(index), which is not of two tokens to a third")
            }
        }
    }
}

// MARK: - Pieces with scores (kind llama)

extension TokenizerParts {
    /// Letters of the longest piece that is taken apart.
    private static let longestPiece = 256

    /// What SentencePiece writes for a space.
    private static let space = "\u{2581}"

    /// The parts of a tokenizer of kind `llama`, a SentencePiece model of kind BPE. The merges follow from the scores, as transformers
    /// makes them from SentencePiece's own file.
    ///
    /// - Throws: `Unknown` if two pieces that can be merged have the same score, because their order then is not known; if only some bytes
    ///   have tokens.
    static func pieces(_ tokenizer: HuggingFaceTokenizer, _ metadata: GGUFMetadataReader) throws -> TokenizerParts {
        var parts = TokenizerParts()
        let addsSpace = try metadata.bool("tokenizer.ggml.add_space_prefix") ?? true
        let replace: [JSONValue.Member] = [
            .init("pattern", .object([.init("String", .string(" "))])), .init("content", .string(space)),
        ]
        let restore: [JSONValue.Member] = [
            .init("pattern", .object([.init("String", .string(space))])), .init("content", .string(" ")),
        ]
        parts.normalizer = sequence(
            "normalizers",
            (addsSpace ? [object("Prepend", [.init("prepend", .string(space))])] : []) + [object("Replace", replace)])
        let strip = object(
            "Strip", [.init("content", .string(" ")), .init("start", .unsigned(1)), .init("stop", .unsigned(0))])
        parts.decoder = sequence(
            "decoders",
            [object("Replace", restore), object("ByteFallback"), object("Fuse")] + (addsSpace ? [strip] : []))
        let bytes = tokenizer.kinds.count { $0 == .byte }
        guard bytes == 0 || bytes == 256 else {
            throw HuggingFaceTokenizer.Unknown(reason: "tokens for \(bytes) bytes of 256")
        }
        let unknown = tokenizer.kinds.firstIndex(of: .unknown).map { tokenizer.tokens[$0] }
        parts.model = [
            .init("unk_token", unknown.map { .string($0) } ?? .null), .init("continuing_subword_prefix", .null),
            .init("end_of_word_suffix", .null), .init("fuse_unk", .bool(true)),
            .init("byte_fallback", .bool(bytes > 0)),
            .init("ignore_merges", .bool(false)),
        ]
        let scores = try metadata.floats("tokenizer.ggml.scores") ?? []
        guard scores.count == tokenizer.tokens.count else {
            throw HuggingFaceTokenizer.Unknown(reason: "pieces without scores")
        }
        parts.merges = try merges(tokenizer, scores)
        parts.addsBeginning = true
        return parts
    }

    /// All pairs of pieces that make a piece: those of the piece with the highest score first, of one piece the longest left part first.
    private static func merges(_ tokenizer: HuggingFaceTokenizer, _ scores: [Float]) throws -> [String] {
        let numbers = try tokenizer.vocabulary()
        func isPiece(_ text: Substring.UnicodeScalarView) -> Bool {
            guard let id = numbers[TensorName(String(text))] else { return false }
            return tokenizer.kinds[id] == .normal
        }
        guard scores.allSatisfy(\.isFinite) else {
            throw HuggingFaceTokenizer.Unknown(reason: "scores that are no numbers")
        }
        // SentencePiece never sees a space, so a piece with one is never made.
        let order = tokenizer.tokens.indices
            .filter { tokenizer.kinds[$0] == .normal && !tokenizer.tokens[$0].utf8.contains(UInt8(ascii: " ")) }
            .sorted { (-scores[$0], $0) < (-scores[$1], $1) }
        var merges: [String] = []
        var last: (id: Int, score: Float)?
        for id in order {
            let piece = tokenizer.tokens[id].unicodeScalars
            let before = merges.count
            guard piece.count <= longestPiece else {
                throw HuggingFaceTokenizer.Unknown(reason: "piece \(id) of \(piece.count) letters")
            }
            for cut in piece.indices.dropFirst().reversed() where isPiece(piece[..<cut]) && isPiece(piece[cut...]) {
                merges.append("\(String(piece[..<cut])) \(String(piece[cut...]))")
            }
            guard merges.count > before else { continue }
            guard last?.score != scores[id] else {
                throw HuggingFaceTokenizer.Unknown(
                    reason: "pieces \(last?.id ?? id) and \(id) with the score \(scores[id]), whose order is not known")
            }
            last = (id, scores[id])
        }
        return merges
    }
}
