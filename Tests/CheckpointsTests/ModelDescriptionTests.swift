import Checkpoints
import TensorModel
import Testing

/// What GGUF metadata and `config.json` say about a model, with the types of the values.
@Suite struct ModelDescriptionTests {
    private typealias G = GGUFBytes

    private func read(_ entries: [[UInt8]]) throws -> ModelDescription? {
        try G.read(G.file(entries: entries)).model
    }

    private static let whole = [
        // The architecture need not come first.
        G.entry("llama.block_count", 4, G.half(30)), G.entry("llama.embedding_length", 0, [200]),
        G.entry("general.architecture", 8, G.text("llama")), G.entry("general.name", 8, G.text("12")),
        G.entry("general.parameter_count", 10, FileBytes.word(1 << 40)), G.entry("general.size_label", 8, G.text("1T")),
        G.entry("llama.attention.head_count", 5, G.half(9)), G.entry("llama.attention.head_count_kv", 3, [3, 0]),
        G.entry("llama.context_length", 11, FileBytes.word(8192)), G.entry("llama.vocab_size", 2, [1, 2]),
        G.entry("bert.block_count", 4, G.half(99)), G.entry("general.file_type", 4, G.half(15)),
        G.entry("general.quantization_version", 4, G.half(2)), G.entry("general.license", 8, G.text("mit")),
        G.entry("tokenizer.ggml.model", 8, G.text("gpt2")),
        G.array("tokenizer.ggml.tokens", of: 8, count: 9, (0..<9).flatMap { G.text("t, \($0)") }),
    ]

    @Test func everyMember() throws {
        var expected = ModelDescription()
        (expected.architecture, expected.name, expected.parameters, expected.sizeLabel) = ("llama", "12", 1 << 40, "1T")
        (expected.layers, expected.embeddingLength, expected.heads, expected.keyValueHeads) = (30, 200, 9, 3)
        (expected.contextLength, expected.vocabulary, expected.fileType) = (8192, 513, 15)
        (expected.quantizationVersion, expected.tokenizer, expected.tokens, expected.licence) = (2, "gpt2", 9, "mit")
        #expect(try read(ModelDescriptionTests.whole) == expected)
        #expect(expected.fileTypeName == "MOSTLY_Q4_K_M")
    }

    @Test("Tokens of a short list are counted, though they hold commas") func shortList() throws {
        let tokens = G.array("tokenizer.ggml.tokens", of: 8, count: 2, G.text("a, b, c") + G.text(","))
        #expect(try read([tokens])?.tokens == 2)
    }

    @Test("Values of other types are left out, and so is a head count for each layer") func otherTypes() throws {
        let arch = G.entry("general.architecture", 8, G.text("llama"))
        let entries = [
            arch, G.entry("llama.block_count", 8, G.text("30")), G.entry("llama.context_length", 5, G.half(.max)),
            G.entry("llama.embedding_length", 6, G.half(Float(64).bitPattern)), G.entry("general.name", 4, G.half(1)),
            G.array("llama.attention.head_count", of: 4, count: 2, G.half(8) + G.half(4)),
            G.array("llama.attention.head_count_kv", of: 4, count: 9, (0..<9).flatMap { G.half($0) }),
            G.entry("llama.vocab_size", 7, [1]), G.entry("general.file_type", 8, G.text("15")),
            G.entry("tokenizer.ggml.tokens", 4, G.half(7)), G.array("general.license", of: 8, count: 1, G.text("mit")),
        ]
        var expected = ModelDescription()
        expected.architecture = "llama"
        #expect(try read(entries) == expected)
        #expect(try read([]) == nil && read([G.entry("llama.block_count", 4, G.half(1))]) == nil)
    }

    @Test("Keys are compared as bytes, and text that is not UTF-8 is harmless") func texts() throws {
        let entries = [
            G.entry("general.architecture", 8, G.text("\u{E9}")), G.entry("e\u{301}.block_count", 4, G.half(3)),
            G.entry("general.name", 8, G.text(raw: [0x61, 0xFF])),
        ]
        let model = try #require(try read(entries))
        #expect(model.layers == nil && model.name == "a\u{FFFD}")
    }

    @Test("A million keys that end alike are not all kept") func manyKeys() throws {
        let arch = G.entry("general.architecture", 8, G.text("llama"))
        let others = (0..<5000).map { G.entry("a\($0).block_count", 0, [1]) }
        let last = [G.entry("llama.block_count", 0, [7]), G.entry("general.license", 8, G.text("mit"))]
        let model = try #require(try read([arch] + others + last))
        #expect(model.licence == "mit" && model.layers == nil)
        #expect(try read([arch] + others.prefix(900) + last)?.layers == 7)
    }

    @Test(
        "Numbers of file types have llama.cpp's names",
        arguments: [
            (0, "ALL_F32"), (3, "MOSTLY_Q4_1"), (40, "MOSTLY_Q1_0"), (1024 + 15, "MOSTLY_Q4_K_M, guessed"), (4, nil),
            (33, nil), (1024 + 33, nil), (1 << 40, nil),
        ] as [(UInt64, String?)])
    func fileTypes(number: UInt64, name: String?) {
        var model = ModelDescription()
        model.fileType = number
        #expect(model.fileTypeName == name)
    }

    // MARK: - config.json

    private func parse(_ text: String) throws -> ModelDescription? { try ModelConfiguration.parse(Array(text.utf8)) }

    @Test func configuration() throws {
        var expected = ModelDescription()
        (expected.architecture, expected.elementType, expected.layers) = ("llama", "bfloat16", 2)
        (expected.embeddingLength, expected.heads, expected.keyValueHeads) = (64, 4, 1)
        (expected.contextLength, expected.vocabulary) = (512, 1000)
        let members = #""vocab_size": 1000, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 1"#
        let rest = #""num_hidden_layers": 2, "max_position_embeddings": 512"#
        #expect(
            try parse(
                #"{"model_type": "llama", "eps": -1e-5, "x": NaN, "y": [-Infinity, {"hidden_size": 7}], \#(members), \#(rest), "torch_dtype": "bfloat16"}"#
            ) == expected)
        // What the inner object says counts only where the outer one says nothing.
        #expect(
            try parse(
                #"{"text_config": {"model_type": "inner", "dtype": "float32", \#(members)}, \#(rest), "dtype": "bfloat16", "model_type": "llama"}"#
            ) == expected)
        #expect(try parse(#"{"n_layer": 12, "n_head": 3, "n_embd": 9, "n_positions": 8}"#)?.heads == 3)
    }

    @Test(
        "Values of other types are left out",
        arguments: [
            "{}", #"{"vocab_size": "1000", "model_type": 3, "hidden_size": -4, "num_hidden_layers": 2.5}"#,
            #"{"text_config": "x", "torch_dtype": null, "vocab_size": 1e3, "hidden_size": [1], "n_layer": 18446744073709551616}"#,
        ])
    func nothing(text: String) throws { #expect(try parse(text) == nil) }

    @Test(arguments: ["", "[]", "{", #"{"vocab_size": 1} x"#, #"{"vocab_size": }"#, "\u{FEFF}{}", "null"])
    func refused(text: String) { #expect(throws: IngotError.self) { try parse(text) } }

    @Test("Nesting costs no stack") func nesting() {
        let deep = #"{"text_config": "# + String(repeating: "[", count: 100_000)
        #expect(throws: IngotError.self) { try parse(deep) }
    }
}
