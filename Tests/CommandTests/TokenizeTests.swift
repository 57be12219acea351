import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot tokenize`: what it prints and writes, and its exit codes.
@Suite struct TokenizeTests {
    private let directory: TemporaryDirectory
    private var model: String { directory.at("tokenizer.json").string }
    private var text: String { directory.at("text.txt").string }

    init() throws {
        directory = try TemporaryDirectory()
        try Files.write(TokenizerSample.byteLevel(), to: directory.at("tokenizer.json"))
        try Files.write("hello hello!", to: directory.at("text.txt"))
    }

    @Test func result() throws {
        let result = try IngotProcess.run(["tokenize", directory.path.string, "--text", text])
        #expect(result.status == 0 && result.errors.isEmpty)
        #expect(
            result.output
                == "\(text): 3 tokens, 12 bytes; byte-level BPE, 262 tokens in the vocabulary; before a text: 261\n")
    }

    @Test func idsAndJSON() throws {
        let out = directory.at("ids.npy")
        for special in [[], ["--special"]] {
            // The second run replaces the file of the first.
            let arguments = ["tokenize", model, "--text", text, "-o", out.string, "--format", "json"] + special
            let result = try IngotProcess.run(arguments)
            #expect(result.status == 0 && result.errors.isEmpty)
            let json = try JSONValue.parse(Array(result.output.utf8))
            #expect(json["tokens"] == .unsigned(3) && json["vocabulary"] == .unsigned(262))
            #expect(json["begin"] == .array([.unsigned(261)]) && json["has_special"] == .bool(!special.isEmpty))
            let ids: [UInt64] = (special.isEmpty ? [] : [261]) + [259, 260, 0x21]
            let bytes = try Files.read(out)
            #expect(bytes.count % 64 == ids.count * 4)
            #expect(bytes.suffix(4 * ids.count).elementsEqual(ids.flatMap { GGUFSample.word($0, 4) }))
        }
    }

    @Test func refusals() throws {
        func status(_ arguments: [String]) throws -> Int32 { try IngotProcess.run(["tokenize"] + arguments).status }
        #expect(try status([model]) == 64)
        #expect(try status([directory.at("none").string, "--text", text]) == 66)
        #expect(try status([model, "--text", directory.at("none").string]) == 66)
        #expect(try status([model, "--text", text, "-o", text]) == 73)
        #expect(try status([model, "--text", text, "-o", directory.at("no/ids.npy").string]) == 73)
        try Files.write([0x61, 0xFF], to: directory.at("bad.txt"))
        let bad = try IngotProcess.run(["tokenize", model, "--text", directory.at("bad.txt").string])
        #expect(bad.status == 65 && bad.errors.contains("textInvalid") && bad.errors.contains("bad.txt"))
        try Files.write("", to: directory.at("empty.txt"))
        #expect(try status([model, "--text", directory.at("empty.txt").string]) == 65)
        try Files.write(
            TokenizerSample.byteLevel().replacing("\"BPE\"", with: "\"Unigram\""), to: directory.at("tokenizer.json"))
        let unigram = try IngotProcess.run(["tokenize", model, "--text", text])
        #expect(unigram.status == 65 && unigram.errors.contains("Unigram"))
        #expect(unigram.errors.contains("from tokenizers import Tokenizer"))
        // Nothing was written.
        #expect(Files.names(directory.path) == ["bad.txt", "empty.txt", "text.txt", "tokenizer.json"])
    }
}
