import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot plan --calibration-tokens`: what it predicts about `calibrate` and `evaluate`.
@Suite struct CalibrationPlanTests {
    private let directory: TemporaryDirectory
    private var model: String { directory.at("model").string }

    init() throws { directory = try TemporaryDirectory() }

    private func plan(_ options: [String]) throws -> JSONValue {
        let result = try IngotProcess.run(
            ["plan", model, "--calibration-tokens", "2048", "--context", "32", "--format", "json", "-q"] + options)
        #expect(result.status == 0, "\(result.errors)")
        let json = try JSONValue.parse(Array(result.output.utf8))
        return try #require(json["calibration"])
    }

    private func number(_ value: JSONValue?) -> Double {
        if case .number(let number) = value { return number }
        return value?.unsigned.map { Double($0) } ?? .nan
    }

    /// Operations are those that the shapes say. Of a matrix W, 2 for each weight and token.
    @Test(arguments: [false, true], ["usual", "diagonal", "blocks:16"])
    func operations(isMixture: Bool, blocks: String) throws {
        try TinyModel.write(to: directory.at("model"), isMixture: isMixture)
        let json = try plan(["--blocks", blocks, "--jobs", "1", "--gradient-tokens", "0"])
        #expect(number(json["tokens"]) == 2048 && number(json["sequences"]) == 64 && number(json["jobs"]) == 1)
        #expect(number(json["states_bytes"]) == 2048 * 24 * 4)
        // Queries, keys, values, output; gate, up, down, of a mixture those of two experts and the router.
        let weights = 24 * (24 + 12 + 12 + 24) + (isMixture ? 2 * 3 * 40 * 24 + 4 * 24 : 3 * 40 * 24)
        let forward = 2 * weights * 2 * 2048
        let attention = 4 * 24 * (32 * 32) * 64 * 2
        func squares(_ columns: Int) -> Int {
            switch blocks {
            case "usual": columns * columns
            case "blocks:16": columns / 16 * 256 + (columns % 16) * (columns % 16)
            default: 0
            }
        }
        // A mixture has the feed-forward input of all tokens, and those of the experts, two for each token.
        let perLayer = isMixture ? 3 * squares(24) + 2 * (squares(24) + squares(40)) : 3 * squares(24) + squares(40)
        let moments = 2048 * (2 * perLayer + squares(24))
        let head = 2 * 24 * 530 * 64 * 15
        #expect(number(json["calibrate"]?["operations"]) == Double(forward + attention + moments))
        #expect(number(json["evaluate"]?["operations"]) == Double(forward + attention + head))
        for run in ["calibrate", "evaluate"] { #expect(number(json[run]?["seconds"]) > 0) }
        #expect(number(json["operations_per_second"]) > 0)
        #expect((json["moment_operations_per_second"] == .null) == (blocks == "diagonal"))
        #expect(json["gradients"] == .null && number(json["calibrate"]?["seconds_of"]?["gradients"]) == 0)
        // Forwards twice, the second time without down; backwards once, without the router; the head three times.
        let more = try plan(["--blocks", blocks, "--jobs", "1", "--gradient-tokens", "1040"])
        let (down, router) = (isMixture ? 2 * 40 * 24 : 40 * 24, isMixture ? 4 * 24 : 0)
        let products = 2 * (3 * weights - down - router) * 2 * 1024 + 3 * 2 * 24 * 530 * 1024
        let gradients = Double(products) + 4.5 * Double(attention / 2)
        #expect(number(more["calibrate"]?["operations"]) == Double(forward + attention + moments) + gradients)
        #expect(number(more["evaluate"]?["operations"]) == number(json["evaluate"]?["operations"]))
        #expect(number(more["gradients"]?["tokens"]) == 1024)
        #expect(number(more["gradients"]?["states_bytes"]) == 1024 * 24 * 4 * 3)
    }

    /// The least memory is enough, and a byte less is refused. The file of moments has the predicted size.
    @Test(arguments: [false, true]) func memoryAndFile(isMixture: Bool) throws {
        try TinyModel.write(to: directory.at("model"), isMixture: isMixture)
        try Files.write(TinyModel.ids(2048), to: directory.at("ids.npy"))
        let json = try plan([])
        let moments = directory.at("m.safetensors")
        for (verb, options) in [("calibrate", ["-o", moments.string]), ("evaluate", [])] {
            let least = try #require(json[verb]?["least_memory_bytes"]?.unsigned)
            func run(_ memory: UInt64) throws -> Int32 {
                try IngotProcess.run(
                    [
                        verb, model, "--ids", directory.at("ids.npy").string, "--context", "32", "--max-memory",
                        "\(memory)",
                    ] + options
                ).status
            }
            #expect(try run(least - 1) == 64)
            #expect(try run(least) == 0)
            #expect(number(json[verb]?["passes"]) == 1 && json[verb]?["states_in_memory"] == .bool(true))
        }
        let size = Double(try Files.read(moments).count)
        // The names and hashes of texts are not known before.
        #expect(abs(number(json["moments_bytes"]) - size) < 300)
        let tight = try plan(["--calibration-memory", "1"])
        #expect(tight["evaluate"]?["memory_bytes"] == tight["evaluate"]?["least_memory_bytes"])
        #expect(number(tight["evaluate"]?["passes"]) == 64)
    }

    @Test func text() throws {
        try TinyModel.write(to: directory.at("model"))
        let plain = try IngotProcess.run(["plan", model])
        #expect(!plain.output.contains("calibrate"))
        let result = try IngotProcess.run(["plan", model, "--calibration-tokens", "100000", "--context", "64"])
        #expect(result.status == 0 && result.output.hasPrefix(plain.output.dropLast()), "\(result.errors)")
        for words in [
            "calibrate and evaluate: 99,968 tokens in sequences of 64", "GFLOP/s in ", "measured",
            "calibrate         about ", "MiB at least", "states 9.60 MB in memory", "file of moments",
            "gradients         16,384 tokens, states of all layers 4.72 MB in memory",
        ] {
            #expect(result.output.contains(words), "\(words): \(result.output)")
        }
        let json = try IngotProcess.run(["plan", model, "--format", "json"])
        #expect(try JSONValue.parse(Array(json.output.utf8))["calibration"] == .null)
    }

    @Test func refused() throws {
        try TinyModel.write(to: directory.at("model"))
        func refusal(_ options: [String], _ status: Int32, _ word: String) throws {
            let result = try IngotProcess.run(["plan", model] + options)
            #expect(result.status == status && result.output.isEmpty && result.errors.contains(word), "\(result)")
        }
        for tokens in ["63", "-5", "0", "68719476737", "9223372036854775807"] {
            let options = ["--calibration-tokens=\(tokens)", "--context", "32"]
            try refusal(options, 64, "\(tokens) tokens in sequences of 32")
        }
        for context in ["0", "-1", "1"] {
            try refusal(["--calibration-tokens", "100", "--context=\(context)"], 64, "sequences of \(context)")
        }
        try refusal(["--calibration-tokens", "1000", "--context", "65"], 64, "at most 64")
        for option in [["--context", "32"], ["--blocks", "full"], ["--calibration-memory", "1GiB"]] {
            try refusal(option, 64, "need --calibration-tokens")
        }
        try Files.write("{}", to: directory.at("model/config.json"))
        try refusal(["--calibration-tokens", "1000"], 65, "unsupportedSource")
        try Directory.removeFile(directory.at("model/config.json"))
        try refusal(["--calibration-tokens", "1000"], 65, "no config.json")
        #expect(Files.names(directory.path) == ["model"])
    }
}
