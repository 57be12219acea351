/// Small tokenizers, as texts and as GGUF metadata.
package enum TokenizerSample {
    /// Characters of a byte-level vocabulary, in the order of its ids 0 to 255.
    package static let alphabet: [String] = {
        var next: UInt32 = 0x100
        return (UInt32(0)..<256).map { byte in
            let isPrintable = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            if !isPrintable { next += 1 }
            return String(Character(Unicode.Scalar(isPrintable ? byte : next - 1) ?? " "))
        }
    }()

    private static func quoted(_ text: String) -> String {
        "\"" + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
    }

    /// A byte-level `tokenizer.json`: 256 bytes, then one token for each merge, then `<|end|>`.
    package static func byteLevel(
        merges: [(String, String)] = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello")],
        members: String =
            #""normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#,
        model: String = ""
    ) -> String {
        let tokens = alphabet + merges.map { $0 + $1 }
        let vocabulary = tokens.enumerated().map { "\(quoted($1)):\($0)" }.joined(separator: ",")
        let pairs = merges.map { "[\(quoted($0)),\(quoted($1))]" }.joined(separator: ",")
        let end = #"{"id":\#(tokens.count),"content":"<|end|>","special":true,"normalized":false}"#
        return """
            {"version":"1.0","added_tokens":[\(end)],\(members),
            "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|end|>","type_id":0}},
            {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<|end|>":{"id":"<|end|>","ids":[\(tokens.count)]}}},
            "model":{"type":"BPE",\(model)"vocab":{\(vocabulary)},"merges":[\(pairs)]}}
            """
    }

    /// Tokens of a SentencePiece vocabulary: `<unk>`, `<s>`, 256 bytes, and a few texts.
    package static let pieces: [String] =
        ["<unk>", "<s>"]
        + (0..<256).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return "<0x" + (digits.count == 1 ? "0" : "") + digits + ">"
        } + ["▁", "h", "e", "l", "o", "he", "ll", "hell", "hello", "▁hello"]

    /// A SentencePiece-style `tokenizer.json`.
    package static let sentencePiece: String = {
        let vocabulary = pieces.enumerated().map { "\(quoted($1)):\($0)" }.joined(separator: ",")
        return """
            {"added_tokens":[{"id":1,"content":"<s>","special":true}],
            "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
            {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,
            "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{\(vocabulary)},
            "merges":["h e","l l","he ll","hell o","▁ hello"]}}
            """
    }()

    /// GGUF metadata: key, number of the type, bytes of the value.
    package typealias Metadata = [(String, UInt32, [UInt8])]

    /// An array of texts as a metadata value.
    package static func texts(_ list: [String]) -> [UInt8] {
        GGUFSample.word(8, 4) + GGUFSample.word(UInt64(list.count), 8) + list.flatMap { GGUFSample.text($0) }
    }

    /// An array of numbers of 32 bits, of a GGUF type, as a metadata value.
    package static func numbers(_ list: [UInt32], type: UInt64) -> [UInt8] {
        GGUFSample.word(type, 4) + GGUFSample.word(UInt64(list.count), 8)
            + list.flatMap { GGUFSample.word(UInt64($0), 4) }
    }

    /// Metadata of a tokenizer of kind `llama`.
    package static func llama() -> Metadata {
        let scores = pieces.indices.map { index in Float(index < 258 ? 0 : -Float(index)).bitPattern }
        return [
            ("general.architecture", 8, GGUFSample.text("llama")),
            ("tokenizer.ggml.model", 8, GGUFSample.text("llama")), ("tokenizer.ggml.tokens", 9, texts(pieces)),
            ("tokenizer.ggml.scores", 9, numbers(scores, type: 6)),
            (
                "tokenizer.ggml.token_type", 9,
                numbers(pieces.indices.map { $0 == 0 ? 2 : $0 == 1 ? 3 : $0 < 258 ? 6 : 1 }, type: 5)
            ), ("tokenizer.ggml.bos_token_id", 4, GGUFSample.word(1, 4)),
            ("tokenizer.ggml.add_bos_token", 7, [1]),
        ]
    }

    /// Metadata of a tokenizer of kind `gpt2`.
    package static func gpt2(pre: String = "qwen2") -> Metadata {
        [
            ("tokenizer.ggml.model", 8, GGUFSample.text("gpt2")), ("tokenizer.ggml.pre", 8, GGUFSample.text(pre)),
            ("tokenizer.ggml.tokens", 9, texts(alphabet + ["he", "ll", "hell", "hello", "Ġhello"])),
            ("tokenizer.ggml.merges", 9, texts(["h e", "l l", "he ll", "hell o", "Ġ hello"])),
            ("tokenizer.ggml.add_bos_token", 7, [0]),
        ]
    }
}
