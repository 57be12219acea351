import TensorModel

/// The special tokens of a model and the texts around which they are put, as GGUF files state them (`tokenizer.ggml.bos_token_id`,
/// `tokenizer.ggml.add_bos_token` and so on).
///
/// The order in which files are asked is that of `SpecialVocab` in the Python package gguf: the post-processor of `tokenizer.json` before
/// `tokenizer_config.json`, and `config.json` last. Where these name a token that is in the vocabulary and not among the added tokens, its id
/// in the vocabulary is taken.
struct SpecialTokens {
    /// Keys after `tokenizer.ggml.`, and ids.
    private(set) var ids: [(key: String, id: Int)] = []
    /// Kinds (`bos`, `eos`, `sep`) and whether their token is added.
    private(set) var adds: [(kind: String, isAdded: Bool)] = []
    /// What cannot be stated.
    private(set) var warnings: [String] = []

    /// Kinds, and the keys of their ids. GGUF has no key for `cls`. `seperator` is spelled so.
    private static let keys: [(kind: String, key: String)] = [
        ("bos", "bos_token_id"), ("eos", "eos_token_id"), ("unk", "unknown_token_id"), ("sep", "seperator_token_id"),
        ("pad", "padding_token_id"), ("mask", "mask_token_id"), ("eot", "eot_token_id"),
    ]

    /// Texts of the tokens by kind.
    private var texts: [String: String] = [:]
    /// Ids that the template of the post-processor gives to texts.
    private var templateIDs: [TensorName: Int] = [:]

    /// Reads the files.
    ///
    /// - Parameters:
    ///   - tokenizer: `tokenizer.json`; nil if there is none.
    ///   - settings: `tokenizer_config.json`; nil if there is none.
    ///   - configuration: `config.json`.
    ///   - count: number of tokens; ids from there on are left out.
    /// - Throws: `tokenizerInvalid` for a post-processor of an unknown form.
    init(
        _ tokenizer: TokenizerDocument, settings: ModelDocument?, configuration: ModelDocument, count: Int
    ) throws {
        for kind in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"] {
            texts[kind] = SpecialTokens.text(settings?["\(kind)_token"])
        }
        texts["bos"] = texts["bos"] ?? texts["cls"]
        texts["eos"] = texts["eos"] ?? texts["sep"]
        for (type, step) in try tokenizer.steps("post_processor", list: "processors") {
            switch type {
            case "ByteLevel":
                // It adds nothing; a template beside it may.
                for kind in ["bos", "eos"] where isAdded(kind) == nil { setAdded(kind, false) }
            case "RobertaProcessing": for kind in ["bos", "eos", "sep"] { setAdded(kind, true) }
            case "TemplateProcessing": readTemplate(step)
            default: warnings.append("the post-processor \(type.prefix(80)), which GGUF cannot state, is left out")
            }
        }
        for (kind, _) in SpecialTokens.keys where isAdded(kind) == nil && ["bos", "eos", "sep"].contains(kind) {
            if let flag = settings?["add_\(kind)_token"]?.bool { setAdded(kind, flag) }
        }
        findIDs(tokenizer, configuration, count)
    }

    /// The text of a token: a text, or an object with it.
    private static func text(_ value: JSONValue?) -> String? {
        guard let text = value?.string ?? value?["content"]?.string, !text.isEmpty else { return nil }
        return text
    }

    /// Whether the token of a kind is added; nil if nothing says so.
    func isAdded(_ kind: String) -> Bool? { adds.first { $0.kind == kind }?.isAdded }

    /// States whether the token of a kind is added.
    mutating func setAdded(_ kind: String, _ isAdded: Bool) {
        if let place = adds.firstIndex(where: { $0.kind == kind }) {
            adds[place].isAdded = isAdded
        } else {
            adds.append((kind, isAdded))
        }
    }

    /// The id of the token of a kind; nil if it is not known.
    func id(_ kind: String) -> Int? {
        guard let key = SpecialTokens.keys.first(where: { $0.kind == kind })?.key else { return nil }
        return ids.first { $0.key == key }?.id
    }

    // MARK: - Templates

    /// Reads a template: which tokens stand before and after one text, and between two.
    private mutating func readTemplate(_ step: JSONValue) {
        for member in step["special_tokens"]?.object ?? [] {
            if let id = member.value["ids"]?.array?.first?.unsigned, id < 1 << 31 {
                templateIDs[TensorName(member.key)] = Int(id)
            }
        }
        func special(_ item: JSONValue?) -> String? { item?["SpecialToken"]?["id"]?.string }
        func same(_ a: String?, _ b: String?) -> Bool { a.map { TensorName($0) } == b.map { TensorName($0) } }
        let single = step["single"]?.array ?? []
        let first = single.count > 1 ? special(single.first) : nil
        let last = single.count > 1 ? special(single.last) : nil
        if let first {
            if texts["bos"] == nil { texts["bos"] = first }
            if texts["cls"] == nil { texts["cls"] = first }
            let isKnown = same(first, texts["bos"]) || same(first, texts["cls"])
            setAdded("bos", isKnown)
            if !isKnown { warnings.append("the token `\(first.prefix(80))` before every text is left out") }
        }
        if let last {
            if !same(last, texts["eos"]) {
                // What ended a text so far ends a turn.
                texts["eot"] = texts["eos"]
                texts["eos"] = last
            }
            setAdded("eos", true)
        }
        let others = single.count - (first == nil ? 0 : 1) - (last == nil ? 0 : 1) - 1
        if single.count > 1, others > 0 {
            warnings.append(
                "\(others) more tokens around every text, of which GGUF states one at each end, are left out")
        }
        var pair = (step["pair"]?.array ?? [])[...]
        if let first, same(special(pair.first), first) { pair.removeFirst() }
        if let last, same(special(pair.last), last) { pair.removeLast() }
        guard pair.count > 2, same(pair.first?["Sequence"]?["id"]?.string, "A"),
            same(pair.last?["Sequence"]?["id"]?.string, "B")
        else { return }
        let between = pair.dropFirst().dropLast().map(special)
        func separates(_ text: String?) -> Bool {
            text != nil && (same(text, texts["sep"]) || same(text, texts["eos"]))
        }
        let adds = separates(between[0]) && last == nil || between.count == 2 && separates(between[1])
        setAdded("sep", adds)
        if adds, texts["sep"] == nil { texts["sep"] = texts["eos"] }
    }

    // MARK: - Ids

    private mutating func findIDs(_ tokenizer: TokenizerDocument, _ configuration: ModelDocument, _ count: Int) {
        let added = Dictionary(
            tokenizer.added.map { (TensorName($0.text), $0.id) }, uniquingKeysWith: { first, _ in first })
        func note(_ key: String, _ id: Int?) {
            guard let id, id < count, !ids.contains(where: { $0.key == key }) else { return }
            ids.append((key, id))
        }
        for (kind, key) in SpecialTokens.keys { note(key, texts[kind].flatMap { added[TensorName($0)] }) }
        for (kind, key) in SpecialTokens.keys {
            note(key, configuration["\(kind)_token_id"]?.unsigned.flatMap { Int(exactly: $0) })
        }
        for (kind, key) in SpecialTokens.keys {
            note(key, texts[kind].flatMap { templateIDs[TensorName($0)] ?? tokenizer.ids[TensorName($0)] })
        }
    }

    /// Appends ids and flags.
    func write(to metadata: inout GGUFKeyValues) {
        for (key, id) in ids { metadata.append("tokenizer.ggml.\(key)", .u32(UInt32(clamping: id))) }
        for (kind, isAdded) in adds { metadata.append("tokenizer.ggml.add_\(kind)_token", .bool(isAdded)) }
    }
}
