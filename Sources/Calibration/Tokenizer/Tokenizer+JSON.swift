import FileAccess
package import SystemPackage
import TensorModel

extension Tokenizer {
    /// Name of the file in a directory of a model.
    package static let fileName = "tokenizer.json"

    /// Makes a tokenizer from a `tokenizer.json`.
    ///
    /// - Throws: `headerSyntax`, `invalidText`, `duplicateKey` and the like for what is no valid JSON; `tokenizerInvalid` for a tokenizer that
    ///   contradicts itself, or that needs what is not supported.
    package init(json bytes: [UInt8], path: FilePath) throws {
        do {
            guard bytes.count <= TokenizerJSON.maximumBytes else {
                throw TokenizerFailure.invalid(
                    "a file of \(bytes.count) bytes", "at most \(TokenizerJSON.maximumBytes) bytes")
            }
            let file = try TokenizerJSON(bytes)
            let preTokenizer = try PreTokenizer(file.preTokenizer)
            let normalizer = try TextNormalizer(file.normalizer)
            let special = try SpecialTokens(file.postProcessor)
            let added = try Tokenizer.addedTokens(file.addedTokens, file.model)
            let largest = (file.model.ids + added.map(\.id) + special.begin + special.end).max() ?? 0
            self.init(
                path: path, hash: ContentHash(of: bytes.span),
                model: try BytePairModel(file.model, isByteLevel: preTokenizer.isByteLevel),
                vocabularyCount: Int(largest) + 1, added: added, normalizer: normalizer, preTokenizer: preTokenizer,
                begin: special.begin, end: special.end)
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    /// Tokens of the member `added_tokens`. Their ids must be those that `tokenizers` gives them: that of the vocabulary, or the next one.
    private static func addedTokens(_ list: [JSONValue], _ model: ModelJSON) throws -> [AddedTokens.Token] {
        var tokens: [AddedTokens.Token] = []
        // Places in `tokens`, by text.
        var known: [TensorName: Int] = [:]
        var largest: Int32 = -1
        for json in list {
            guard let content = json["content"]?.string, let number = json["id"]?.unsigned,
                number < ModelJSON.maximumID
            else { throw TokenizerFailure.invalid("an added token without `id` or `content`", "both") }
            guard !content.isEmpty else { continue }
            let text = Array(content.utf8)
            guard text.count <= AddedTokens.maximumBytes else {
                throw TokenizerFailure.unsupported("an added token of \(text.count) bytes")
            }
            let id =
                model.vocabulary.find(text).map { model.ids[$0] } ?? known[TensorName(content)].map { tokens[$0].id }
                ?? max(largest + 1, Int32(model.ids.count))
            guard id == Int32(number) else {
                throw TokenizerFailure.invalid(
                    "the added token `\(content.prefix(80))` with the id \(number)",
                    "the id \(id), which the library tokenizers gives it")
            }
            largest = max(largest, id)
            func flag(_ key: String) throws -> Bool {
                guard let value = json[key], value != .null else { return false }
                guard let flag = value.bool else {
                    throw TokenizerFailure.invalid("`\(key)` of an added token", "true or false")
                }
                return flag
            }
            let isSpecial = try flag("special")
            let token = AddedTokens.Token(
                content: text, id: id,
                isNormalized: try json["normalized"] == nil ? !isSpecial : flag("normalized"),
                takesSpaceBefore: try flag("lstrip"), takesSpaceAfter: try flag("rstrip"),
                isSingleWord: try flag("single_word"))
            if let place = known[TensorName(content)] {
                tokens[place] = token
            } else {
                known[TensorName(content)] = tokens.count
                tokens.append(token)
            }
        }
        return tokens
    }
}

extension BytePairModel {
    /// Makes the model of a `tokenizer.json`.
    init(_ json: ModelJSON, isByteLevel: Bool) throws {
        units = isByteLevel ? .bytes : .scalars
        fusesUnknown = json.fusesUnknown
        if let name = json.unknown { unknown = json.vocabulary.find(name).map { .token(json.ids[$0]) } ?? .missing }
        if json.hasByteFallback {
            fallbackIDs = (UInt8(0)...255).map { byte in
                json.vocabulary.find(BytePairModel.byteName(byte)).map { json.ids[$0] } ?? -1
            }
        }
        addUnits(json.vocabulary, json.ids)
        try addMerges(json)
        if json.ignoresMerges { whole = wholePieces(json) }
        if !isByteLevel { cutBeforeSpaces(json) }
    }

    /// Name of the token of a byte, such as `<0x0A>`.
    static func byteName(_ byte: UInt8) -> [UInt8] {
        Array("<0x\(NumberText.padded(byte, digits: 2, radix: 16).uppercased())>".utf8)
    }

    /// Finds the tokens of one unit.
    mutating func addUnits(_ vocabulary: BytesTable, _ ids: [Int32]) {
        let text = vocabulary.allBytes
        for number in 0..<vocabulary.count {
            let range = vocabulary.range(number)
            guard !range.isEmpty, range.count <= 4, UTF8Text.length(text[range.lowerBound]) == range.count else {
                continue
            }
            if units == .bytes {
                if let bytes = ByteAlphabet.bytes(text, range), bytes.count == 1 {
                    unitIDs[Int(bytes[0])] = ids[number]
                }
            } else {
                let value = UTF8Text.scalar(text, range.lowerBound).value
                if value < 0x80 { unitIDs[Int(value)] = ids[number] } else { scalarIDs[value] = ids[number] }
            }
        }
    }

    private mutating func addMerges(_ json: ModelJSON) throws {
        pairs.reserveCapacity(json.merges.count)
        let text = json.vocabulary.allBytes
        for (rank, merge) in json.merges.enumerated() {
            let both =
                text[json.vocabulary.range(Int(merge.first))] + text[json.vocabulary.range(Int(merge.second))]
            guard let number = json.vocabulary.find(Array(both)) else {
                throw TokenizerFailure.invalid(
                    "merge \(rank), to `\(String(decoding: both.prefix(80), as: UTF8.self))`, which is no token",
                    "a token of the vocabulary")
            }
            let key = BytePairModel.key(json.ids[Int(merge.first)], json.ids[Int(merge.second)])
            pairs[key] = UInt64(rank) << 32 | UInt64(json.ids[number])
        }
    }

    /// The vocabulary by the bytes of pieces.
    private func wholePieces(_ json: ModelJSON) -> (BytesTable, [Int32]) {
        let text = json.vocabulary.allBytes
        var table = BytesTable(capacity: json.vocabulary.count)
        var ids: [Int32] = []
        for number in 0..<json.vocabulary.count {
            let range = json.vocabulary.range(number)
            guard let bytes = units == .bytes ? ByteAlphabet.bytes(text, range) : Array(text[range]) else { continue }
            if table.insert(bytes, 0..<bytes.count) { ids.append(json.ids[number]) }
        }
        return (table, ids)
    }

    /// Lets texts be cut before U+2581, the sign for a space, where no token has what would stand on both sides of the cut.
    private mutating func cutBeforeSpaces(_ json: ModelJSON) {
        let separator: UInt32 = 0x2581
        guard scalarIDs[separator] != nil else { return }
        // Tokens of bytes and of unknown characters are no texts: merges of them would not be seen here.
        var others = Set(fallbackIDs.filter { $0 >= 0 })
        if case .token(let id) = unknown { others.insert(id) }
        let mergesOthers = json.merges.contains { merge in
            others.contains(json.ids[Int(merge.first)]) || others.contains(json.ids[Int(merge.second)])
        }
        guard !mergesOthers else { return }
        cutBefore = separator
        let text = json.vocabulary.allBytes
        for number in 0..<json.vocabulary.count { addKeepers(text, json.vocabulary.range(number), separator) }
    }

    /// Notes which scalars stand before the separator inside a token.
    mutating func addKeepers(_ text: [UInt8], _ range: Range<Int>, _ separator: UInt32) {
        var before: UInt32?
        var index = range.lowerBound
        while index < range.upperBound, index + UTF8Text.length(text[index]) <= range.upperBound {
            let (value, length) = UTF8Text.scalar(text, index)
            if value == separator, let last = before { keepers.insert(last) }
            before = value
            index += length
        }
    }
}
