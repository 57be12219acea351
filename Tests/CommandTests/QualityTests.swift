import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Claims about quality, measured by `verify` or read from an evaluation: SampleWeights at 4 and 3 bits.
@Suite(.serialized) struct QualityTests {
    private static let weights = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().appending("SampleWeights").string
    private static let text = weights + "/heldout-code.txt"

    private let directory: TemporaryDirectory
    private let sealed: String, evaluation: String, claims: FilePath

    init() throws {
        directory = try TemporaryDirectory()
        sealed = directory.at("sealed").string
        evaluation = directory.at("evaluation.json").string
        claims = directory.at("claims.json")
        #expect(try IngotProcess.run(["convert", QualityTests.weights, sealed, "--bits", "4", "-q"]).status == 0)
    }

    private func evaluate(_ model: String, _ arguments: [String] = []) throws {
        let done = try IngotProcess.run(
            [
                "evaluate", model, "--against", QualityTests.weights, "--text", QualityTests.text, "--tokens", "2048",
                "--format", "json", "-o", evaluation,
            ] + arguments)
        #expect(done.status == 0, "\(done.errors)")
    }

    private func verify(_ arguments: [String]) throws -> Subprocess.Result {
        try IngotProcess.run(["verify", sealed, "--claims", claims.string] + arguments)
    }

    /// What an evaluation says passes and fails as its figures do; the same claims measured again agree.
    @Test func measuredAndRead() throws {
        try evaluate(sealed)
        let json = try JSONValue.parse(Files.read(FilePath(evaluation)))
        let found = try #require(json["texts"]?.array?.first)
        guard case .number(let value)? = found["kl"]?["value"], let hash = found["text_xxh3_128"]?.string else {
            Issue.record("no divergence")
            return
        }
        func claim(_ limit: Double, _ more: String = "") -> String {
            #"{"claim": "max_kl", "limit": \#(limit), "text": "\#(hash)"\#(more)}"#
        }
        let read = ["--evaluation", evaluation]
        let measured = ["--against", QualityTests.weights, "--text", QualityTests.text, "--tokens", "2048"]
        for arguments in [read, measured] {
            try ClaimsTests.write(claim(value * 1.001), to: claims)
            let held = try verify(arguments)
            #expect(held.status == 0 && held.output.contains("PASS  max_kl"), "\(held)")
            try ClaimsTests.write(claim(value * 0.999), to: claims)
            let missed = try verify(arguments)
            #expect(missed.status == 1 && missed.output.contains("FAIL  max_kl"), "\(missed)")
            // The bound at 95 % is above the measured value.
            try ClaimsTests.write(claim(value * 1.001, #", "confidence": 0.95"#), to: claims)
            #expect(try verify(arguments).status == 1)
        }
        try ClaimsTests.write(claim(1).replacing(hash, with: String(hash.reversed())), to: claims)
        #expect(try verify(read).status == 1, "another text")
        try ClaimsTests.write(claim(0), to: claims)
        #expect(try verify([]).output.contains("SKIP  max_kl"))
        let made = directory.at("made.json").string
        let update = try IngotProcess.run(
            ["verify", sealed, "--claims", made, "--update-baseline", "--evaluation", evaluation])
        #expect(update.status == 0 && update.output.contains("max_perplexity_ratio"), "\(update)")
        #expect(try IngotProcess.run(["verify", sealed, "--claims", made, "--evaluation", evaluation]).status == 0)
    }

    /// What `evaluate` prints, with its measured digits masked: they differ in the last places from processor to processor.
    @Test(arguments: ["text", "csv", "json"]) func goldens(format: String) throws {
        let done = try IngotProcess.run([
            "evaluate", sealed, "--against", QualityTests.weights, "--text", QualityTests.text, "--text",
            QualityTests.text.replacing("code", with: "prose"), "--tokens", "1024", "--format", format,
        ])
        #expect(done.status == 0 && done.errors.isEmpty, "\(done.errors)")
        let masked = done.output.replacing(directory.path.string, with: "...")
            .replacing(QualityTests.weights, with: "SampleWeights")
            .replacing(/\d+\.\d+(e-\d+)?|\d+e-\d+/, with: "#")
            .replacing(/("weights_xxh3_128": ")[0-9a-f]+/) { $0.output.1 + "#" }
        try Golden.expect(masked, "evaluate.\(format == "text" ? "txt" : format)")
    }

    /// An evaluation of another checkpoint, of another reference, of another tokenizer, and files that are none.
    @Test func otherSubjects() throws {
        try ClaimsTests.write(#"{"claim": "max_kl", "limit": 9}"#, to: claims)
        func refused(_ word: String) throws {
            let done = try verify(["--evaluation", evaluation])
            #expect(done.status == 65 && done.errors.contains("reportInvalid") && done.errors.contains(word), "\(done)")
        }
        let other = directory.at("other").string
        #expect(try IngotProcess.run(["convert", QualityTests.weights, other, "--bits", "3", "-q"]).status == 0)
        try evaluate(other)
        try refused("model.weights_xxh3_128")
        // A checkpoint made from the same source is not the source.
        let done = try IngotProcess.run([
            "evaluate", sealed, "--against", other, "--text", QualityTests.text, "--tokens", "1024", "--format", "json",
            "-o", evaluation,
        ])
        #expect(done.status == 0)
        try refused("reference.weights_xxh3_128")
        try evaluate(sealed)
        let json = String(decoding: try Files.read(FilePath(evaluation)), as: UTF8.self)
        let tokenizer = try #require(try JSONValue.parse(Array(json.utf8))["tokenizer_xxh3_128"]?.string)
        try Files.write(json.replacing(tokenizer, with: String(tokenizer.reversed())), to: FilePath(evaluation))
        try refused("tokenizer_xxh3_128")
        try Files.write(json.replacing("ingot.evaluate", with: "ingot.verify"), to: FilePath(evaluation))
        try refused("schema")
        try Files.write("{", to: FilePath(evaluation))
        try refused("expected: the JSON of an evaluation")
        // Options that mean nothing together.
        for arguments in [
            ["verify", sealed, "--text", QualityTests.text],
            ["verify", sealed, "--claims", claims.string, "--text", QualityTests.text],
            ["verify", sealed, "--claims", claims.string, "--evaluation", evaluation, "--ids", "x.npy"],
        ] {
            #expect(try IngotProcess.run(arguments).status == 64, "\(arguments)")
        }
    }
}
