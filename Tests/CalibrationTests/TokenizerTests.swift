import Calibration
import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Ids of small tokenizers, worked out by hand. Tests/Peers/test_tokenizer.py compares whole texts with the library tokenizers.
@Suite struct TokenizerTests {
    private func read(_ text: String) throws -> Tokenizer { try Tokenizer(json: Array(text.utf8), path: "t.json") }

    private func ids(_ tokenizer: Tokenizer, _ text: String) throws -> [Int32] {
        try tokenizer.encode(Array(text.utf8))
    }

    @Test func byteLevel() throws {
        let tokenizer = try read(TokenizerSample.byteLevel())
        #expect(tokenizer.kind == "byte-level BPE" && tokenizer.vocabularyCount == 262)
        #expect(tokenizer.begin == [261] && tokenizer.end.isEmpty)
        #expect(try ids(tokenizer, "hello hello") == [259, 260])
        // The second space stays alone: the last one of a run belongs to the word.
        #expect(try ids(tokenizer, "hell  hello<|end|>!") == [258, 0x20, 260, 261, 0x21])
        // Form C: e and an acute accent become U+00E9.
        #expect(try ids(tokenizer, "e\u{301}") == [0xC3, 0xA9])
        #expect(try ids(tokenizer, "\u{0}\u{7F}") == [0, 0x7F])
    }

    @Test func ignoredMerges() throws {
        // `hello` is a token without the merge that makes it.
        let text = TokenizerSample.byteLevel().replacing(#",["hell","o"]"#, with: "")
            .replacing(#",["Ġ","hello"]"#, with: "")
        #expect(try ids(read(text), "hello") == [258, 0x6F])
        let ignoring = text.replacing(#""type":"BPE","#, with: #""type":"BPE","ignore_merges":true,"#)
        #expect(try ids(read(ignoring), "hello") == [259])
    }

    @Test func sentencePiece() throws {
        let tokenizer = try read(TokenizerSample.sentencePiece)
        #expect(tokenizer.kind == "SentencePiece BPE" && tokenizer.begin.isEmpty)
        #expect(try ids(tokenizer, "hello hello") == [267, 267])
        // A space alone, bytes of what is not known, and the sign for a space after an added token too.
        #expect(try ids(tokenizer, " é<s>he") == [258, 258, 2 + 0xC3, 2 + 0xA9, 1, 258, 263])
    }

    /// Bytes of the shortest and longest words, and long texts without a cut, whose merges take n log n steps.
    @Test func longWords() throws {
        let tokenizer = try read(TokenizerSample.sentencePiece)
        let count = 200_000
        let long = try ids(tokenizer, String(repeating: "hello", count: count))
        #expect(long == [267] + [Int32](repeating: 266, count: count - 1))
    }

    @Test func ggufKinds() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        try GGUFSample.write([], metadata: TokenizerSample.llama(), to: path)
        let llama = try Tokenizer.open(path)
        #expect(llama.begin == [1] && llama.end.isEmpty && llama.vocabularyCount == 268)
        #expect(try ids(llama, "hello é<s>hell") == [267, 258, 2 + 0xC3, 2 + 0xA9, 1, 258, 265])
        try GGUFSample.write([], metadata: TokenizerSample.gpt2(), to: path)
        let gpt2 = try Tokenizer.open(path)
        #expect(gpt2.begin.isEmpty && gpt2.kind == "byte-level BPE")
        #expect(try ids(gpt2, "hello hello") == [259, 260])
        // Without a flag, Llama 3 expects a token before a text.
        var named = TokenizerSample.gpt2(pre: "llama-bpe").dropLast()
        named.append(("tokenizer.ggml.bos_token_id", 4, GGUFSample.word(7, 4)))
        try GGUFSample.write([], metadata: Array(named), to: path)
        #expect(try Tokenizer.open(path).begin == [7])
    }

    @Test func directories() throws {
        let directory = try TemporaryDirectory()
        let error = #expect(throws: IngotError.self) { _ = try Tokenizer.open(directory.path) }
        #expect(error?.code == .tokenizerInvalid && error?.remedy.text.contains("AutoTokenizer") == true)
        try Files.write(TokenizerSample.byteLevel(), to: directory.at("tokenizer.json"))
        #expect(try Tokenizer.open(directory.path).vocabularyCount == 262)
    }

    @Test func idFiles() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("ids.npy")
        let ids: [Int32] = (0..<70_000).map { Int32($0 % 1000) }
        try Files.write(Array(TokenFile.npy(ids).joined()), to: path)
        #expect(try TokenFile.read(path, vocabulary: 1000) == ids)
        for type in [ElementType.i64, .i32, .u32, .u16, .i16, .u64] {
            let width = type.bitWidth / 8
            let tensor = SampleTensor(
                "ids", type, [2, 2], bytes: [3, 500, 0, 999].flatMap { GGUFSample.word($0, width) })
            try SampleSource.writeShard([tensor], to: directory.at("ids.safetensors"))
            #expect(try TokenFile.read(directory.at("ids.safetensors"), vocabulary: 1000) == [3, 500, 0, 999])
        }
    }
}
