import TensorModel

/// Errors about tokenizers and texts.
enum TokenizerFailure {
    /// What to do about a tokenizer that is not supported: make the ids with the library that it was made for.
    static let remedy: Remedy =
        #"make the ids in Python and give them instead: python -c "import numpy; from tokenizers import Tokenizer; numpy.save('ids.npy', numpy.array(Tokenizer.from_file('tokenizer.json').encode(open('text.txt', encoding='utf-8', newline='').read()).ids, 'int32'))""#

    /// A feature that is not supported.
    static func unsupported(_ found: String) -> IngotError {
        IngotError(
            .tokenizerInvalid, found: found, expected: "what Specs/tokenizers.md lists as supported", remedy: remedy)
    }

    /// A tokenizer that contradicts itself or the format.
    static func invalid(_ found: String, _ expected: String? = nil, offset: UInt64? = nil) -> IngotError {
        IngotError(.tokenizerInvalid, offset: offset, found: found, expected: expected)
    }

    /// A text that cannot be encoded.
    static func text(_ found: String, _ expected: String, offset: Int? = nil, remedy: Remedy) -> IngotError {
        IngotError(.textInvalid, offset: offset.map(UInt64.init), found: found, expected: expected, remedy: remedy)
    }
}
