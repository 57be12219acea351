package import Checkpoints
package import SystemPackage
import TensorModel

extension Tokenizer {
    /// Types of tokens in GGUF files.
    private static let controlType: Int32 = 3
    private static let userType: Int32 = 4

    /// Makes the tokenizer that is embedded in a GGUF file. Kinds `gpt2` and `llama` are supported.
    ///
    /// - Throws: `tokenizerInvalid` for other kinds, for a file without a tokenizer, and for arrays that contradict each other.
    package init(gguf data: GGUFTokenizerData, path: FilePath) throws {
        do {
            guard let kind = data.model, data.tokens.count > 0 else {
                throw TokenizerFailure.unsupported("a GGUF file without a tokenizer")
            }
            guard data.types.isEmpty || data.types.count == data.tokens.count else {
                throw TokenizerFailure.invalid(
                    "\(data.types.count) token types for \(data.tokens.count) tokens", "one for each token")
            }
            var vocabulary = BytesTable(capacity: data.tokens.count)
            var ids: [Int32] = []
            for id in 0..<data.tokens.count {
                let text = Array(data.tokens[id])
                // A token that is no text never occurs in one.
                guard !text.isEmpty, UTF8Text.firstInvalid(text) == nil else { continue }
                guard vocabulary.insert(text, 0..<text.count) else {
                    throw TokenizerFailure.invalid(
                        "the token `\(String(decoding: text.prefix(80), as: UTF8.self))` a second time, with id \(id)",
                        "one id for each token")
                }
                ids.append(Int32(id))
            }
            let added = try Tokenizer.addedTokens(data)
            let model: BytePairModel
            var normalizer = TextNormalizer()
            var preTokenizer = PreTokenizer()
            var addsBegin = true
            switch kind {
            case "gpt2":
                let rules = try GGUFRules(named: data.preTokenizer)
                (normalizer, preTokenizer, addsBegin) = (rules.normalizer, rules.preTokenizer, rules.addsBegin)
                let json = try ModelJSON(
                    vocabulary, ids, merges: data.merges, ignoresMerges: rules.ignoresMerges)
                model = try BytePairModel(json, isByteLevel: true)
            case "llama":
                let space = Array("\u{2581}".utf8)
                if data.numbers["add_space_prefix"] != 0 { normalizer.steps.append(.prepend(space)) }
                normalizer.steps.append(.replace([0x20], by: space))
                model = try BytePairModel(vocabulary, ids, scores: data)
            default: throw TokenizerFailure.unsupported("a tokenizer of the kind `\(kind.prefix(80))` in a GGUF file")
            }
            func special(_ flag: String, _ key: String, usual: Bool, usualID: UInt64?) throws -> [Int32] {
                guard data.numbers[flag].map({ $0 != 0 }) ?? usual else { return [] }
                guard let id = data.numbers[key] ?? usualID, id < UInt64(data.tokens.count) else {
                    throw TokenizerFailure.invalid(
                        "`\(key)`: \(data.numbers[key].map { "\($0)" } ?? "nothing")", "the id of a token")
                }
                return [Int32(id)]
            }
            let isLlama = kind == "llama"
            self.init(
                path: path, hash: data.hash, model: model, vocabularyCount: data.tokens.count, added: added,
                normalizer: normalizer, preTokenizer: preTokenizer,
                begin: try special("add_bos_token", "bos_token_id", usual: addsBegin, usualID: isLlama ? 1 : nil),
                end: try special("add_eos_token", "eos_token_id", usual: false, usualID: isLlama ? 2 : nil))
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    private static func addedTokens(_ data: GGUFTokenizerData) throws -> [AddedTokens.Token] {
        var tokens: [AddedTokens.Token] = []
        for (id, type) in data.types.enumerated() where type == controlType || type == userType {
            let text = Array(data.tokens[id])
            guard text.count <= AddedTokens.maximumBytes else {
                throw TokenizerFailure.unsupported("a control token of \(text.count) bytes")
            }
            if !text.isEmpty { tokens.append(AddedTokens.Token(content: text, id: Int32(id))) }
        }
        return tokens
    }
}

extension BytePairModel {
    /// Bytes of tokens that merges make, at most; SentencePiece makes tokens of 16 characters.
    private static let maximumMergedBytes = 128
    private static let maximumPairs = 4_000_000

    /// Makes the model of a GGUF tokenizer of kind `llama`: two symbols become one if their texts together are a token, the best score first.
    init(_ vocabulary: BytesTable, _ ids: [Int32], scores data: GGUFTokenizerData) throws {
        guard data.scores.count == data.tokens.count, data.scores.allSatisfy(\.isFinite) else {
            throw TokenizerFailure.invalid(
                "\(data.scores.count) scores for \(data.tokens.count) tokens, all numbers or not",
                "a finite score for each token")
        }
        addUnits(vocabulary, ids)
        firstHidden = Int32(data.tokens.count)
        let unknownID = data.numbers["unknown_token_id"] ?? 0
        guard unknownID < UInt64(data.tokens.count) else {
            throw TokenizerFailure.invalid("`unknown_token_id`: \(unknownID)", "the id of a token")
        }
        // Bytes are symbols that never merge, apart from the tokens with their names.
        hidden = (UInt8(0)...255).map { byte in
            [vocabulary.find(BytePairModel.byteName(byte)).map { ids[$0] } ?? Int32(unknownID)]
        }
        fallbackIDs = (0..<256).map { firstHidden + $0 }
        addHiddenScalars(vocabulary)
        try addPairs(vocabulary, ids, data.scores)
        let separator: UInt32 = 0x2581
        if scalarIDs[separator] != nil {
            cutBefore = separator
            for number in 0..<vocabulary.count {
                addKeepers(vocabulary.allBytes, vocabulary.range(number), separator)
            }
        }
    }

    /// Gives ids to scalars that are part of tokens and no tokens themselves.
    private mutating func addHiddenScalars(_ vocabulary: BytesTable) {
        let text = vocabulary.allBytes
        for number in 0..<vocabulary.count {
            var index = vocabulary.range(number).lowerBound
            while index < vocabulary.range(number).upperBound {
                let (value, length) = UTF8Text.scalar(text, index)
                defer { index += length }
                if value < 0x80 ? unitIDs[Int(value)] >= 0 : scalarIDs[value] != nil { continue }
                let id = firstHidden + Int32(hidden.count)
                hidden.append(text[index..<index + length].flatMap { hidden[Int($0)] })
                if value < 0x80 { unitIDs[Int(value)] = id } else { scalarIDs[value] = id }
            }
        }
    }

    private mutating func addPairs(_ vocabulary: BytesTable, _ ids: [Int32], _ scores: [Float]) throws {
        let ordered = Set(scores).sorted(by: >)
        let ranks = Dictionary(uniqueKeysWithValues: ordered.enumerated().map { ($1, UInt64($0)) })
        let text = vocabulary.allBytes
        func symbol(_ range: Range<Int>) -> Int32? {
            if let number = vocabulary.find(text, range) { return ids[number] }
            let (value, length) = UTF8Text.scalar(text, range.lowerBound)
            guard length == range.count else { return nil }
            return value < 0x80 ? unitIDs[Int(value)] : scalarIDs[value]
        }
        for number in 0..<vocabulary.count {
            let range = vocabulary.range(number)
            guard range.count <= BytePairModel.maximumMergedBytes else { continue }
            let rank = ranks[scores[Int(ids[number])]] ?? 0
            var cut = range.lowerBound + UTF8Text.length(text[range.lowerBound])
            while cut < range.upperBound {
                if let first = symbol(range.lowerBound..<cut), let second = symbol(cut..<range.upperBound) {
                    pairs[BytePairModel.key(first, second)] = rank << 32 | UInt64(ids[number])
                }
                cut += UTF8Text.length(text[cut])
            }
            guard pairs.count <= BytePairModel.maximumPairs else {
                throw TokenizerFailure.unsupported("a vocabulary with more than \(BytePairModel.maximumPairs) merges")
            }
        }
    }
}
