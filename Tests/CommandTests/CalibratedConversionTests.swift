import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot convert --calibration` on SampleWeights, as a process.
@Suite(.serialized) struct CalibratedConversionTests {
    private static let model = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().appending("SampleWeights")

    /// Moments of SampleWeights, gathered once, and the importance matrices beside them.
    private struct Gathered {
        let directory: TemporaryDirectory
        var moments: String { directory.at("m.safetensors").string }
        func imatrix(_ name: String) -> String { directory.at(name).string }

        init() throws {
            directory = try TemporaryDirectory.untilExit()
            let model = CalibratedConversionTests.model
            let result = try IngotProcess.run([
                "calibrate", model.string, "--text", model.appending("heldout-prose.txt").string, "--tokens", "1024",
                "-o", directory.at("m.safetensors").string, "--imatrix", directory.at("i.gguf").string, "--quiet",
            ])
            #expect(result.status == 0, "\(result.errors)")
        }
    }

    private static let gathered = Result { try Gathered() }

    private func run(_ source: String, _ target: FilePath, _ options: [String], environment: [String: String] = [:])
        throws -> Subprocess.Result
    {
        try Subprocess(
            IngotProcess.program, (["convert", source, target.string, "--quiet"] + options).map { Array($0.utf8) },
            environment: IngotProcess.environment.merging(environment) { $1 }
        ).wait()
    }

    /// The same bytes with any number of jobs, memory and instruction set.
    @Test func sameBytes() throws {
        let moments = try CalibratedConversionTests.gathered.get().moments
        let directory = try TemporaryDirectory()
        var expected: [String: [UInt8]]?
        let runs: [(options: [String], kernels: String?)] = [
            (["--jobs", "1"], nil), (["--jobs", "3", "--max-memory", "96MiB"], nil), (["--jobs", "2"], "sse2"),
            (["--jobs", "2"], "avx2"), (["--jobs", "2"], "avx512"),
        ]
        for (number, run) in runs.enumerated() {
            let target = directory.at("\(number)")
            let result = try self.run(
                CalibratedConversionTests.model.string, target,
                ["--calibration", moments, "--bits", "3", "--codec", "rans"] + run.options,
                environment: run.kernels.map { ["INGOT_KERNELS": $0] } ?? [:])
            #expect(result.status == 0, "\(run): \(result.errors)")
            let files = try Files.snapshot(target)
            if let expected {
                #expect(files.keys.sorted() == expected.keys.sorted(), "\(run)")
                for (name, bytes) in files { #expect(bytes == expected[name], "\(run): \(name)") }
            } else {
                expected = files
            }
        }
    }

    /// What plan forecasts is what convert makes, within one percent; the least memory that it names is enough, and 1 MiB less is refused.
    @Test(arguments: [["--bits", "3"], ["--bits", "2.5", "--sample"], ["--target-size", "2MB"]])
    func forecast(options: [String]) throws {
        let gathered = try CalibratedConversionTests.gathered.get()
        let directory = try TemporaryDirectory()
        let model = CalibratedConversionTests.model.string
        let calibration = ["--calibration", gathered.moments]
        let planned = try IngotProcess.run(["plan", model, "--format", "json", "-q"] + calibration + options)
        #expect(planned.status == 0, "\(planned.errors)")
        let plan = try JSONValue.parse(Array(planned.output.utf8))
        let tensors = plan["tensors"]?.array ?? []
        let plain = tensors.filter { $0["calibrated"] == .bool(false) }.compactMap { $0["name"]?.string }
        #expect(plan["calibrated"] == .bool(true) && plain == ["model.embed_tokens.weight"])
        #expect(plan["sampled"] == .bool(options != ["--bits", "3"]))
        let least = try #require(plan["least_memory_bytes"]?.unsigned) >> 20
        let rate = options.filter { $0 != "--sample" } + calibration
        let refused = try run(model, directory.at("less"), rate + ["--max-memory", "\(least - 1)MiB"])
        #expect(refused.status == 64 && refused.errors.contains("at least \(least)MiB"), "\(refused.errors)")
        let target = directory.at("q")
        let made = try run(model, target, rate + ["--max-memory", "\(least)MiB"])
        #expect(made.status == 0, "\(made.errors)")
        let shards = try Files.snapshot(target).filter { $0.key.hasSuffix(".safetensors") }
        let bytes = Double(shards.reduce(0) { $0 + $1.value.count })
        let forecast = Double(try #require(plan["output_bytes"]?.unsigned))
        #expect((forecast / bytes - 1).magnitude < 0.01, "\(forecast), then \(bytes)")
    }

    /// Convert and plan refuse what a calibrated conversion does not have.
    @Test(arguments: [["--scheme", "uniform"], ["--relative-mse", "1e-2"], ["--codec", "lz4"], ["--codec", "none"]])
    func refusals(options: [String]) throws {
        let gathered = try CalibratedConversionTests.gathered.get()
        let directory = try TemporaryDirectory()
        let model = CalibratedConversionTests.model.string
        for command in [["convert", model, directory.at("q").string], ["plan", model]] {
            let result = try IngotProcess.run(command + ["--calibration", gathered.moments] + options)
            #expect(result.status == 64 && result.errors.contains("A calibrated conversion needs"), "\(result.errors)")
        }
        #expect(Files.names(directory.path).isEmpty)
    }

    /// At few bits no matrix gets so little that its certificate cannot hold.
    @Test(arguments: ["1", "1.4"]) func fewBits(bits: String) throws {
        let gathered = try CalibratedConversionTests.gathered.get()
        let directory = try TemporaryDirectory()
        let result = try run(
            CalibratedConversionTests.model.string, directory.at("q"),
            ["--calibration", gathered.moments, "--bits", bits])
        #expect(result.status == 0, "\(result.errors)")
    }

    /// The time of factors, search and products, in the text where it was asked for, and in JSON; none without calibration.
    @Test func times() throws {
        let moments = try CalibratedConversionTests.gathered.get().moments
        let directory = try TemporaryDirectory()
        let model = CalibratedConversionTests.model.string
        let start = [
            "convert", model, directory.at("q").string, "--force", "--progress", "none", "--calibration", moments,
        ]
        let verbose = try IngotProcess.run(start + ["--verbose"])
        #expect(verbose.output.contains("error feedback") && verbose.output.contains(" s factors, "))
        #expect(try !IngotProcess.run(start).output.contains("error feedback"))
        let json = try JSONValue.parse(Array(IngotProcess.run(start + ["--format", "json"]).output.utf8))
        for member in ["factors", "search", "products", "sums"] {
            guard case .number(let seconds)? = json["feedback_seconds"]?[member], seconds > 0 else {
                Issue.record("no time for \(member)")
                continue
            }
        }
        let plain = try IngotProcess.run(
            ["convert", model, directory.at("p").string, "--progress", "none", "--format", "json"])
        #expect(try JSONValue.parse(Array(plain.output.utf8))["feedback_seconds"] == .null)
    }

    /// An importance matrix does for moments.
    @Test func importanceMatrix() throws {
        let gathered = try CalibratedConversionTests.gathered.get()
        let directory = try TemporaryDirectory()
        let result = try run(
            CalibratedConversionTests.model.string, directory.at("q"),
            ["--calibration", gathered.imatrix("i.gguf"), "--bits", "3"])
        #expect(result.status == 0, "\(result.errors)")
        #expect(Files.names(directory.path) == ["q"])
        let shard = try Files.read(directory.at("q/model-00002-of-00002.safetensors"))
        let header = String(decoding: shard.prefix(20_000), as: UTF8.self)
        #expect(header.contains("scale_bytes") && header.contains("h_noise"))
        // A scale byte for each column: of four layers with six matrices of 256 and one of 1024, and of the head.
        let inspected = try IngotProcess.run(["inspect", directory.at("q").string, "--format", "json", "-q"])
        let bytes = try JSONValue.parse(Array(inspected.output.utf8))["bytes"]
        #expect(bytes?["scales"]?.unsigned == 4 * (6 * 256 + 1024) + 256)
        let verified = try IngotProcess.run([
            "verify", directory.at("q").string, "--against", CalibratedConversionTests.model.string,
        ])
        #expect(verified.status == 0, "\(verified.errors)")
    }

    /// What no calibrated conversion can promise is a usage error; what is no moments of this model is bad data.
    @Test func refusals() throws {
        let moments = try CalibratedConversionTests.gathered.get().moments
        let directory = try TemporaryDirectory()
        let model = CalibratedConversionTests.model.string
        try TinyModel.write(to: directory.at("tiny"))
        let cases: [(source: String, moments: String, options: [String], status: Int32)] = [
            (model, moments, ["--relative-mse", "0.01"], 64), (model, moments, ["--follow"], 64),
            (directory.at("tiny").string, moments, [], 65),
            (model, directory.at("tiny/model.safetensors").string, [], 65),
            (model, directory.at("tiny/config.json").string, [], 65), (model, directory.at("none").string, [], 66),
        ]
        for one in cases {
            let result = try run(one.source, directory.at("q"), ["--calibration", one.moments] + one.options)
            #expect(result.status == one.status, "\(one): \(result.errors)")
            #expect(result.errors.contains("error: "), "\(one): \(result.errors)")
            #expect(Files.names(directory.path) == ["tiny"], "\(one)")
        }
    }

    // MARK: - Reports

    /// A calibrated conversion at some bits per weight; the report in a format.
    private func convert(_ target: FilePath, bits: Int, _ format: String) throws -> String {
        let moments = try CalibratedConversionTests.gathered.get().moments
        let result = try run(
            CalibratedConversionTests.model.string, target,
            ["--calibration", moments, "--bits", "\(bits)", "--format", format])
        #expect(result.status == 0, "\(result.errors)")
        return result.output
    }

    private func ingot(_ arguments: [String], status: Int32 = 0) throws -> String {
        let result = try IngotProcess.run(arguments)
        #expect(result.status == status, "\(arguments): \(result.errors)")
        return result.output
    }

    /// Relative errors over activations, from the texts of the descriptions in the headers.
    private func stated(_ checkpoint: FilePath) throws -> [String: Double] {
        var errors: [String: Double] = [:]
        for name in Files.names(checkpoint) where name.hasSuffix(".safetensors") {
            let bytes = try Files.read(checkpoint.appending(name))
            let count = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            let header = try JSONValue.parse(Array(bytes[8..<8 + count]))
            for entry in try #require(header["__metadata__"]?.object) {
                guard let text = entry.value.string, let about = try? JSONValue.parse(Array(text.utf8)) else {
                    continue
                }
                let sums = ["h_signal", "h_noise"].compactMap { about[$0]?.string }.compactMap { UInt64($0, radix: 16) }
                guard sums.count == 2 else { continue }
                let prefix = "ingot:"
                try #require(entry.key.hasPrefix(prefix))
                errors[String(entry.key.dropFirst(prefix.count))] =
                    Double(bitPattern: sums[1]) / Double(bitPattern: sums[0])
            }
        }
        return errors
    }

    private func tensors(_ json: String, _ find: (JSONValue) -> JSONValue?) throws -> [String: Double] {
        let report = try JSONValue.parse(Array(json.utf8))
        var errors: [String: Double] = [:]
        for tensor in try #require(report["tensors"]?.array) {
            guard let name = tensor["name"]?.string, let error = find(tensor)?["relative_activation_error"] else {
                continue
            }
            errors[name] = error.figure
        }
        return errors
    }

    /// Reports, diff and claims have the errors that the headers state.
    @Test func reportsOfErrors() throws {
        let directory = try TemporaryDirectory()
        let (three, four) = (directory.at("3"), directory.at("4"))
        let text = try convert(three, bits: 3, "text")
        let errors = try stated(three)
        #expect(errors.count == 29)
        let worst = try #require(errors.max { $0.value < $1.value })
        #expect(text.contains("  calibrated        29 of 30 matrices\n"), "\(text)")
        #expect(text.contains("  quantized plain   1, embedding: model.embed_tokens.weight\n"), "\(text)")
        #expect(text.contains("  worst tensor      \(worst.key)\n"), "\(text)")
        let added = text.split(separator: "\n").drop { !$0.hasPrefix("  calibrated") }
        #expect(added.prefix { !$0.hasPrefix("  worst") }.allSatisfy { $0.count <= 80 })
        let report = try convert(four, bits: 4, "json")
        let better = try stated(four)
        #expect(try tensors(report) { $0 } == better)
        #expect(try tensors(ingot(["inspect", three.string, "--headers-only", "--format", "json"])) { $0 } == errors)
        #expect(try tensors(ingot(["verify", three.string, "--format", "json"])) { $0["certificate"] } == errors)
        let diff = try ingot(
            ["diff", three.string, four.string, "--headers-only", "--format", "json"])
        #expect(try tensors(diff) { $0["old"] } == errors)
        #expect(try tensors(diff) { $0["new"] } == better)
        let shown = try ingot(["diff", three.string, four.string, "--headers-only", "--top", "1"])
        #expect(shown.contains("relative error over activations") && shown.contains("... and 28 more"), "\(shown)")
        #expect(!shown.contains("other moments"))
        let sorted = try ingot([
            "inspect", three.string, "--headers-only", "--sort", "error", "--top", "1", "--format", "csv",
        ])
        #expect(sorted.split(separator: "\r\n").last?.hasPrefix(worst.key + ",") == true, "\(sorted)")
        #expect(sorted.split(separator: "\r\n").last?.hasSuffix(",\(worst.value)") == true, "\(sorted)")
        #expect(try ingot(["inspect", three.string, "--headers-only"]).contains("act err"))
        #expect(
            try ingot(["inspect", three.string, "--headers-only", "--format", "markdown"]).contains(
                "error over activations"))
    }

    /// A claim holds at the worst error exactly, fails below it, and fails for tensors that are not calibrated.
    @Test func claims() throws {
        let directory = try TemporaryDirectory()
        let target = directory.at("3")
        _ = try convert(target, bits: 3, "text")
        let worst = try #require(try stated(target).values.max())
        let cases: [(limit: Double, tensors: String, status: Int32)] = [
            (worst, "*", 0), (worst.nextDown, "*", 1), (worst, "*embed_tokens*", 1),
        ]
        for one in cases {
            let claim = #"{"claim":"max_relative_activation_error","limit":\#(one.limit),"tensors":"\#(one.tensors)"}"#
            try Files.write(
                #"{"schema":"ingot.claims","version":1,"claims":[\#(claim)]}"#, to: directory.at("claims.json"))
            let found = try ingot(
                ["verify", target.string, "--claims", directory.at("claims.json").string], status: one.status)
            #expect(found.contains(one.status == 0 ? "PASS  max_relative_act" : "FAIL  max_relative_act"), "\(found)")
        }
    }
}
