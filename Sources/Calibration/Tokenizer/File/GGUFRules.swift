import TensorModel

/// Rules that GGUF files name by `tokenizer.ggml.pre`, which cut text before merging.
struct GGUFRules {
    /// The cuts.
    let preTokenizer: PreTokenizer
    /// Changes of the text before.
    var normalizer = TextNormalizer()
    /// Whether a piece that is a token is taken without merging.
    var ignoresMerges = false
    /// Whether the model expects `<s>` or its like before a text, if the file does not say so.
    var addsBegin = false

    /// Finds the rules with a name.
    ///
    /// - Throws: `tokenizerInvalid` for a name that is not supported.
    init(named name: String?) throws {
        func rules(_ patterns: [Pattern]) -> PreTokenizer {
            PreTokenizer(steps: patterns.map { .split($0, .isolated, isInverted: false) }, isByteLevel: true)
        }
        switch name {
        case "gpt-2", "gpt2": preTokenizer = rules([.gpt2])
        case "llama-bpe", "llama3", "llama-v3":
            preTokenizer = rules([.llama3])
            ignoresMerges = true
            addsBegin = true
        case "qwen2":
            preTokenizer = rules([.qwen2])
            normalizer = TextNormalizer(steps: [.compose])
        case "smollm": preTokenizer = rules([.digit, .gpt2])
        case "deepseek-coder":
            preTokenizer = rules(
                [#"[\r\n]"#, #"\s?\p{L}+"#, #"\s?\p{P}+"#, "[一-龥ࠀ-一가-퟿]+"].map { .known($0) } + [.digit])
        case "default", nil:
            preTokenizer = rules([
                .known(#"[\p{P}\$\+<=>\^~\|]+"#),
                .known(#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"#),
                .known(#"\p{N}+"#), .known("[0-9][0-9][0-9]"),
            ])
        case let name?:
            throw TokenizerFailure.unsupported("the pre-tokenizer `\(name.prefix(80))` of a GGUF file")
        }
    }
}
