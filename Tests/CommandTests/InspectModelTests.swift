import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `inspect` of GGUF files: tensors that Ingot cannot decode, and what the files say about the model.
@Suite struct InspectModelTests {
    private static let goldens = FilePath(#filePath).removingLastComponent().appending("Goldens")

    private typealias G = GGUFSample

    private static func text(_ key: String, _ value: String) -> (String, UInt32, [UInt8]) { (key, 8, G.text(value)) }

    private static func number(_ key: String, _ value: UInt64) -> (String, UInt32, [UInt8]) {
        (key, 4, G.word(value, 4))
    }

    /// Metadata of a model.
    private static func metadata(name: String = "A small llama") -> [(String, UInt32, [UInt8])] {
        [
            text("general.architecture", "llama"), text("general.name", name), text("general.size_label", "135M"),
            text("general.license", "apache-2.0"), number("llama.block_count", 30),
            number("llama.context_length", 8192), number("llama.embedding_length", 576),
            number("llama.attention.head_count", 9), number("llama.attention.head_count_kv", 3),
            number("general.file_type", 15), number("general.quantization_version", 2),
            text("tokenizer.ggml.model", "gpt2"),
            ("tokenizer.ggml.tokens", 9, G.word(8, 4) + G.word(1500, 8) + (0..<1500).flatMap { G.text("t\($0)") }),
        ]
    }

    /// A file with tensors that are decoded, of types that are not decoded, and of a number that ggml does not use.
    private static func write(name: String = "A small llama", to path: FilePath) throws {
        try G.write(
            [
                .q8("blk.0.ffn_up.weight", [24, 96]),
                .init("blk.0.ffn_down.weight", type: 19, [4, 512], bytes: [UInt8](repeating: 7, count: 400)),
                .init("blk.0.attn_q.weight", type: 99, [8, 8], bytes: [UInt8](repeating: 7, count: 100)),
                .init(SampleTensor("blk.0.attn_norm.weight", .f32, [96])),
            ], metadata: metadata(name: name), to: path)
    }

    private func inspect(_ arguments: [String], warning: String? = nil) throws -> String {
        let result = try IngotProcess.run(["inspect"] + arguments)
        #expect(result.status == 0, "\(arguments): \(result.errors)")
        #expect(warning.map { result.errors.contains($0) } ?? result.errors.isEmpty, "\(result.errors)")
        return result.output
    }

    private static let warning =
        "2 tensors that ingot cannot decode (IQ1_S, type 99): listed without figures; sizes of type 99 reach to the next tensor"

    /// A checkpoint that was converted from a GGUF file says the same of its model, without the types of the source's blocks.
    @Test func convertedModel() throws {
        let directory = try TemporaryDirectory()
        let (source, sealed) = (directory.at("m.gguf"), directory.at("sealed"))
        try G.write(
            [.init(SampleTensor("blk.0.ffn_up.weight", .f32, [64, 96]))], metadata: Self.metadata(), to: source)
        #expect(try IngotProcess.run(["convert", source.string, sealed.string, "-q"]).status == 0)
        let text = try inspect([sealed.string])
        for word in ["A small llama", "30", "embedding length 576", "gpt2", "apache-2.0"] {
            #expect(text.contains(word), "\(word)")
        }
        #expect(!text.contains("file type"))
        try Files.write("GGUF", to: sealed.appending("source-metadata.gguf"))
        #expect(
            try inspect([sealed.string, "--headers-only"], warning: "the model is not described").contains("ffn_up"))
    }

    static let forms: [(name: String, options: [String])] = [
        ("text", []), ("headers", ["--headers-only"]), ("details", ["--details"]), ("json", ["--format", "json"]),
        ("csv", ["--format", "csv"]), ("markdown", ["--format", "markdown"]),
    ]

    @Test(arguments: forms.map(\.name)) func golden(name: String) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        try InspectModelTests.write(to: path)
        let options = try #require(InspectModelTests.forms.first { $0.name == name }).options
        let text = try inspect([path.string] + options, warning: InspectModelTests.warning)
            .replacing(directory.path.string, with: "...")
        if !options.contains("--format") {
            for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
        }
        let golden = InspectModelTests.goldens.appending("inspect-gguf-\(name).txt")
        if ProcessInfo.processInfo.environment["INGOT_UPDATE_GOLDENS"] == "1" { try Files.write(text, to: golden) }
        let expected = String(decoding: try Files.read(golden), as: UTF8.self)
        #expect(text == expected, "INGOT_UPDATE_GOLDENS=1 writes \(golden) anew")
    }

    @Test("Every other verb refuses a tensor that cannot be decoded, and says which one lists it") func otherVerbs()
        throws
    {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        try InspectModelTests.write(to: path)
        let other = try SampleSource.write([[SampleTensor("a.weight", .f16, [8, 64])]], to: directory.at("other"))
        for arguments in [
            ["convert", path.string, directory.at("out").string],
            ["convert", path.string, directory.at("out").string, "--allow-requantize"], ["plan", path.string],
            ["verify", path.string], ["verify", other.string, "--against", path.string],
            ["verify", path.string, "--against", other.string], ["diff", path.string, other.string],
            ["diff", other.string, path.string, "--headers-only"],
        ] {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == 65 && result.output.isEmpty, "\(arguments): \(result.output)")
            #expect(result.errors.contains("error: unsupportedSource: type 19, IQ1_S, which ingot cannot decode"))
            #expect(result.errors.contains("tensor: blk.0.ffn_down.weight"), "\(arguments): \(result.errors)")
            #expect(
                result.errors.contains("the checkpoint that this one was made from; `ingot inspect` lists its tensors"))
        }
        #expect(!Files.names(directory.path).contains("out"))
    }

    @Test("Bytes, figures and groups with tensors that cannot be decoded") func report() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        try InspectModelTests.write(to: path)
        for options in [[], ["--headers-only"]] {
            let text = try inspect(
                [path.string, "--format", "json", "--group-by", "kind"] + options, warning: InspectModelTests.warning)
            let report = try JSONValue.parse(Array(text.utf8))
            #expect(report["bytes"]?["total"]?.unsigned == UInt64(try Files.read(path).count))
            #expect(report["warnings"]?.array?.count == 1)
            let tensors = try #require(report["tensors"]?.array)
            #expect(tensors.map { $0["scheme"]?.string } == ["Q8_0", "IQ1_S", "type 99", "kept"])
            #expect(tensors.map { $0["dtype"]?.string } == ["F32", nil, nil, "F32"])
            // The third has 100 bytes and their padding.
            let sizes: [UInt64] = [2448, 400, 128, 384]
            let found: [UInt64] = tensors.compactMap { $0["bytes"]?.unsigned }
            #expect(found == sizes)
            let isRead: [Bool] = tensors.map { $0["statistics"] != .null }
            let expected: [Bool] = options.isEmpty ? [true, false, false, true] : [false, false, false, false]
            #expect(isRead == expected)
            let groups = try #require(report["groups"]?.array)
            let grouped: [UInt64] = groups.compactMap { $0["bytes"]?.unsigned }
            #expect(grouped.reduce(0, +) == sizes.reduce(0, +))
        }
        // What is not selected is not read.
        _ = try inspect([path.string, "--filter", "*.ffn_down.*", "--sort", "kurtosis"], warning: "IQ1_S")
    }

    @Test("Members of `model` are typed, and those that are not stated are left out") func members() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        try InspectModelTests.write(to: path)
        let text = try inspect([path.string, "--format", "json", "--headers-only"], warning: "IQ1_S")
        #expect(
            try JSONValue.parse(Array(text.utf8))["model"]
                == .object([
                    .init("architecture", .string("llama")), .init("name", .string("A small llama")),
                    .init("size_label", .string("135M")), .init("layers", .unsigned(30)),
                    .init("embedding_length", .unsigned(576)), .init("heads", .unsigned(9)),
                    .init("kv_heads", .unsigned(3)), .init("context_length", .unsigned(8192)),
                    .init("file_type", .unsigned(15)), .init("file_type_name", .string("MOSTLY_Q4_K_M")),
                    .init("quantization_version", .unsigned(2)), .init("tokenizer", .string("gpt2")),
                    .init("tokens", .unsigned(1500)), .init("license", .string("apache-2.0")),
                ]))
    }

    @Test("Texts of a stranger's metadata have no effect, and fit the line") func hostile() throws {
        let directory = try TemporaryDirectory()
        for name in [
            "\u{1B}[31mred\u{7}", "::error::x", "##[error]x ##vso[task.complete]y", "two\nlines\r\u{2028}",
            String(repeating: "long ", count: 1000), "e" + String(repeating: "\u{301}", count: 100_000),
            "</script><img src=x onerror=alert(1)>", "\u{202E}gnp", "",
        ] {
            let path = directory.at("m.gguf")
            try InspectModelTests.write(name: name, to: path)
            let text = try inspect([path.string, "--headers-only"], warning: "IQ1_S")
            for line in LogRules.lines(text) {
                #expect(!LogRules.isCommand(line) && line.unicodeScalars.count <= 280, "\(line)")
            }
            for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
            #expect(
                text.contains("\n  name ") == !name.isEmpty && text.contains("\n  tokenizer     gpt2, 1,500 tokens\n"))
            #expect(!text.contains("\u{1B}") && !text.contains("\u{202E}") && !text.contains("\u{7}"))
            let json = try JSONValue.parse(
                Array(try inspect([path.string, "--headers-only", "--format", "json"], warning: "IQ1_S").utf8))
            #expect(json["model"]?["name"] == .string(name))
            let page = try inspect([path.string, "--headers-only", "--format", "html"], warning: "IQ1_S")
            #expect(!page.contains("<img") && page.contains("modelSection"))
        }
    }

    @Test("The parts of a split file are one model") func split() throws {
        let directory = try TemporaryDirectory()
        try G.write(
            [.q8("blk.0.ffn_up.weight", [24, 96])],
            metadata: InspectModelTests.metadata() + G.split(0, of: 2, tensors: 2),
            to: directory.at("m-00001-of-00002.gguf"))
        try G.write(
            [.init("x", type: 99, [8], bytes: [1])], metadata: G.split(1, of: 2, tensors: 2),
            to: directory.at("m-00002-of-00002.gguf"))
        let text = try inspect([directory.path.string, "--headers-only"], warning: "type 99")
        #expect(text.contains("\nmodel\n  architecture  llama\n  name          A small llama\n"))
    }

    // MARK: - config.json

    private static let configuration = """
        {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 40, "num_attention_heads": 1, "vocab_size": 6,
         "num_key_value_heads": 1, "max_position_embeddings": 512, "torch_dtype": "float16"}
        """

    private static let section = """

        model
          architecture  llama
          layers        2, embedding length 40, 1 head, 1 key-value head
          context       512 tokens
          element type  float16
          vocabulary    6 tokens


        """

    @Test("A directory of safetensors, and an output of convert, are described by config.json") func directories()
        throws
    {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            SampleSource.small(), to: directory.at("source"),
            companions: ["config.json": InspectModelTests.configuration])
        let sealed = directory.at("sealed")
        #expect(try IngotProcess.run(["convert", source.string, sealed.string, "--quiet"]).status == 0)
        for path in [source, sealed] {
            #expect(try inspect([path.string, "--headers-only"]).contains(InspectModelTests.section))
            let json = try JSONValue.parse(
                Array(try inspect([path.string, "--headers-only", "--format", "json"]).utf8))
            #expect(json["model"]?["vocab_size"]?.unsigned == 6 && json["model"]?["name"] == nil)
        }
        // A file by itself has no configuration.
        let file = source.appending("model-00001-of-00002.safetensors")
        #expect(try !inspect([file.string, "--headers-only"]).contains("\nmodel\n"))
    }

    @Test("A config.json that cannot be read stops nothing", arguments: ["not json", "[]", #"{"vocab_size": "#])
    func brokenConfiguration(text: String) throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            SampleSource.small(), to: directory.at("source"), companions: ["config.json": text])
        let printed = try inspect(
            [source.string, "--headers-only"], warning: "config.json: cannot be read, so the model is not described: ")
        #expect(!printed.contains("\nmodel\n"))
    }

    @Test("A config.json that is a FIFO, a directory, or a link to nowhere is passed over") func noFile() throws {
        let directory = try TemporaryDirectory()
        for line in ["mkfifo \"$1\"", "mkdir \"$1\"", "ln -s nowhere \"$1\""] {
            let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"), companions: [:])
            let path = source.appending("config.json").string
            #expect(try IngotProcess.shell(line, [path]).status == 0)
            #expect(try !inspect([source.string, "--headers-only"]).contains("\nmodel\n"))
            #expect(try IngotProcess.shell("rm -r \"$1\"", [source.string]).status == 0)
        }
    }
}
