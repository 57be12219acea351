import TensorModel

/// Tokens around a text, as the member `post_processor` says for a single text.
struct SpecialTokens {
    /// Ids before a text.
    private(set) var begin: [Int32] = []
    /// Ids after a text.
    private(set) var end: [Int32] = []

    private static let maximumIDs = 64

    /// Reads the member.
    ///
    /// - Throws: `tokenizerInvalid` for a kind that is not supported.
    init(_ json: JSONValue?) throws {
        if let json, json != .null { try add(json, depth: 0) }
    }

    private mutating func add(_ json: JSONValue, depth: Int) throws {
        guard let type = json["type"]?.string, depth < 8 else {
            throw TokenizerFailure.invalid("a post-processor without `type`", "an object with a type, or null")
        }
        switch type {
        case "ByteLevel": return
        case "Sequence":
            guard let parts = json["processors"]?.array, parts.count <= 16 else {
                throw TokenizerFailure.invalid("a sequence without `processors`", "an array")
            }
            for part in parts { try add(part, depth: depth + 1) }
        case "TemplateProcessing": try addTemplate(json)
        default: throw TokenizerFailure.unsupported("the post-processor \(type.prefix(80))")
        }
    }

    private mutating func addTemplate(_ json: JSONValue) throws {
        guard let pieces = json["single"]?.array else {
            throw TokenizerFailure.invalid("a template without `single`", "an array")
        }
        var before: [Int32] = []
        var after: [Int32] = []
        var hasText = false
        for piece in pieces {
            if piece["Sequence"] != nil {
                guard !hasText else { throw TokenizerFailure.unsupported("a template with a text twice") }
                hasText = true
            } else if let name = piece["SpecialToken"]?["id"]?.string {
                guard let ids = json["special_tokens"]?[name]?["ids"]?.array else {
                    throw TokenizerFailure.invalid("no ids of `\(name.prefix(80))` in a template", "its ids")
                }
                for id in ids {
                    guard let number = id.unsigned, number < ModelJSON.maximumID else {
                        throw TokenizerFailure.invalid(
                            "the id \(id.text().prefix(40)) in a template", "an id below \(ModelJSON.maximumID)")
                    }
                    if hasText { after.append(Int32(number)) } else { before.append(Int32(number)) }
                }
            } else {
                throw TokenizerFailure.invalid("a part of a template", "a special token or a sequence")
            }
        }
        guard hasText else { throw TokenizerFailure.invalid("a template without a text", "one sequence") }
        begin = before + begin
        end += after
        guard begin.count + end.count <= SpecialTokens.maximumIDs else {
            throw TokenizerFailure.invalid(
                "\(begin.count + end.count) tokens around a text", "at most \(SpecialTokens.maximumIDs)")
        }
    }
}
