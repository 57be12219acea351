import ConversionSupport
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What a conversion tells while it runs: as a bar, as lines, as JSON, and not at all.
@Suite struct ProgressTests {
    private static func run(
        _ sample: CommandSample, _ options: String..., source: FilePath? = nil
    ) throws -> Subprocess.Result {
        let source = source ?? sample.source
        return try IngotProcess.run(["convert", source.string, sample.at("new"), "--force"] + options)
    }

    private static func events(_ text: String) throws -> [JSONValue] {
        try text.split(separator: "\n").map { try JSONValue.parse(Array($0.utf8)) }
    }

    @Test func jsonEvents() async throws {
        let sample = try await CommandSample()
        let result = try ProgressTests.run(sample, "--progress", "json")
        let events = try ProgressTests.events(result.errors)
        #expect(events.allSatisfy { $0["event"]?.string != nil && $0["seconds"] != nil }, "\(result.errors)")
        let progress = events.filter { $0["event"]?.string == "progress" }
        let done = progress.compactMap { $0["done_bytes"]?.unsigned }
        #expect(!done.isEmpty && done == done.sorted() && done.count == progress.count)
        let bytes = try Verbs.tensors(sample.source).values.reduce(0) { $0 + UInt64($1.bytes.count) }
        #expect(progress.allSatisfy { $0["total_bytes"]?.unsigned == bytes && $0["shards"]?.unsigned == 2 })
        let sealed = events.filter { $0["event"]?.string == "sealed" }
        #expect(sealed.compactMap { $0["shard"]?.string } == (0..<2).map { SampleSource.shardName($0, of: 2) })
        for event in sealed {
            let file = sample.directory.at("new").appending(event["shard"]?.string ?? "")
            #expect(event["bytes"]?.unsigned == UInt64(try Files.read(file).count))
        }
        #expect(result.output.hasPrefix("\(sample.source) -> "))
    }

    /// Every verb that reads weights tells its progress, and with `--verbose` its time.
    @Test(arguments: ["verify", "diff", "export", "inspect"]) func everyVerb(verb: String) async throws {
        let sample = try await CommandSample()
        let arguments: [String] =
            switch verb {
            case "verify": [verb, sample.sealed.string, "--against", sample.source.string]
            case "diff": [verb, sample.source.string, sample.sealed.string]
            case "export": [verb, sample.sealed.string, sample.at("plain"), "--force"]
            default: [verb, sample.sealed.string]
            }
        let result = try IngotProcess.run(arguments + ["--progress", "json"])
        let events = try ProgressTests.events(result.errors).filter { $0["event"]?.string == "progress" }
        let done = events.compactMap { $0["done_bytes"]?.unsigned }
        #expect(!done.isEmpty && done == done.sorted(), "\(result.errors)")
        #expect(events.allSatisfy { ($0["done_bytes"]?.unsigned ?? 1) <= ($0["total_bytes"]?.unsigned ?? 0) })
        let verbose = try IngotProcess.run(arguments + ["-v"])
        #expect(verbose.errors.contains("s of processors, peak memory"), "\(verbose.errors)")
        let quiet = try IngotProcess.run(arguments + ["-q"])
        #expect(quiet.errors.isEmpty && quiet.status == result.status)
    }

    /// A run that fails ends with an event that says so; one that finds something odd tells it on the way.
    @Test func jsonErrors() async throws {
        let sample = try await CommandSample()
        let nan = try SampleSource.write(
            [[SampleTensor("a.weight", .f32, [32, 32], values: [Float](repeating: 1, count: 1023) + [.nan])]],
            to: sample.directory.at("nan"))
        let failed = try ProgressTests.run(sample, "--progress", "json", source: nan)
        let last = try #require(ProgressTests.events(failed.errors).last)
        #expect(failed.status == 65 && last["event"]?.string == "error" && last["exit_status"]?.unsigned == 65)
        #expect(last["code"]?.string == "nonFinite" && last["message"]?.string?.contains("a.weight") == true)
        let kept = try ProgressTests.run(sample, "--progress", "json", "--on-nonfinite", "keep", source: nan)
        let warnings = try ProgressTests.events(kept.errors).filter { $0["event"]?.string == "warning" }
        #expect(kept.status == 0 && warnings.count == 1, "\(kept.errors)")
    }

    /// The bar fits 80 columns, is drawn over itself, and is gone when the result comes.
    @Test func bar() async throws {
        let directory = try TemporaryDirectory()
        let name = "model.layers.17.self_attention.query_key_value_projection.weight"
        let block = SampleTensor("block", .f16, [64, 1024]).bytes
        let bytes = Array((0..<64).flatMap { _ in block })
        let shards = (0..<3).map { [SampleTensor("\(name).\($0)", .f16, [4096, 1024], bytes: bytes)] }
        let source = try SampleSource.write(shards, to: directory.at("source"))
        let result = try IngotProcess.run(["convert", source.string, directory.at("new").string, "--progress", "bar"])
        let erase = "\r\u{1B}[K"
        let drawn = result.errors.split(separator: "\n").flatMap { $0.split(separator: "\r") }.map {
            $0.replacing("\u{1B}[K", with: "")
        }
        let bars = drawn.filter { $0.hasPrefix("[") }
        #expect(bars.count >= 2, "\(result.errors)")
        for bar in bars {
            #expect(bar.count < 80 && bar.contains(" % ") && bar.contains(" of 25.2 MB"), "\(bar)")
        }
        #expect(bars.last?.hasPrefix("[##########] 100 %") == true)
        #expect(result.errors.hasSuffix(erase) || result.errors.hasSuffix("\n"), "the bar is still there")
        #expect(drawn.contains { $0.hasPrefix("model-00001-of-00003.safetensors: sealed, ") })
    }

    /// A short run elsewhere than on a terminal says nothing; a quiet one never does but for errors.
    @Test func silence() async throws {
        let sample = try await CommandSample()
        try Files.write("x", to: sample.source.appending("extra.safetensors"))
        #expect(try ProgressTests.run(sample, "--progress", "none").errors.contains("extra.safetensors"))
        #expect(try ProgressTests.run(sample).errors.split(separator: "\n").count == 1)
        for options in [["--quiet"], ["-q"], ["--quiet", "--progress", "json"], ["--quiet", "--progress", "bar"]] {
            let arguments = ["convert", sample.source.string, sample.at("new"), "--force"]
            let result = try IngotProcess.run(arguments + options)
            #expect(result.status == 0 && result.errors.isEmpty && !result.output.isEmpty, "\(options)")
        }
        let failed = try IngotProcess.run(["convert", sample.at("missing"), sample.at("new"), "--quiet"])
        #expect(failed.status == 66 && failed.errors.hasPrefix("error: noInput"))
    }

    /// What the time went into, only where it was asked for.
    @Test func verbose() async throws {
        let sample = try await CommandSample()
        let plain = try ProgressTests.run(sample).output
        let verbose = try ProgressTests.run(sample, "--verbose").output
        for label in ["workers' time", "waiting", "encoded again", "processor time"] {
            #expect(verbose.contains(label) && !plain.contains(label))
        }
        let report = try JSONValue.parse(Array(ProgressTests.run(sample, "--format", "json").output.utf8))
        let shares = try #require(report["worker_seconds"])
        for member in ["quantizing", "writing", "waiting"] { #expect(shares[member] != nil) }
        #expect(report["processor_seconds"] != nil && report["repeated_tensors"]?.unsigned != nil)
    }
}
