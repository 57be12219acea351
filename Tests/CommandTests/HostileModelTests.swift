import FileAccess
import SystemPackage
import TestSupport
import Testing

/// Models, texts and ids that `evaluate` and `calibrate` refuse: the error, its status, and that nothing is written.
@Suite struct HostileModelTests {
    private let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
        try TinyModel.write(to: directory.at("model"))
        try Files.write(TinyModel.ids(200), to: directory.at("ids.npy"))
        try Files.write(TokenizerSample.byteLevel(), to: directory.at("model/tokenizer.json"))
    }

    /// Runs a verb; of calibrate the output is not there afterwards.
    private func refusal(
        _ verb: String, _ options: [String] = [], text: [String]? = nil, status: Int32, _ code: String, _ word: String,
        location: SourceLocation = #_sourceLocation
    ) throws {
        let before = Files.names(directory.path)
        var arguments = [verb, directory.at("model").string] + (text ?? ["--ids", directory.at("ids.npy").string])
        arguments += ["--context", "32"] + options
        if verb == "calibrate" { arguments += ["-o", directory.at("m.safetensors").string] }
        let result = try IngotProcess.run(arguments)
        #expect(result.status == status && result.output.isEmpty, "\(word): \(result)", sourceLocation: location)
        // A warning may come before it.
        let error = result.errors.split(separator: "\n").first { $0.hasPrefix("error: ") }
        #expect(
            error?.hasPrefix("error: \(code): ") == true, "\(word): \(result.errors)", sourceLocation: location)
        #expect(result.errors.contains(word), "\(word): \(result.errors)", sourceLocation: location)
        #expect(Files.names(directory.path) == before, sourceLocation: location)
    }

    private func refused(
        configuration: String, _ code: String, _ word: String, location: SourceLocation = #_sourceLocation
    ) throws {
        try Files.write(configuration, to: directory.at("model/config.json"))
        for verb in ["evaluate", "calibrate"] {
            try refusal(verb, status: 65, code, word, location: location)
        }
    }

    /// E01
    @Test func noConfiguration() throws {
        try Directory.removeFile(directory.at("model/config.json"))
        for verb in ["evaluate", "calibrate"] { try refusal(verb, status: 65, "missingField", "no config.json") }
        let good = TinyModel.configuration()
        for (text, code) in [
            ("", "headerSyntax"), ("[]", "headerSyntax"), ("null", "headerSyntax"), ("{}", "unsupportedSource"),
            (String(good.dropLast()), "headerSyntax"), (good + "{}", "trailingBytes"),
            ("\u{FEFF}" + good, "headerSyntax"),
            (good.replacing("{", with: #"{"hidden_size": 24, "#), "duplicateKey"),
            (good.replacing("{", with: #"{"x": "# + String(repeating: "[", count: 100_000)), "nestingTooDeep"),
        ] {
            try refused(configuration: text, code, "config.json")
        }
        try Files.write([0x7B, 0xFF, 0x7D], to: directory.at("model/config.json"))
        try refusal("evaluate", status: 65, "headerSyntax", "config.json")
    }

    /// E02, E03, E04, E05: a member of the configuration, and what is said of it.
    @Test(arguments: [
        ("num_attention_heads", "0", "valueOutOfRange", "num_attention_heads"),
        ("num_attention_heads", "-4", "valueOutOfRange", "num_attention_heads"),
        ("num_hidden_layers", "65537", "valueOutOfRange", "65536"),
        ("hidden_size", "9223372036854775808", "valueOutOfRange", "hidden_size"),
        ("hidden_size", "18446744073709551616", "valueOutOfRange", "hidden_size"),
        ("hidden_size", "1e400", "valueOutOfRange", "beyond binary64"),
        ("hidden_size", "\"24\"", "valueOutOfRange", "\"24\""), ("hidden_size", "24.5", "valueOutOfRange", "24.5"),
        ("hidden_size", "true", "valueOutOfRange", "hidden_size"),
        ("intermediate_size", "null", "missingField", "intermediate_size"),
        ("intermediate_size", "[40]", "valueOutOfRange", "[40]"), ("vocab_size", "0", "valueOutOfRange", "vocab_size"),
        ("max_position_embeddings", "0", "valueOutOfRange", "max_position_embeddings"),
        ("rms_norm_eps", "NaN", "headerSyntax", "config.json"), ("rms_norm_eps", "\"NaN\"", "valueOutOfRange", "NaN"),
        ("rms_norm_eps", "0", "valueOutOfRange", "epsilon"), ("rms_norm_eps", "-1e-5", "valueOutOfRange", "epsilon"),
        ("rope_theta", "0", "valueOutOfRange", "rotary base"), ("rope_theta", "1e13", "valueOutOfRange", "rotary base"),
        ("rope_theta", "-Infinity", "headerSyntax", "config.json"),
        ("tie_word_embeddings", "\"yes\"", "valueOutOfRange", "tie_word_embeddings"),
        ("rope_scaling", "\"linear\"", "valueOutOfRange", "rope_scaling"),
        ("rope_scaling", #"{"type": "linear", "factor": -2}"#, "valueOutOfRange", "factor"),
        ("hidden_act", "\"gelu\"", "unsupportedSource", "gelu"), ("hidden_act", "3", "valueOutOfRange", "hidden_act"),
        ("model_type", "\"gemma3\"", "unsupportedSource", "gemma3"),
        ("model_type", "7", "valueOutOfRange", "model_type"),
        ("model_type", "null", "unsupportedSource", "(none)"),
        ("rope_scaling", #"{"rope_type": "yarn", "factor": 2}"#, "unsupportedSource", "yarn"),
        ("num_attention_heads", "5", "missingField", "head_dim"),
        ("num_key_value_heads", "3", "valueOutOfRange", "key-value"), ("head_dim", "5", "valueOutOfRange", "length 5"),
        ("num_hidden_layers", "3", "missingField", "model.layers.2"),
        ("num_hidden_layers", "65536", "missingField", "model.layers.2"),
        ("num_hidden_layers", "1", "valueOutOfRange", "a layer 1"),
        ("vocab_size", "531", "invalidShape", "model.embed_tokens.weight"),
        ("vocab_size", "16777216", "invalidShape", "16777216x24"),
        ("hidden_size", "16777216", "invalidShape", "530x16777216"), ("head_dim", "4", "invalidShape", "q_proj"),
        ("head_dim", "16777216", "invalidShape", "q_proj"), ("intermediate_size", "41", "invalidShape", "gate_proj"),
        ("attention_bias", "true", "missingField", "q_proj.bias"),
        ("model_type", "\"mixtral\"", "missingField", "block_sparse_moe"),
    ])
    func member(key: String, value: String, code: String, word: String) throws {
        try refused(configuration: TinyModel.configuration(changes: [key: value]), code, word)
    }

    /// E05: 65536 layers, and two tensors.
    @Test func layersWithoutTensors() throws {
        let embedding = TinyModel.tensors().filter { $0.name.contains("embed") || $0.name == "model.norm.weight" }
        try SampleSource.writeShard(embedding, to: directory.at("model/model.safetensors"))
        try refused(
            configuration: TinyModel.configuration(changes: ["num_hidden_layers": "65536"]), "missingField",
            "model.layers.0")
    }

    /// E06
    @Test func texts() throws {
        func text(_ bytes: [UInt8], _ name: String = "t.txt", _ option: String = "--text") throws -> [String] {
            try Files.write(bytes, to: directory.at(name))
            return [option, directory.at(name).string]
        }
        let good = [UInt8](repeating: 0x61, count: 400)
        for verb in ["evaluate", "calibrate"] {
            try refusal(
                verb, text: text(good + [0xC3, 0x28]), status: 65, "textInvalid", "t.txt, byte offset 400")
            try refusal(verb, text: text([]), status: 65, "textInvalid", "t.txt")
            try refusal(verb, text: text([0x61, 0x62]), status: 65, "textInvalid", "t.txt")
            let (numbers, zeros) = ([UInt8](repeating: 1, count: 400), [UInt8](repeating: 0, count: 400))
            func ids(_ type: String, _ shape: String, _ data: [UInt8]) throws -> [String] {
                try text(TinyModel.npy(type, shape, data), "t.npy", "--ids")
            }
            try refusal(
                verb, text: ids("<i4", "(100,)", zeros.dropLast(4) + [0x12, 2, 0, 0]), status: 65, "valueOutOfRange",
                "the id 530")
            try refusal(
                verb, text: ids("<i4", "(100,)", [0xFF, 0xFF, 0xFF, 0xFF] + zeros.dropFirst(4)), status: 65,
                "valueOutOfRange", "the id -1")
            try refusal(verb, text: ids("<f4", "(100,)", zeros), status: 65, "unsupportedSource", "F32")
            try refusal(verb, text: ids(">i4", "(100,)", zeros), status: 65, "unsupportedSource", "t.npy")
            try refusal(verb, text: ids("<i4", "(10,5,2)", zeros), status: 65, "invalidShape", "10")
            try refusal(verb, text: ids("<i4", "(0,)", []), status: 65, "valueOutOfRange", "0 ids")
            try refusal(verb, text: ids("<i4", "(101,)", zeros), status: 65, "invalidOffsets", "t.npy")
            // A context that is not filled.
            try refusal(
                verb, text: ids("|u1", "(31,)", Array(numbers.prefix(31))), status: 65, "textInvalid", "t.npy")
        }
    }

    /// E07: a context that is none, or longer than that of the model.
    @Test func contexts() throws {
        for verb in ["evaluate", "calibrate"] {
            for context in ["0", "1", "-512", "-9223372036854775808"] {
                try refusal(verb, ["--context=\(context)"], status: 64, "usage", "context")
            }
            for context in ["65", "9223372036854775807"] {
                try refusal(verb, ["--context", context], status: 64, "usage", "a context of \(context) tokens")
                try refusal(verb, ["--context", context], status: 64, "usage", "at most 64, the longest")
            }
            try refusal(verb, ["--context", "9223372036854775808"], status: 64, "usage", "--context")
            try refusal(verb, ["--tokens", "-1"], status: 64, "usage", "--tokens")
            try refusal(verb, ["--max-memory", "1MiB"], status: 64, "usage", "at least ")
        }
        try refusal("evaluate", ["--unscored=-1"], status: 64, "usage", "-1 of them not scored")
        try refusal("evaluate", ["--unscored", "31"], status: 64, "usage", "31 of them not scored")
    }

    /// E08: what stands beside the output is refused or taken up, and never written over.
    @Test func unfinishedFiles() throws {
        let names = ["tmp", "journal", "lock"].map { directory.at(".m.safetensors.ingot-\($0)") }
        let run = [
            "calibrate", directory.at("model").string, "--ids", directory.at("ids.npy").string, "--context", "32", "-o",
            directory.at("m.safetensors").string, "--quiet",
        ]
        // Nobody's journal.
        try Files.write("no journal of ours", to: names[1])
        let foreign = try IngotProcess.run(run)
        #expect(foreign.status == 0 || foreign.status == 73, "\(foreign.errors)")
        if foreign.status == 73 { #expect(try Files.read(names[1]) == Array("no journal of ours".utf8)) }
        for path in names { try? Directory.removeFile(path) }
        try? Directory.removeFile(directory.at("m.safetensors"))
        // Directories in place of files.
        for path in names {
            try Directory.create(path)
            let result = try IngotProcess.run(run)
            #expect(result.status == 73, "\(path): \(result.errors)")
            try Directory.removeTree(path)
            for path in names { try? Directory.removeFile(path) }
        }
        // A run that another holds up, then one with other options.
        let stopped = try IngotProcess.shell(
            #"ulimit -f 16; "$INGOT" "$@""#, run)
        #expect(stopped.status == 74, "\(stopped.errors)")
        let other = try IngotProcess.run(run + ["--blocks", "blocks:8"])
        #expect(other.status == 73 && other.errors.contains("an unfinished file of another model"), "\(other.errors)")
        // A damaged unfinished file is gathered again.
        var bytes = try Files.read(names[0])
        let whole = bytes.count
        for index in bytes.indices where index > 4000 { bytes[index] ^= 0xFF }
        try Files.write(Array(bytes.prefix(whole - 3)), to: names[0])
        #expect(try IngotProcess.run(run).status == 0)
        let first = try Files.read(directory.at("m.safetensors"))
        #expect(try IngotProcess.run(run + ["--force"]).status == 0)
        #expect(try Files.read(directory.at("m.safetensors")) == first)
    }
}
