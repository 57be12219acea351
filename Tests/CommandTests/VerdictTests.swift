import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// One run has one verdict, in every format, on the first and on the last line. PASS needs something that could fail.
@Suite struct VerdictTests {
    /// Two models of the same shapes with other weights: `a` and `b`.
    private static func twoModels() throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        for (name, seed) in [("a", UInt64(1)), ("b", 2)] {
            try SampleSource.write(
                [
                    [
                        SampleTensor("x.weight", .f16, [128, 64], seed: seed),
                        SampleTensor("y.weight", .f16, [64, 64], seed: seed),
                    ]
                ],
                to: directory.at(name))
        }
        return directory
    }

    private static func verify(_ arguments: [String], _ format: String) throws -> (status: Int32, output: String) {
        let result = try IngotProcess.run(["verify"] + arguments + ["--format", format])
        return (result.status, result.output)
    }

    /// The formats, and a text in each that states a verdict.
    private static let formats: [(format: String, mark: @Sendable (String) -> String)] = [
        ("text", { "\n\($0): " }), ("json", { "\"verdict\": \"\($0)\"" }),
        ("html", { "\"verdict\": \"\($0)\"" }), ("markdown", { "**\($0)**: " }), ("github", { "ingot: \($0): " }),
        ("junit", { "\($0): " }),
    ]

    private static func expect(
        _ verdict: String, _ arguments: [String], status: Int32, location: SourceLocation = #_sourceLocation
    ) throws {
        for (format, mark) in formats {
            let result = try verify(arguments, format)
            #expect(result.status == status, "\(format): \(result.output)", sourceLocation: location)
            #expect(result.output.contains(mark(verdict)), "\(format): \(result.output)", sourceLocation: location)
            for other in ["PASS", "FAIL", "COMPARED"] where other != verdict {
                #expect(!result.output.contains(mark(other)), "\(format): \(result.output)", sourceLocation: location)
            }
        }
        let text = try verify(arguments, "text").output.split(separator: "\n")
        #expect(text.contains { $0.hasPrefix("\(verdict)  ") }, "\(text)", sourceLocation: location)
        #expect(text.last?.hasPrefix("\(verdict): ") == true, "\(text)", sourceLocation: location)
        let junit = try verify(arguments, "junit").output
        #expect(junit.contains("<failure") == (verdict == "FAIL"), "\(junit)", sourceLocation: location)
    }

    /// Whatever the weights are, and whichever is named first: nothing judges them.
    @Test func twoPlainCheckpoints() throws {
        let directory = try VerdictTests.twoModels()
        let (a, b) = (directory.at("a").string, directory.at("b").string)
        for pair in [[a, "--against", b], [b, "--against", a], [a, "--against", a]] {
            try VerdictTests.expect("COMPARED", pair, status: 0)
            let junit = try VerdictTests.verify(pair, "junit").output
            #expect(
                junit.contains("failures=\"0\"") && junit.contains("skipped=\"3\"")
                    && junit.contains("--max-relative-mse"))
        }
    }

    /// A limit or a claim can fail, so that it can pass, too.
    @Test func limits() throws {
        let directory = try VerdictTests.twoModels()
        let (a, b) = (directory.at("a").string, directory.at("b").string)
        try VerdictTests.expect("FAIL", [a, "--against", b, "--max-relative-mse", "0.5"], status: 1)
        try VerdictTests.expect("PASS", [a, "--against", b, "--max-relative-mse", "4"], status: 0)
        try VerdictTests.expect("PASS", [a, "--against", a, "--max-relative-mse", "0"], status: 0)
        let claims = directory.at("claims.json")
        for (claim, verdict) in [
            (#"{"claim": "min_cosine", "limit": 0.9}"#, "FAIL"), (#"{"claim": "min_cosine", "limit": -1}"#, "PASS"),
            (#"{"claim": "min_cosine", "limit": 0.9, "level": "off"}"#, "COMPARED"),
            (#"{"claim": "max_peak_memory", "limit": 1}"#, "COMPARED"),
        ] {
            try ClaimsTests.write(claim, to: claims)
            try VerdictTests.expect(
                verdict, [a, "--against", b, "--claims", claims.string], status: verdict == "FAIL" ? 1 : 0)
        }
        for bad in ["-1", "nan", "x"] {
            #expect(try IngotProcess.run(["verify", a, "--against", b, "--max-relative-mse=\(bad)"]).status == 64)
        }
    }

    /// Bytes, certificates and the source of a conversion could fail; a failed claim overrides them.
    @Test func conversions() async throws {
        let sample = try await CommandSample()
        let sealed = sample.sealed.string
        try VerdictTests.expect("PASS", [sealed], status: 0)
        try VerdictTests.expect("PASS", [sealed, "--against", sample.source.string], status: 0)
        try VerdictTests.expect(
            "FAIL", [sealed, "--against", sample.source.string, "--max-relative-mse", "1e-9"], status: 1)
        try VerdictTests.expect("FAIL", [sealed, "--max-relative-mse", "1e-9"], status: 1)
    }

    /// Another source is told in a sentence, without figures that were not measured.
    @Test func otherSource() async throws {
        let sample = try await CommandSample()
        let tensors = try Verbs.tensors(sample.source).values.sorted { $0.name < $1.name }
        let others = tensors.map { tensor in
            SampleTensor(tensor.name, tensor.type, tensor.shape, bytes: tensor.bytes.map { $0 ^ 1 })
        }
        let short = tensors.map { tensor in
            SampleTensor(tensor.name, tensor.type, [tensor.bytes.count * 8 / tensor.type.bitWidth], bytes: tensor.bytes)
        }
        for (name, tensors) in [("others", others), ("short", short)] {
            let source = try SampleSource.write([tensors], to: sample.directory.at(name))
            let result = try IngotProcess.run(["verify", sample.sealed.string, "--against", source.string])
            #expect(result.status == 1)
            #expect(
                result.output.hasPrefix("FAIL  the source is not the checkpoint that was converted"), "\(result.output)"
            )
            #expect(!result.output.contains("measured") && !result.output.contains("rel MSE"), "\(result.output)")
            #expect(result.errors.split(separator: "\n").count { $0.hasPrefix("error:") } == 1, "\(result.errors)")
        }
    }

    // MARK: - Several reports of one run

    private static let files = [
        ("json", "json"), ("html", "html"), ("csv", "csv"), ("markdown", "md"), ("junit", "xml"), ("sarif", "sarif"),
    ]

    /// Each file has the text that `--format` prints; only times differ.
    @Test func reportsOfOneRun() async throws {
        let sample = try await CommandSample()
        let arguments = [sample.sealed.string, "--against", sample.source.string, "--max-relative-mse", "1e-9"]
        let options = VerdictTests.files.flatMap { ["--\($0.0)", sample.at("report.\($0.1)")] }
        let result = try IngotProcess.run(["verify"] + arguments + options + ["--github"])
        #expect(result.status == 1 && result.output.contains("ingot: FAIL: 1 failed"), "\(result.errors)")
        for (format, ending) in VerdictTests.files {
            let written = String(decoding: try Files.read(FilePath(sample.at("report.\(ending)"))), as: UTF8.self)
            let printed = try VerdictTests.verify(arguments, format).output
            #expect(abs(written.count - printed.count) < 60 && written.prefix(40) == printed.prefix(40), "\(format)")
        }
        // One file for two reports, and a report over an input.
        let twice = ["--json", sample.at("same"), "--csv", sample.at("same")]
        #expect(try IngotProcess.run(["verify"] + arguments + twice).status == 64)
        let over = ["--json", sample.sealed.appending("config.json").string]
        #expect(try IngotProcess.run(["verify"] + arguments + over).status != 0)
    }

    /// Reports are written about damaged bytes, too, and say FAIL.
    @Test func reportsOfDamage() async throws {
        let sample = try await CommandSample()
        let shard = sample.sealed.appending("model-00001-of-00002.safetensors")
        let size = try Files.read(shard).count
        try Files.patch([0xAA, 0x55, 0xAA], at: size / 2, in: shard)
        let options = VerdictTests.files.flatMap { ["--\($0.0)", sample.at("report.\($0.1)")] }
        let result = try IngotProcess.run(["verify", sample.sealed.string] + options)
        #expect(result.status == 65 && result.errors.hasPrefix("error: "), "\(result.errors)")
        func text(_ ending: String) throws -> String {
            String(decoding: try Files.read(FilePath(sample.at("report.\(ending)"))), as: UTF8.self)
        }
        let json = try JSONValue.parse(Array(try text("json").utf8))
        #expect(json["verdict"]?.string == "FAIL" && json["intact"]?.bool == false && json["holds"]?.bool == false)
        #expect(json["failures"]?.array?.count == 1)
        #expect(try text("html").contains("\"verdict\": \"FAIL\"") && text("md").contains("**FAIL**"))
        #expect(try text("csv").hasPrefix("tensor,") && text("xml").contains("<failure"))
        #expect(try text("sarif").contains("bytes_intact"))
    }
}
