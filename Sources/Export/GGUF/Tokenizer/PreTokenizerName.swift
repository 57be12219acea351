import TensorModel

/// The name under which llama.cpp knows how a tokenizer of kind `gpt2` cuts texts before the merges (`tokenizer.ggml.pre`).
///
/// llama.cpp's converter finds the name by a hash of the ids of one text, so it knows only published vocabularies. Here it follows from the
/// rules in `tokenizer.json`, compared with the patterns that llama.cpp has under each name (`src/llama-vocab.cpp`). Names of equal patterns
/// differ in what happens besides: whether a piece that is a token is taken without merges, and whether decoding cleans up spaces.
struct PreTokenizerName {
    /// The name.
    let name: String
    /// Whether the models of this name compose characters (NFC). llama.cpp never does.
    let composes: Bool

    /// A set of rules with a name.
    private struct Row {
        let name: String
        let steps: [String]
        let ignoresMerges: Bool
        var cleansUp: Bool?
        var composes = false
    }

    // MARK: - Patterns

    /// Endings of English words, as HF writes them, and as llama.cpp does.
    private static let endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    private static let writtenOutEndings = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    /// The end of most patterns: signs, line ends, spaces.
    private static let rest = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
    private static let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#

    private static let llama = #"\#(endings)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + rest
    private static let qwen2 = #"\#(endings)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + rest
    private static let qwen35 =
        #"\#(endings)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let seedCoder =
        #"\#(endings)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let tekken =
        #"[^\r\n\p{L}\p{N}]?\#(upper)*\#(lower)+|[^\r\n\p{L}\p{N}]?\#(upper)+\#(lower)*|\p{N}"# + slashes
    private static let gpt4o =
        #"[^\r\n\p{L}\p{N}]?\#(upper)*\#(lower)+\#(endings)?|[^\r\n\p{L}\p{N}]?\#(upper)+\#(lower)*\#(endings)?"#
        + #"|\p{N}{1,3}"# + slashes
    private static let slashes = #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let deepSeek3 =
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
        + #"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    // MARK: - Names

    /// How a step is written below.
    private static func split(_ pattern: String) -> String { "Split `\(pattern)`" }
    private static let digit = "Digits, one by one"
    private static let bytes = "ByteLevel"
    private static let bytesByPattern = "ByteLevel with its pattern"

    private static let rows: [Row] = [
        Row(name: "llama-bpe", steps: [split(llama), bytes], ignoresMerges: true),
        Row(name: "smaug-bpe", steps: [split(llama), bytes], ignoresMerges: false),
        Row(name: "qwen2", steps: [split(qwen2), bytes], ignoresMerges: false, composes: true),
        Row(name: "qwen35", steps: [split(qwen35), bytes], ignoresMerges: false, composes: true),
        Row(name: "seed-coder", steps: [split(seedCoder), bytes], ignoresMerges: false),
        Row(name: "tekken", steps: [split(tekken), bytes], ignoresMerges: true),
        Row(name: "gpt-4o", steps: [split(gpt4o), bytes], ignoresMerges: false),
        Row(name: "gpt-2", steps: [bytesByPattern], ignoresMerges: false),
        Row(name: "starcoder", steps: [digit, bytesByPattern], ignoresMerges: false, cleansUp: true),
        Row(name: "smollm", steps: [digit, bytesByPattern], ignoresMerges: false),
        Row(
            name: "deepseek-coder",
            steps: [
                split(#"[\r\n]"#), split(#"\s?\p{L}+"#), split(#"\s?\p{P}+"#), split("[一-龥ࠀ-一가-퟿]+"), digit, bytes,
            ], ignoresMerges: false),
        Row(
            name: "deepseek-v3",
            steps: [split(#"\p{N}{1,3}"#), split("[一-龥\u{3040}-ゟ゠-ヿ]+"), split(deepSeek3), bytes],
            ignoresMerges: false),
    ]

    /// Finds the name for a tokenizer.
    ///
    /// - Parameter cleansUp: `clean_up_tokenization_spaces` of `tokenizer_config.json`; nil if it is not stated.
    /// - Throws: `tokenizerInvalid`, with the rules that were found, if llama.cpp has no name for exactly these.
    init(_ tokenizer: TokenizerDocument, cleansUp: Bool?) throws {
        let steps = try tokenizer.steps("pre_tokenizer", list: "pretokenizers").map {
            try PreTokenizerName.text($0.type, $0.step, tokenizer)
        }
        let row = PreTokenizerName.rows.first { row in
            row.ignoresMerges == tokenizer.ignoresMerges && (row.cleansUp ?? cleansUp) == cleansUp
                && row.steps.elementsEqual(steps) { TensorName($0) == TensorName($1) }
        }
        guard let row else {
            let found = steps.isEmpty ? "no pre-tokenizer" : "the pre-tokenizer " + steps.joined(separator: ", then ")
            let names = Set(PreTokenizerName.rows.map(\.name)).sorted().joined(separator: ", ")
            throw tokenizer.unsupported(
                String(found.prefix(600)) + (tokenizer.ignoresMerges ? ", with ignore_merges" : ""),
                "one that llama.cpp has a name for: \(names)")
        }
        (name, composes) = (row.name, row.composes)
    }

    /// A step as text: equal texts mean equal cuts.
    private static func text(_ type: String, _ step: JSONValue, _ tokenizer: TokenizerDocument) throws -> String {
        switch type {
        case "ByteLevel":
            guard !(step["add_prefix_space"]?.bool ?? true) else { return "ByteLevel that adds a space" }
            return step["use_regex"]?.bool ?? true ? bytesByPattern : bytes
        case "Digits": return step["individual_digits"]?.bool ?? false ? digit : "Digits"
        case "Split":
            guard let pattern = step["pattern"]?["Regex"]?.string else { return "Split at a text" }
            // Line ends in a pattern stand as such, or in escapes.
            var written = replacing(writtenOutEndings, by: endings, in: pattern)
            written = replacing("\r", by: #"\r"#, in: written)
            written = replacing("\n", by: #"\n"#, in: written)
            switch (step["behavior"]?.string ?? "", step["invert"]?.bool ?? false) {
            case ("Isolated", false): return split(written)
            // What lies between the matches is removed; patterns that end so match everything.
            case ("Removed", true) where TensorName.hasSuffix(written, #"|\s+"#): return split(written)
            case (let behavior, let isInverted):
                return "\(split(written)) of behavior \(behavior.prefix(40))\(isInverted ? ", inverted" : "")"
            }
        default: return String(type.prefix(80))
        }
    }

    /// Replaces all occurrences of `part` in a text, byte by byte.
    private static func replacing(_ part: String, by other: String, in text: String) -> String {
        let (part, other) = (Array(part.utf8), Array(other.utf8))
        var output: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            if rest.starts(with: part) {
                output += other
                rest = rest.dropFirst(part.count)
            } else {
                output.append(rest.removeFirst())
            }
        }
        return String(decoding: output, as: UTF8.self)
    }
}
