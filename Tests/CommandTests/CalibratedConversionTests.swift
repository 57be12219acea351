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

    /// At few bits no matrix gets so little that its certificate cannot hold.
    @Test(arguments: ["1", "1.4"]) func fewBits(bits: String) throws {
        let gathered = try CalibratedConversionTests.gathered.get()
        let directory = try TemporaryDirectory()
        let result = try run(
            CalibratedConversionTests.model.string, directory.at("q"),
            ["--calibration", gathered.moments, "--bits", bits])
        #expect(result.status == 0, "\(result.errors)")
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
}
