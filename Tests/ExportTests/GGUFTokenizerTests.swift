import Calibration
import Checkpoints
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// The tokenizers of GGUF files that are made of Hugging Face checkpoints.
@Suite struct GGUFTokenizerTests {
    private static let llama3 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"#
    private static let byteLevel = #"{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}"#
    private static let byteLevelByPattern = #"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true}"#
    private static let digits = #"{"type":"Digits","individual_digits":true}"#

    private static func split(_ pattern: String, _ behavior: String = "Isolated", invert: Bool = false) -> String {
        #"{"type":"Split","pattern":{"Regex":"\#(pattern)"},"behavior":"\#(behavior)","invert":\#(invert)}"#
    }

    private static func sequence(_ steps: String...) -> String {
        #"{"type":"Sequence","pretokenizers":["# + steps.joined(separator: ",") + "]}"
    }

    /// A `tokenizer.json` of kind `gpt2` with a pre-tokenizer.
    private static func tokenizer(_ pre: String, normalizer: String = "null", ignoresMerges: Bool = false) -> String {
        TokenizerSample.byteLevel(
            members: #""normalizer":\#(normalizer),"pre_tokenizer":\#(pre)"#,
            model: #""ignore_merges":\#(ignoresMerges),"#)
    }

    private static let text = Array(
        """
        hello  Hello'Ll \t\n\n 1234567 3.14 we're   ---==\r\n  Привет中文 hello\u{301}ÅÅ ::  end 
        """.utf8)

    /// Metadata of the GGUF file that a model with this tokenizer becomes.
    private static func metadata(
        _ directory: TemporaryDirectory, _ tokenizer: String, settings: String? = nil, changes: [String: String] = [:],
        files: [String: String] = [:]
    ) throws -> GGUFMetadataReader {
        var files = files
        files["tokenizer.json"] = tokenizer
        files["tokenizer_config.json"] = settings
        return try ContentSample.metadata(directory, changes: changes, files: files)
    }

    private func error(
        _ tokenizer: String, settings: String? = nil, changes: [String: String] = [:]
    ) throws -> IngotError? {
        let directory = try TemporaryDirectory()
        return #expect(throws: IngotError.self) {
            _ = try GGUFTokenizerTests.metadata(directory, tokenizer, settings: settings, changes: changes)
        }
    }

    // MARK: - Cuts before the merges

    @Test(
        "llama.cpp's name follows from the rules, and a tokenizer of this name makes the same tokens",
        arguments: [
            ("gpt-2", tokenizer(byteLevelByPattern)), ("smollm", tokenizer(sequence(digits, byteLevelByPattern))),
            ("llama-bpe", tokenizer(sequence(split(llama3), byteLevel), ignoresMerges: true)),
            (
                "qwen2",
                tokenizer(
                    sequence(split(llama3.replacing("{1,3}", with: "")), byteLevel), normalizer: #"{"type":"NFC"}"#)
            ),
            (
                "deepseek-coder",
                tokenizer(
                    sequence(
                        split(#"[\r\n]"#), split(#"\\s?\\p{L}+"#), split(#"\\s?\\p{P}+"#), split("[一-龥ࠀ-一가-퟿]+"),
                        digits,
                        byteLevel), normalizer: #"{"type":"Sequence","normalizers":[]}"#)
            ),
        ]) func names(_ name: String, _ tokenizer: String) throws
    {
        let directory = try TemporaryDirectory()
        let metadata = try GGUFTokenizerTests.metadata(directory, tokenizer)
        #expect(try metadata.string("tokenizer.ggml.model") == "gpt2")
        #expect(try metadata.string("tokenizer.ggml.pre") == name)
        let old = try Tokenizer(json: Array(tokenizer.utf8), path: "t.json")
        let new = try Tokenizer.open(directory.at("out.gguf"))
        #expect(try old.encode(GGUFTokenizerTests.text) == new.encode(GGUFTokenizerTests.text))
    }

    @Test("Other names, and other ways to write the same rules") func otherNames() throws {
        let written = GGUFTokenizerTests.llama3.replacing(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)", with: "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])")
        let tekken =
            #"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"#
            + #"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|"#
            + #" ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"#
        let bytes = GGUFTokenizerTests.byteLevel
        func split(_ pattern: String) -> String { GGUFTokenizerTests.split(pattern) }
        let cases: [(String, String, Bool, String?)] = [
            ("smaug-bpe", GGUFTokenizerTests.sequence(split(written), bytes), false, nil),
            (
                "llama-bpe",
                GGUFTokenizerTests.sequence(GGUFTokenizerTests.split(written, "Removed", invert: true), bytes), true,
                nil
            ),
            ("tekken", GGUFTokenizerTests.sequence(split(tekken), bytes), true, nil),
            (
                "starcoder",
                GGUFTokenizerTests.sequence(GGUFTokenizerTests.digits, GGUFTokenizerTests.byteLevelByPattern), false,
                #"{"clean_up_tokenization_spaces":true}"#
            ),
            (
                "deepseek-v3",
                GGUFTokenizerTests.sequence(
                    split(#"\\p{N}{1,3}"#), split("[一-龥\u{3040}-ゟ゠-ヿ]+"),
                    split(
                        ##"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"##
                            + #"[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"#), bytes),
                false, nil
            ),
        ]
        for (name, pre, ignores, settings) in cases {
            let metadata = try GGUFTokenizerTests.metadata(
                TemporaryDirectory(), GGUFTokenizerTests.tokenizer(pre, ignoresMerges: ignores), settings: settings)
            #expect(try metadata.string("tokenizer.ggml.pre") == name)
        }
    }

    @Test("Rules that llama.cpp has no name for are an error that says what they are") func unknownNames() throws {
        let bytes = GGUFTokenizerTests.byteLevel
        for (pre, ignores, words) in [
            (GGUFTokenizerTests.sequence(GGUFTokenizerTests.split("a+"), bytes), false, "Split `a+`, then ByteLevel"),
            (
                GGUFTokenizerTests.sequence(GGUFTokenizerTests.split(GGUFTokenizerTests.llama3, "Removed"), bytes),
                false, "of behavior Removed"
            ),
            (GGUFTokenizerTests.sequence(#"{"type":"Punctuation"}"#, bytes), false, "Punctuation, then ByteLevel"),
            (GGUFTokenizerTests.byteLevelByPattern, true, "with ignore_merges"),
            (#"{"type":"ByteLevel"}"#, false, "ByteLevel that adds a space"),
        ] {
            let found = try error(GGUFTokenizerTests.tokenizer(pre, ignoresMerges: ignores))
            #expect(found?.code == .tokenizerInvalid && found?.file?.hasSuffix("tokenizer.json") == true)
            #expect(found?.found.contains(words) == true, "\(String(describing: found))")
        }
        let lower = try error(
            GGUFTokenizerTests.tokenizer(
                GGUFTokenizerTests.byteLevelByPattern, normalizer: #"{"type":"Lowercase"}"#))
        #expect(lower?.found.contains("Lowercase") == true)
        for (old, new, words) in [
            (#""BPE""#, #""Unigram""#, "Unigram"), (#"["h","e"]"#, #"["h","x"]"#, "merge 0"),
            (#""a":97"#, #""a":98"#, "with the id 98"), (#""a":97"#, #""a":9700"#, "the id 9700"),
            (#""id":261,"content""#, #""id":530,"content""#, "the id 530"),
            (#""content":"<|end|>""#, #""content":"a""#, "a second time"),
        ] {
            let text = ContentSample.byteLevel.replacing(old, with: new)
            #expect(text != ContentSample.byteLevel)
            #expect(try error(text)?.found.contains(words) == true)
        }
    }

    // MARK: - Tokens

    @Test("The tokenizer of SampleWeights is the same in the GGUF file") func sample() throws {
        let directory = try TemporaryDirectory()
        let content = try GGUFContent(OpenedCheckpoint(ContentSample.weights))
        #expect(content.warnings.isEmpty && content.tensors.count == 39)
        let metadata = try ContentSample.write(content, to: directory.at("m.gguf"))
        // As llama.cpp's converter writes them.
        #expect(try metadata.string("tokenizer.ggml.pre") == "gpt-2")
        #expect(try metadata.unsigned("tokenizer.ggml.bos_token_id") == 0)
        #expect(try metadata.unsigned("tokenizer.ggml.eos_token_id") == 0)
        #expect(try metadata.unsigned("tokenizer.ggml.seperator_token_id") == 0)
        #expect(try metadata.bool("tokenizer.ggml.add_bos_token") == true)
        #expect(try metadata.bool("tokenizer.ggml.add_sep_token") == true)
        #expect(!metadata.has("tokenizer.ggml.add_eos_token") && !metadata.has("tokenizer.chat_template"))
        #expect(try metadata.string("general.name") == "SampleWeights")
        #expect(try metadata.string("general.size_label") == "5.0M")
        let types = try metadata.unsigneds("tokenizer.ggml.token_type")
        #expect(types == [3] + [UInt64](repeating: 1, count: 2047))
        let old = try Tokenizer.open(ContentSample.weights)
        let new = try Tokenizer.open(directory.at("m.gguf"))
        for name in ["heldout-code.txt", "heldout-prose.txt"] {
            let text = try Files.read(ContentSample.weights.appending(name))
            #expect(try old.encode(text) == new.encode(text))
        }
    }

    @Test("Ids without tokens are filled, and added tokens have the kinds that llama.cpp's converter gives them")
    func kinds() throws {
        let more = [
            #"{"id":262,"content":"<|im_end|>","special":false}"#, #"{"id":263,"content":"a▁b","special":false}"#,
            #"{"id":270,"content":"<tool>","special":true}"#,
        ]
        let end = #"{"id":261,"content":"<|end|>","special":true,"normalized":false}"#
        let tokenizer = ContentSample.byteLevel.replacing(end, with: ([end] + more).joined(separator: ","))
        let settings = """
            {"added_tokens_decoder": {"263": {"content": "a▁b", "special": false},
            "272": {"content": "<new>", "special": true}, "5": {"content": "other", "special": true}},
            "eos_token": {"content": "<|im_end|>"}, "pad_token": "<tool>", "unk_token": "missing",
            "add_bos_token": true, "add_eos_token": false}
            """
        let directory = try TemporaryDirectory()
        let metadata = try GGUFTokenizerTests.metadata(
            directory, tokenizer, settings: settings, changes: ["bos_token_id": "261", "eos_token_id": "[1, 2]"])
        let tokens = try #require(try metadata.strings("tokenizer.ggml.tokens"))
        let types = try #require(try metadata.unsigneds("tokenizer.ggml.token_type"))
        #expect(tokens.count == 530 && types.count == 530)
        #expect(Array(tokens[260...264]) == ["Ġhello", "<|end|>", "<|im_end|>", "a b", "[PAD264]"])
        #expect(Array(types[260...264]) == [1, 3, 3, 4, 5])
        #expect(tokens[270] == "<tool>" && types[270] == 3 && tokens[272] == "<new>" && types[272] == 3)
        #expect(tokens[529] == "[PAD529]" && types[5] == 1)
        #expect(try metadata.unsigned("tokenizer.ggml.eos_token_id") == 262)
        #expect(try metadata.unsigned("tokenizer.ggml.padding_token_id") == 270)
        #expect(try metadata.unsigned("tokenizer.ggml.bos_token_id") == 261)
        #expect(!metadata.has("tokenizer.ggml.unknown_token_id"))
        // The post-processor puts <|end|> before a text, and is believed before the settings.
        #expect(try metadata.bool("tokenizer.ggml.add_bos_token") == true)
        #expect(try metadata.bool("tokenizer.ggml.add_eos_token") == false)
        #expect(try metadata.strings("tokenizer.ggml.merges") == ["h e", "l l", "he ll", "hell o", "Ġ hello"])
        let model = try GGUFContent(OpenedCheckpoint(directory.at("tiny-model")))
        #expect(model.warnings.contains { $0.message.contains("token 5 is") })
    }

    @Test("Whether a token begins a text is always stated") func beginning() throws {
        let none = ContentSample.byteLevel.replacing(#""post_processor":{"#, with: #""other":{"#)
        let metadata = try GGUFTokenizerTests.metadata(TemporaryDirectory(), none)
        #expect(try metadata.bool("tokenizer.ggml.add_bos_token") == false)
        let bytes = ContentSample.byteLevel.replacing(
            #""post_processor":{"#, with: #""post_processor":{"type":"ByteLevel"},"other":{"#)
        let stated = try GGUFTokenizerTests.metadata(
            TemporaryDirectory(), bytes, settings: #"{"add_bos_token": true, "bos_token": "<|end|>"}"#)
        #expect(try stated.bool("tokenizer.ggml.add_bos_token") == false)
        #expect(try stated.bool("tokenizer.ggml.add_eos_token") == false)
        let unknown = try error(none, settings: #"{"add_bos_token": true}"#)
        #expect(unknown?.found.contains("`bos`") == true)
    }

    // MARK: - Pieces

    @Test("Scores of pieces follow from the merges, and the tokenizer makes the same tokens") func pieces() throws {
        let directory = try TemporaryDirectory()
        let metadata = try GGUFTokenizerTests.metadata(directory, TokenizerSample.sentencePiece)
        #expect(try metadata.string("tokenizer.ggml.model") == "llama")
        #expect(try metadata.string("tokenizer.ggml.pre") == "default")
        let tokens = try #require(try metadata.strings("tokenizer.ggml.tokens"))
        #expect(Array(tokens.prefix(268)) == TokenizerSample.pieces && tokens[268] == "[PAD268]")
        let types = try #require(try metadata.unsigneds("tokenizer.ggml.token_type"))
        #expect(Array(types.prefix(3)) == [2, 3, 6] && types[257] == 6 && types[258] == 1 && types[268] == 5)
        let scores = try #require(try metadata.floats("tokenizer.ggml.scores"))
        #expect(Array(scores[0...2]) == [0, -1000, 0] && Array(scores[263...267]) == [0, -1, -2, -3, -4])
        #expect(Array(scores[258...262]) == [-5, -6, -7, -8, -9] && scores[268] == -10_000)
        #expect(!metadata.has("tokenizer.ggml.merges") && !metadata.has("tokenizer.ggml.add_space_prefix"))
        let old = try Tokenizer(json: Array(TokenizerSample.sentencePiece.utf8), path: "t.json")
        let new = try Tokenizer.open(directory.at("out.gguf"))
        let text = Array("hello hell  hellohello\nо 中 lleh".utf8)
        #expect(try old.encode(text) == new.encode(text))
        #expect(try GGUFContent(OpenedCheckpoint(directory.at("tiny-model"))).warnings.isEmpty)
    }

    @Test("The sign of spaces is that of the normalizer or of Metaspace") func spaces() throws {
        let text = TokenizerSample.sentencePiece
        let never = text.replacing(#"{"type":"Prepend","prepend":"▁"},"#, with: "")
        let metaspace = text.replacing(
            #""pre_tokenizer":null"#,
            with: """
                "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}
                """
        ).replacing(#"{"type":"Prepend","prepend":"▁"},"#, with: "")
        for other in [never, metaspace] {
            #expect(other != text)
            let metadata = try GGUFTokenizerTests.metadata(TemporaryDirectory(), other)
            #expect(try metadata.bool("tokenizer.ggml.add_space_prefix") == false)
        }
        let stated = try GGUFTokenizerTests.metadata(
            TemporaryDirectory(), never, settings: #"{"add_prefix_space": true}"#)
        #expect(try stated.bool("tokenizer.ggml.add_space_prefix") == true)
        let other = try error(text.replacing(#"{"type":"Prepend","prepend":"▁"}"#, with: #"{"type":"NFKC"}"#))
        #expect(other?.found.contains("NFKC") == true)
        let bytes = try error(text.replacing("<0x41>", with: "<0xZZ>"))
        #expect(bytes?.found.contains("byte 65") == true)
    }

    @Test("Merges that scores cannot state are a warning") func foreignMerges() throws {
        let directory = try TemporaryDirectory()
        let text = TokenizerSample.sentencePiece.replacing(#""▁hello":267"#, with: #""▁hello":267,"ell":268"#)
            .replacing(#""he ll""#, with: #""e ll","he ll""#)
        _ = try GGUFTokenizerTests.metadata(directory, text)
        let content = try GGUFContent(OpenedCheckpoint(directory.at("tiny-model")))
        // h + ell is hell, too, and no merge says so.
        #expect(content.warnings.map(\.message).contains { $0.contains("merges 1 pairs") })
    }

    // MARK: - Templates

    @Test("Chat templates come from tokenizer_config.json, or from files") func templates() throws {
        let settings = #"{"chat_template": "{{ a }}"}"#
        let jinja = ["chat_template.jinja": "{{ b }}\n"]
        let stated = try GGUFTokenizerTests.metadata(
            TemporaryDirectory(), ContentSample.byteLevel, settings: settings, files: jinja)
        #expect(try stated.string("tokenizer.chat_template") == "{{ a }}")
        let file = try GGUFTokenizerTests.metadata(TemporaryDirectory(), ContentSample.byteLevel, files: jinja)
        #expect(try file.string("tokenizer.chat_template") == "{{ b }}\n")
        let list = try GGUFTokenizerTests.metadata(
            TemporaryDirectory(), ContentSample.byteLevel,
            settings: """
                {"chat_template": [{"name": "default", "template": "d"}, {"name": "tool-use", "template": "t"}]}
                """)
        #expect(try list.string("tokenizer.chat_template") == "d")
        #expect(try list.string("tokenizer.chat_template.tool_use") == "t")
        #expect(try list.strings("tokenizer.chat_templates") == ["tool_use"])
    }
}
