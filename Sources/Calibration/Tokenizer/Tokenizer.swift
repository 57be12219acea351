package import FileAccess
package import SystemPackage
import TensorModel

/// Turns text into the ids of a model's tokens, as the library `tokenizers` does. Specs/tokenizers.md has what is supported.
package struct Tokenizer: Sendable {
    /// The file it was read from.
    package let path: FilePath
    /// The kind in words: `byte-level BPE`, `SentencePiece BPE`.
    package let kind: String
    /// One more than the largest id.
    package let vocabularyCount: Int
    /// Ids that the model expects before a text, such as that of `<s>`. `encode` leaves them out.
    package let begin: [Int32]
    /// Ids that the model expects after a text. `encode` leaves them out.
    package let end: [Int32]
    /// Hash of the file `tokenizer.json`; of a GGUF file, of the metadata that make the tokenizer.
    package let hash: ContentHash

    /// Bytes of a text at most.
    package static let maximumTextBytes = 64 << 20
    /// Bytes of a text after normalization, at most.
    private static let maximumNormalizedBytes = 1 << 30

    private let added: AddedTokens
    private let normalized: AddedTokens
    private let normalizer: TextNormalizer
    private let preTokenizer: PreTokenizer
    private let model: BytePairModel

    init(
        path: FilePath, hash: ContentHash, model: BytePairModel, vocabularyCount: Int, added: [AddedTokens.Token],
        normalizer: TextNormalizer, preTokenizer: PreTokenizer, begin: [Int32], end: [Int32]
    ) {
        self.path = path
        self.hash = hash
        self.model = model
        self.vocabularyCount = vocabularyCount
        self.normalizer = normalizer
        self.preTokenizer = preTokenizer
        self.begin = begin
        self.end = end
        kind = model.units == .bytes ? "byte-level BPE" : "SentencePiece BPE"
        self.added = AddedTokens(added.filter { !$0.isNormalized })
        normalized = AddedTokens(
            added.filter(\.isNormalized).map { token in
                var token = token
                token.content = normalizer.normalized(token.content)
                return token
            })
    }

    /// The ids of a text, without `begin` and `end`.
    ///
    /// - Throws: `textInvalid` for an empty text, invalid UTF-8 (with the offset of the first byte that is not) and texts that are too
    ///   long; `tokenizerInvalid` if a pattern takes too many steps, or if a token for unknown characters is needed and missing.
    package func encode(_ text: [UInt8]) throws -> [Int32] {
        guard !text.isEmpty else {
            throw TokenizerFailure.text("an empty text", "one byte or more", remedy: "give a text")
        }
        let limit = min(
            Tokenizer.maximumTextBytes, Tokenizer.maximumNormalizedBytes / (normalizer.growth * preTokenizer.growth))
        guard text.count <= limit else {
            throw TokenizerFailure.text(
                "a text of \(text.count) bytes", "at most \(limit) bytes", remedy: "cut it into several files")
        }
        if let offset = UTF8Text.firstInvalid(text) {
            throw TokenizerFailure.text(
                "the byte \(NumberText.padded(text[offset], digits: 2, radix: 16).uppercased()), which is not UTF-8",
                "UTF-8", offset: offset, remedy: "convert the text to UTF-8 with iconv")
        }
        do {
            var merger = PairMerger(model)
            try added.cut(text) { range, id in
                if let id { merger.append(id) } else { try encode(text, range, &merger) }
            }
            return merger.ids
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    /// Encodes text between added tokens.
    private func encode(_ text: [UInt8], _ range: Range<Int>, _ merger: inout PairMerger) throws {
        let isWhole = range.count == text.count
        let plain =
            normalizer.steps.isEmpty
            ? (isWhole ? text : Array(text[range]))
            : normalizer.normalized(isWhole ? text : Array(text[range]))
        try normalized.cut(plain) { piece, id in
            if let id { return merger.append(id) }
            let isFirst = range.lowerBound == 0 && piece.lowerBound == 0
            try preTokenizer.cut(plain, piece, isFirst: isFirst) { bytes, range in
                try merger.encode(bytes, range)
            }
        }
    }
}
