import Calibration
import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Bad tokenizers, texts and ids: rows T01 to T08 of Specs/threat-model.md.
@Suite struct TokenizerRejectionTests {
    private static let good = TokenizerSample.byteLevel()

    private func error(_ text: String, encoding input: String = "abc") -> IngotError? {
        #expect(throws: IngotError.self) {
            _ = try Tokenizer(json: Array(text.utf8), path: "t.json").encode(Array(input.utf8))
        }
    }

    /// Expects an error of the good tokenizer, in which one text is replaced by another.
    private func expect(
        _ code: IngotError.Code, _ words: String, _ old: String, _ new: String,
        location: SourceLocation = #_sourceLocation
    ) {
        let text = TokenizerRejectionTests.good.replacing(old, with: new, maxReplacements: 1)
        #expect(text != TokenizerRejectionTests.good, sourceLocation: location)
        let found = error(text)
        #expect(
            found?.code == code && found?.file == "t.json", "\(String(describing: found))", sourceLocation: location)
        #expect(found?.found.contains(words) == true, "\(String(describing: found))", sourceLocation: location)
    }

    /// T01
    @Test func noJSON() {
        #expect(error("")?.code == .headerSyntax)
        #expect(error("{}")?.code == .tokenizerInvalid)
        #expect(error("[]")?.code == .headerSyntax)
        #expect(error(String(repeating: "[", count: 100_000))?.code == .headerSyntax)
        #expect(error(#"{"model":"# + String(repeating: "[", count: 1000))?.code == .nestingTooDeep)
        expect(.duplicateKey, "a second time", #""a":97"#, #""a":97,"a":300"#)
        expect(.duplicateKey, "a second time", #""version""#, #""model":{},"version""#)
        expect(.trailingBytes, "bytes after", "]]}}", "]]}} x")
        for count in stride(from: 0, to: TokenizerRejectionTests.good.utf8.count, by: 97) {
            #expect(throws: IngotError.self) {
                _ = try Tokenizer(json: Array(TokenizerRejectionTests.good.utf8.prefix(count)), path: "t.json")
            }
        }
    }

    /// T02
    @Test func unsupported() {
        for name in ["Lowercase", "NFKC", "NFD", "Strip", "Precompiled"] {
            expect(.tokenizerInvalid, name, #"{"type":"NFC"}"#, #"{"type":"\#(name)"}"#)
        }
        for name in ["BertPreTokenizer", "Whitespace", "Punctuation", "UnicodeScripts"] {
            expect(.tokenizerInvalid, name, #"{"type":"ByteLevel""#, #"{"type":"\#(name)""#)
        }
        for pattern in [
            #"\\bx"#, "x.y", "^x", "x$", #"(a|b)+"#, #"[a&&b]"#, #"\\p{Han}"#, "a+?", "(?<=a)b", "a*", "(?i:é)",
            #"\\w"#,
            "(", ")", "[", "a{2", "x(?!y)z", "a+(b|c)", "[z-a]", "", #"\\1"#, "[[:alpha:]]",
        ] {
            expect(
                .tokenizerInvalid, "pattern", #"{"type":"ByteLevel","#,
                #"{"type":"Split","behavior":"Isolated","pattern":{"Regex":"\#(pattern)"},"#)
        }
        for name in ["Unigram", "WordPiece", "WordLevel"] { expect(.tokenizerInvalid, name, #""BPE""#, "\"\(name)\"") }
        for member in [#""dropout":0.5"#, ###""continuing_subword_prefix":"##""###, #""end_of_word_suffix":"</w>""#] {
            expect(.tokenizerInvalid, "in the model", #""type":"BPE""#, #""type":"BPE",\#(member)"#)
        }
        expect(.tokenizerInvalid, "RobertaProcessing", "TemplateProcessing", "RobertaProcessing")
        let found = error(TokenizerRejectionTests.good.replacing(#""BPE""#, with: #""Unigram""#))
        #expect(found?.remedy.text.contains("from tokenizers import Tokenizer") == true)
    }

    /// T03
    @Test func contradictions() {
        expect(.tokenizerInvalid, "not in the vocabulary", #"["h","e"]"#, #"["h","中"]"#)
        expect(.tokenizerInvalid, "which is no token", #"["h","e"]"#, #"["h","x"]"#)
        expect(.tokenizerInvalid, "of 3 parts", #"["h","e"]"#, #"["h","e","e"]"#)
        expect(.tokenizerInvalid, "two forms", #"["l","l"]"#, #""l l""#)
        expect(.tokenizerInvalid, "for a second token", #""b":98"#, #""b":97"#)
        expect(.tokenizerInvalid, "the id 4194304", #""b":98"#, #""b":4194304"#)
        expect(.tokenizerInvalid, "-1", #""b":98"#, #""b":-1"#)
        expect(.tokenizerInvalid, "no ids", #""special_tokens":{"<|end|>""#, #""special_tokens":{"<|fin|>""#)
        expect(
            .tokenizerInvalid, "without a text", #"{"Sequence":{"id":"A","type_id":0}}"#,
            #"{"SpecialToken":{"id":"<|end|>"}}"#)
        let unknown = TokenizerSample.sentencePiece.replacing(#""<unk>","fuse"#, with: #""<none>","fuse"#)
            .replacing(#""byte_fallback":true"#, with: #""byte_fallback":false"#)
        #expect(error(unknown, encoding: "é")?.found.contains("a character that the vocabulary does not have") == true)
    }

    /// T04
    @Test func addedTokens() {
        expect(.tokenizerInvalid, "with the id 300", #"{"id":261,"#, #"{"id":300,"#)
        expect(.tokenizerInvalid, "with the id 12", #"{"id":261,"content":"<|end|>""#, #"{"id":12,"content":"a""#)
        let long = String(repeating: "x", count: 513)
        expect(.tokenizerInvalid, "513 bytes", #""content":"<|end|>""#, #""content":"\#(long)""#)
    }

    /// T05: a pattern that would take hours for a text of a few MB.
    @Test func patternThatGivesBack() {
        let text = TokenizerSample.byteLevel(
            members:
                #""pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"a+a+a+b"}}"#)
        let found = error(text, encoding: String(repeating: "a", count: 20_000))
        #expect(found?.code == .tokenizerInvalid && found?.found.contains("64 steps") == true)
    }

    /// T06
    @Test func texts() throws {
        let tokenizer = try Tokenizer(json: Array(TokenizerRejectionTests.good.utf8), path: "t.json")
        func failure(_ bytes: [UInt8]) -> IngotError? {
            #expect(throws: IngotError.self) { _ = try tokenizer.encode(bytes) }
        }
        #expect(failure([])?.code == .textInvalid)
        let bad: [[UInt8]] = [
            [0x80], [0xC0, 0x80], [0xC3], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xE4, 0xB8],
            [0xF0, 0x80, 0x80, 0x80],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF], [0xC3, 0x28], [0xE4, 0xB8, 0x41],
        ]
        for bytes in bad {
            let error = failure([0x61, 0xC3, 0xA9] + bytes + [0x62])
            #expect(error?.code == .textInvalid && error?.offset == 3, "\(bytes)")
        }
        let long = failure([UInt8](repeating: 0x61, count: Tokenizer.maximumTextBytes + 1))
        #expect(long?.code == .textInvalid)
        let directory = try TemporaryDirectory()
        try Files.write("", to: directory.at("empty.txt"))
        let empty = #expect(throws: IngotError.self) { _ = try TextFile.read(directory.at("empty.txt")) }
        #expect(empty?.code == .textInvalid)
    }

    /// T07
    @Test func ids() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("ids.safetensors")
        func failure(_ tensors: [SampleTensor]) throws -> IngotError? {
            try SampleSource.writeShard(tensors, to: path)
            return #expect(throws: IngotError.self) { _ = try TokenFile.read(path, vocabulary: 1000) }
        }
        func tensor(_ type: ElementType, _ shape: [Int], _ values: [UInt64]) -> SampleTensor {
            SampleTensor("ids", type, shape, bytes: values.flatMap { GGUFSample.word($0, type.bitWidth / 8) })
        }
        let large = try failure([tensor(.i32, [2], [5, 1000])])
        #expect(large?.code == .valueOutOfRange && large?.found == "the id 1000" && large?.offset != nil)
        #expect(try failure([tensor(.i32, [2], [5, 0xFFFF_FFFF])])?.found == "the id -1")
        #expect(try failure([tensor(.u64, [1], [.max])])?.code == .valueOutOfRange)
        #expect(try failure([tensor(.i32, [0], [])])?.code == .valueOutOfRange)
        #expect(try failure([tensor(.f32, [1], [5])])?.code == .unsupportedSource)
        #expect(try failure([tensor(.i32, [1, 1, 1], [5])])?.code == .invalidShape)
        let two = try failure([tensor(.i32, [1], [5]), SampleTensor("more", raw: .i32, [1])])
        #expect(two?.code == .unsupportedSource && two?.found == "2 tensors")
    }

    /// T08
    @Test func gguf() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        func failure(_ metadata: TokenizerSample.Metadata) throws -> IngotError? {
            try GGUFSample.write([], metadata: metadata, to: path)
            return #expect(throws: IngotError.self) { _ = try Tokenizer.open(path) }
        }
        func llama(_ key: String, _ type: UInt32, _ value: [UInt8]) -> TokenizerSample.Metadata {
            let key = "tokenizer.ggml.\(key)"
            return TokenizerSample.llama().filter { $0.0 != key } + [(key, type, value)]
        }
        let cases: [(TokenizerSample.Metadata, IngotError.Code, String)] = [
            ([], .tokenizerInvalid, "without a tokenizer"),
            (llama("model", 8, GGUFSample.text("t5")), .tokenizerInvalid, "t5"),
            (TokenizerSample.gpt2(pre: "chameleon"), .tokenizerInvalid, "chameleon"),
            (llama("model", 4, [1, 0, 0, 0]), .tokenizerInvalid, "of type"),
            (llama("scores", 9, TokenizerSample.numbers([0], type: 6)), .tokenizerInvalid, "1 scores"),
            (
                llama("scores", 9, TokenizerSample.numbers([UInt32](repeating: 0x7FC0_0000, count: 268), type: 6)),
                .tokenizerInvalid, "scores"
            ), (llama("scores", 9, TokenizerSample.numbers([0], type: 5)), .tokenizerInvalid, "elements of type"),
            (llama("token_type", 9, TokenizerSample.numbers([0], type: 5)), .tokenizerInvalid, "1 token types"),
            (llama("tokens", 9, TokenizerSample.texts(["a", "a"])), .tokenizerInvalid, "token types"),
            (
                [
                    ("tokenizer.ggml.model", 8, GGUFSample.text("gpt2")),
                    ("tokenizer.ggml.tokens", 9, TokenizerSample.texts(["a", "a"])),
                ], .tokenizerInvalid, "a second time"
            ), (llama("bos_token_id", 4, GGUFSample.word(999, 4)), .tokenizerInvalid, "999"),
            (TokenizerSample.llama() + TokenizerSample.llama(), .duplicateKey, "a second time"),
            (
                TokenizerSample.gpt2().filter { !$0.0.hasSuffix("merges") }, .tokenizerInvalid, "no merges"
            ),
            (
                llama("tokens", 9, GGUFSample.word(8, 4) + GGUFSample.word(1 << 60, 8)), .headerLength, "elements"
            ),
        ]
        for (metadata, code, words) in cases {
            let error = try failure(metadata)
            #expect(error?.code == code && error?.found.contains(words) == true, "\(String(describing: error))")
            #expect(error?.file == path.string)
        }
        // Cut short at every length.
        try GGUFSample.write([], metadata: TokenizerSample.gpt2(), to: path)
        let whole = try Files.read(path)
        for count in stride(from: 0, to: whole.count - 64, by: 101) {
            try Files.write(Array(whole.prefix(count)), to: path)
            #expect(throws: IngotError.self) { _ = try Tokenizer(gguf: GGUFTokenizerData.read(path), path: path) }
        }
    }
}
