import Calibration
import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import TestSupport

/// Targets for tokenizers and ids.
enum TokenizerTargets {
    /// What every accepted tokenizer has to encode.
    private static let text = Array(
        "hello  hello\r\n\t it's 12345 é e\u{301} 中文字。한글 😀\u{200D} \u{378}<|end|><s>▁x\u{0}\u{7F}   ".utf8)

    /// A `tokenizer.json`.
    static func json(_ bytes: [UInt8]) throws { try check(Tokenizer(json: bytes, path: "tokenizer.json")) }

    /// A GGUF file with a tokenizer.
    static func gguf(_ bytes: [UInt8]) throws {
        try FuzzFiles.with(bytes, "x.gguf") { path in
            try check(Tokenizer(gguf: GGUFTokenizerData.read(path), path: path))
        }
    }

    private static func check(_ tokenizer: Tokenizer) throws {
        require(tokenizer.vocabularyCount > 0, "no vocabulary")
        let ids = try tokenizer.encode(text)
        let known = 0..<Int32(tokenizer.vocabularyCount)
        require(
            (ids + tokenizer.begin + tokenizer.end).allSatisfy { known.contains($0) }, "an id beyond the vocabulary")
        require(try tokenizer.encode(text) == ids, "other ids the second time")
    }

    /// A file of ids.
    static func ids(_ bytes: [UInt8]) throws {
        try FuzzFiles.with(bytes, "x.npy") { path in
            let ids = try TokenFile.read(path, vocabulary: 1000)
            require(!ids.isEmpty && ids.allSatisfy { $0 >= 0 && $0 < 1000 }, "an id beyond the vocabulary")
            let again = Array(TokenFile.npy(ids).joined())
            try FuzzFiles.with(again, "y.npy") { path in
                require(try TokenFile.read(path, vocabulary: 1000) == ids, "other ids when written and read again")
            }
        }
    }

    // MARK: - Seeds

    static let jsonSeeds: [[UInt8]] = {
        let split =
            #""pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":true,"use_regex":false}]}"#
        let metaspace =
            #""pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}"#
        return [
            TokenizerSample.sentencePiece, TokenizerSample.byteLevel(),
            TokenizerSample.byteLevel(members: split, model: #""ignore_merges":true,"#),
            TokenizerSample.sentencePiece.replacing(#""pre_tokenizer":null"#, with: metaspace),
        ].map { Array($0.utf8) }
    }()

    static func ggufSeeds() throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        return try [TokenizerSample.llama(), TokenizerSample.gpt2(), TokenizerSample.gpt2(pre: "deepseek-coder")].map {
            try GGUFSample.write([], metadata: $0, to: directory.at("x.gguf"))
            return try Files.read(directory.at("x.gguf"))
        }
    }

    static func idSeeds() throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        try SampleSource.writeShard([SampleTensor("ids", raw: .u8, [4])], to: directory.at("ids.safetensors"))
        return [Array(TokenFile.npy([0, 5, 999]).joined()), try Files.read(directory.at("ids.safetensors"))]
    }
}
